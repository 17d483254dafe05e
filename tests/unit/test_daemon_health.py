"""What the probes and the other replica say reaches the cores and the status."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from fakes.configs import write_config
from fakes.decision import GROUP, A, B, W, settings
from staqraft.config.loader import read
from staqraft.consensus.group import Group as RaftGroup
from staqraft.daemon.absences import Absences
from staqraft.daemon.health import Health
from staqraft.daemon.workers import WorkerStatus
from staqraft.decision.defects import Defect
from staqraft.decision.phases import Phase
from staqraft.decision.state import GroupState
from staqraft.health.box import SILENT_MS
from staqraft.model import ClusterEvent, ClusterRecord, Epoch, GroupRecord, NodeId
from staqraft.wire.v1 import admin_pb2, data_worker_pb2
from staqraft.wire.v1 import health_pb2 as pb

ANSWERS = WorkerStatus(
    trees=data_worker_pb2.GetTreesStatusResponse(), stream=data_worker_pb2.GetStreamStatusResponse()
)


@dataclass
class Watch:
    latest: WorkerStatus = ANSWERS


@dataclass
class Hands:
    absences: Absences | None = None


@dataclass
class Loop:
    """Of a group in which this node, a, is the standby of b and not in sync."""

    group: str = GROUP
    watch: Watch = field(default_factory=Watch)
    hands: Hands = field(default_factory=Hands)
    told: list[tuple[NodeId, tuple[str, ...], bool, int]] = field(default_factory=list)
    state: GroupState = field(
        default_factory=lambda: GroupState(
            settings=settings(A),
            phase=Phase.STANDBY,
            record=GroupRecord(epoch=Epoch(3), active=B, in_sync=frozenset({B}), in_sync_index=41),
        )
    )

    def tell_health(
        self, node: NodeId, defects: tuple[Defect, ...], *, ready: bool = True, age_ms: int = 0
    ) -> None:
        self.told.append((node, tuple(defect.kind for defect in defects), ready, age_ms))

    def last_of(self, node: NodeId) -> tuple[tuple[str, ...], bool, int]:
        return next(
            (kinds, ready, age) for who, kinds, ready, age in reversed(self.told) if who == node
        )


@dataclass
class View:
    reachable: frozenset[NodeId] = frozenset({B, W})


class Raft:
    """It reaches everybody, and remembers when a left the in-sync set."""

    def __init__(self) -> None:
        left = ClusterEvent(
            index=41, wall_ms=1_000, group=GROUP, node=B, kind="in-sync", text="", epoch=Epoch(3)
        )
        self.state = ClusterRecord(events=(left,))

    def status(self) -> View:
        return View()


class Known:
    """The health of a, its loop, and a clock that stands still."""

    def __init__(self, directory: Path) -> None:
        self.now_ms = 100_000
        self.loop = Loop()
        self.health = Health(
            read(write_config(directory)).config,
            cast("RaftGroup", Raft()),
            cast("Any", {GROUP: self.loop}),
            fingerprint="f",
            now_ms=lambda: self.now_ms,
        )

    def says(self, node: NodeId, said: pb.NodeHealth) -> None:
        self.health.monitor.partners[node].heard("sync", said)

    def status(self) -> admin_pb2.GetStatusResponse:
        status = admin_pb2.GetStatusResponse(
            node=A, groups=[admin_pb2.GroupStatus(group=GROUP, active=B)]
        )
        self.health.add_to(status)
        return status


@pytest.fixture
def known(tmp_path: Path) -> Known:
    return Known(tmp_path)


def of_b(*kinds: str, refusals: tuple[pb.TakeoverRefusal, ...] = ()) -> pb.NodeHealth:
    defects = [pb.Defect(kind=kind, text=f"{kind} is bad", bars=True, sure=True) for kind in kinds]
    group = pb.GroupHealth(group=GROUP, refusals=refusals, defects=defects)
    return pb.NodeHealth(node=B, groups=[group])


def test_the_core_hears_of_both_replicas_and_how_old_a_word_is(known: Known) -> None:
    known.says(B, of_b("disk"))
    known.now_ms += 700
    known.health.monitor.look()
    assert known.loop.last_of(B) == (("disk",), True, 700)
    kinds, ready, age_ms = known.loop.last_of(A)
    assert (ready, age_ms) == (True, 0)
    assert "disk" not in kinds


def test_who_refuses_is_not_ready(known: Known) -> None:
    refusal = pb.TakeoverRefusal(code="data", reason="it compares", remedy="wait")
    known.says(B, of_b(refusals=(refusal,)))
    known.health.monitor.look()
    assert known.loop.last_of(B) == ((), False, 0)


def test_the_other_is_told_of_services_that_could_not_run_here(known: Known) -> None:
    told = known.health.monitor.told_to(B).groups[0].defects
    assert "service imap" not in {defect.kind for defect in told}
    known.loop.hands.absences = Absences("a", _imap_is_missing)
    asyncio.run(known.loop.hands.absences.look())
    (defect,) = [
        one for one in known.health.monitor.told_to(B).groups[0].defects if "imap" in one.kind
    ]
    assert (defect.kind, defect.sure, defect.bars) == ("service imap", False, False)
    assert defect.text == "on a imapd is no program on this host"


async def _imap_is_missing() -> tuple[tuple[str, str], ...]:
    return (("imap", "imapd is no program on this host"),)


def test_a_word_without_our_group_says_nothing(known: Known) -> None:
    """The other runs another configuration."""
    known.says(B, pb.NodeHealth(node=B, groups=[pb.GroupHealth(group="other")]))
    known.health.monitor.look()
    assert {who for who, *_ in known.loop.told} == {A}


def test_a_worker_that_is_silent_for_long_is_a_defect_until_it_answers(known: Known) -> None:
    def found() -> list[str]:
        known.health.monitor.look()
        return [f.subject for f in known.health.monitor.findings() if f.code == "worker-silent"]

    known.loop.watch.latest = WorkerStatus(trees=ANSWERS.trees)
    assert found() == []
    known.now_ms += SILENT_MS
    assert found() == [f"{GROUP} stream"]
    assert "worker" in known.loop.last_of(A)[0]
    known.loop.watch.latest = ANSWERS
    assert found() == []
    known.now_ms += SILENT_MS
    known.loop.watch.latest = WorkerStatus(trees=ANSWERS.trees)
    assert found() == [], "its silence is counted anew"


def test_status_says_of_each_replica_whether_it_would_take_over(known: Known) -> None:
    mine, theirs = known.status().groups[0].takeovers
    assert (mine.node, mine.known, [r.code for r in mine.refusals]) == (A, True, ["not-in-sync"])
    assert mine.refusals[0].since_wall_ms == 1_000, "since when, by the history"
    assert (theirs.node, theirs.active) == (B, True)


def test_of_one_that_was_never_heard_nothing_is_claimed(known: Known) -> None:
    status = admin_pb2.GetStatusResponse(groups=[admin_pb2.GroupStatus(group=GROUP, active=A)])
    known.health.add_to(status)
    assert not status.groups[0].takeovers[1].known
    known.says(B, of_b())
    known.now_ms += 300
    del status.groups[0].takeovers[:]
    known.health.add_to(status)
    theirs = status.groups[0].takeovers[1]
    assert (theirs.known, theirs.heard_ms, list(theirs.refusals)) == (True, 300, [])


def test_links_are_shown_from_our_end(known: Known) -> None:
    known.health.monitor.look()
    shown = {
        (link.peer, link.ring, link.address, link.peer_address) for link in known.status().links
    }
    assert shown == {
        (B, "service", "10.0.0.1", "10.0.0.2"), (B, "sync", "10.1.0.1", "10.1.0.2")
    }  # fmt: skip
