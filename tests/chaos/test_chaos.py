"""A short slice of chaos: a few faults in a row, judged as in a long run."""

from __future__ import annotations

import pytest

from chaos.nemeses import Cut, Kill, Power, SwitchOver, Together
from chaos.report import tell
from chaos.run import run
from lab.lab import Lab

pytestmark = [pytest.mark.lab, pytest.mark.slow]


def test_nothing_is_violated_by_some_faults_in_a_row(lab: Lab) -> None:
    faults = [
        Together(Kill("standby", "stream"), SwitchOver()),
        Kill("active", "staqraftd"),
        Cut(("active", "w"), 0.5, one_way=True),
        Power(["active"], 3.5),
    ]
    judgement = run(lab, faults, tell)
    assert [violation.text for violation in judgement.violations] == []
    assert [struck.number for struck in judgement.struck] == [1, 2, 3, 4]
    assert judgement.acknowledged > 10
    assert judgement.questions > 100
    assert judgement.struck[1].outage_s < 4.0  # back within the lease, or taken over from
    assert judgement.struck[3].epoch > judgement.struck[2].epoch
