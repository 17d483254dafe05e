"""The gate and the fast profile on real daemons: clients wait, and are never refused.

Each test stands on the one before it, as in `test_story`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from lab.cluster import Cluster
from lab.lab import Lab
from lab.story import GATE, Story, Takeover
from lab.tries import cut_power, tries

pytestmark = [pytest.mark.lab, pytest.mark.slow]

LEASE_S = 1.0
OUTAGE_S = 2.5  # 1.2 s on a machine that is not busy


@pytest.fixture(scope="module")
def story(fast_lab: Lab) -> Iterator[Story]:
    """A cluster of the fast profile: a is active, both replicas are in sync, a site is served."""
    told = Story(lab=fast_lab, cluster=Cluster(fast_lab))
    told.start()
    for part in ("web", "mail", "accounts"):
        told.write(part)
    told.compare()
    yield told
    if told.watcher is not None:
        told.watcher.finish()


@pytest.fixture(scope="module")
def frozen() -> list[Takeover]:
    """The takeovers from a host whose processes were stopped."""
    return []


def never_refused(takeover: Takeover) -> bool:
    """Nobody was told that nobody listens: neither by the old active nor by the new one."""
    return "Connection refused" not in takeover.errors


def test_the_active_is_behind_an_open_gate_and_the_standby_behind_a_closed_one(
    story: Story,
) -> None:
    for node, state in (("a", "open"), ("b", "closed")):
        assert story.cluster.group(node)["gate"] == state
        tables = story.lab.run(node, ["nft", "list", "tables"]).stdout
        assert tables.splitlines() == [f"table inet {GATE}", f"table arp {GATE}"]


def test_a_switchover_makes_clients_wait(story: Story) -> None:
    for takeover in tries(story.switch_over, OUTAGE_S):
        assert takeover.fence == "released"
        assert never_refused(takeover)


def test_a_frozen_daemon_is_silenced_within_its_lease(story: Story, frozen: list[Takeover]) -> None:
    for takeover in tries(story.freeze, OUTAGE_S):
        frozen.append(takeover)
        assert never_refused(takeover)


def test_a_frozen_host_is_silenced_within_its_lease(story: Story, frozen: list[Takeover]) -> None:
    # Nothing answers from the first instant on.
    for takeover in tries(partial(story.freeze, everything=True), OUTAGE_S + LEASE_S):
        frozen.append(takeover)
        assert never_refused(takeover)


def test_a_power_cut_costs_little_more_than_the_lease(story: Story) -> None:
    for takeover in tries(partial(cut_power, story), OUTAGE_S):
        assert takeover.fence == "lease"
        assert never_refused(takeover)
    story.return_of_the_loser()


def test_at_no_time_did_two_hosts_answer_and_none_after_its_lease(
    story: Story, frozen: list[Takeover]
) -> None:
    findings = story.finish()
    assert findings.doubles == []
    assert len(frozen) >= 2
    for takeover in frozen:
        last = findings.last_answered(takeover.loser, takeover.winner, after=takeover.at)
        assert last < takeover.at + LEASE_S
