"""Without a gate: the kernel ends the addresses, and whoever takes over announces them.

Each test stands on the one before it, as in `test_story`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.cluster import Cluster
from lab.lab import Lab
from lab.story import Story

pytestmark = [pytest.mark.lab, pytest.mark.slow]

LEASE_S = 3.5
OUTAGE_S = 12.0  # 3.6 s on a machine that is not busy; a client that was not told asks for 25 s


@pytest.fixture(scope="module")
def story(gateless_lab: Lab) -> Iterator[Story]:
    """A cluster without gates: a is active, both replicas are in sync, a site is served."""
    told = Story(lab=gateless_lab, cluster=Cluster(gateless_lab))
    told.start()
    told.write("web")
    yield told
    if told.watcher is not None:
        told.watcher.finish()


def test_a_frozen_daemon_is_silenced_within_its_lease_and_clients_find_the_other(
    story: Story,
) -> None:
    assert story.cluster.group("a").get("gate", "") == ""
    takeover = story.freeze()
    assert takeover.fence == "lease"
    assert takeover.outage_s < OUTAGE_S
    findings = story.finish()
    assert findings.doubles == []
    last = findings.last_answered(takeover.loser, takeover.winner, after=takeover.at)
    assert last < takeover.at + LEASE_S
    assert takeover.winner in {who for at, who in findings.announcements if at > takeover.at}
