"""A short slice of chaos: a few faults, judged as in a long run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chaos.clocks import can_shift
from chaos.deeds import ClockStep, SwitchOver
from chaos.links import Cut
from chaos.nemesis import Together
from chaos.plan import Fault, Step, single
from chaos.power import Power
from chaos.processes import Kill
from chaos.report import tell
from chaos.run import run
from chaos.volumes import Full, Hang
from lab import requirements
from lab.conftest import built
from lab.lab import Lab

pytestmark = [pytest.mark.lab, pytest.mark.slow]


@pytest.fixture(scope="module")
def chaos_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Journal and Raft have volumes of their own, and clocks can jump."""
    if not (requirements.loop_devices_work() and can_shift()):
        pytest.skip("chaos needs root, loop devices and a C compiler")
    yield from built(tmp_path_factory, apart=True)


def test_nothing_is_violated_by_some_faults_in_a_row(chaos_lab: Lab) -> None:
    overlapping = (
        Fault(number=2, start_s=0.0, nemesis=ClockStep("active", 3600, 1.5)),
        Fault(number=3, start_s=0.3, nemesis=Full("standby", "journal", 1.0)),
        Fault(number=4, start_s=0.6, nemesis=Cut(("active", "w"), 0.5, one_way=True)),
    )
    steps = [
        single(1, Together(Kill("standby", "stream"), SwitchOver())),
        Step(overlapping),
        single(5, Hang("standby", "raft", 0.5)),
        single(6, Power(["active"], 3.5)),
    ]
    judgement = run(chaos_lab, steps, tell)
    assert [violation.text for violation in judgement.violations] == []
    assert [struck.number for struck in judgement.struck] == [1, 2, 5, 6]
    assert judgement.faults == 6
    assert judgement.acknowledged > 10
    assert judgement.questions > 100
    assert judgement.struck[3].epoch > judgement.struck[2].epoch
