"""A witness says of a lease that ran out that it did, and since when."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from fakes.configs import write_config
from fakes.control import FakeRaft
from fakes.group_records import GROUP, HERE, A, active_pair
from staqraft.api.concerns import concerns
from staqraft.config.loader import load
from staqraft.consensus.group import Group as RaftGroup
from staqraft.consensus.group import RaftView
from staqraft.daemon.timing import timing_of
from staqraft.daemon.witness_admin import WitnessAdmin
from staqraft.model import ClusterRecord, GroupRecord, NodeId, Renew
from staqraft.wire.v1 import admin_pb2

W = NodeId("w")


class Raft(FakeRaft):
    """As a witness has it; `has_quorum` until it is cut off."""

    def __init__(self, record: GroupRecord) -> None:
        super().__init__()
        self.state = ClusterRecord(groups={GROUP: record}, log_index=100)

    def status(self) -> RaftView:
        return RaftView(
            leader=A,
            term=1,
            commit_index=100,
            applied_index=100,
            has_quorum=not self.cut,
            late_ticks=0,
            problem="",
            reachable=frozenset({A}),
        )


class Seat:
    """A witness whose daemon was started at 0."""

    def __init__(self, path: Path, record: GroupRecord) -> None:
        config = replace(load(write_config(path)), node=W)
        self.now_ms = 0
        self.raft = Raft(record)
        self.node = WitnessAdmin(
            config,
            cast("RaftGroup", self.raft),
            "",
            test_notifications=_nobody,
            now_ms=lambda: self.now_ms,
        )
        # From a renewal that it saw until the lease has surely run out.
        self.lasts_ms = timing_of(config, GROUP).challenger_deadline(0, record.resting_ms)

    async def renew(self) -> None:
        await self.raft.propose(
            Renew(node=A, group=GROUP, epoch=HERE.epoch, renewal=6, position=HERE)
        )

    @property
    def group(self) -> admin_pb2.GroupStatus:
        return self.node.look().groups[0]

    def says(self) -> str:
        return self.group.summary


async def _nobody(_: str) -> list[tuple[str, str]]:
    return []


async def test_a_lease_that_is_renewed_runs(tmp_path: Path) -> None:
    w = Seat(tmp_path, active_pair())
    w.now_ms = 60_000
    await w.renew()
    w.now_ms += w.lasts_ms
    assert w.says() == "a is active in epoch 3"
    assert w.group.lease_over_ms == 0


async def test_one_that_is_not_ran_out_so_long_ago(tmp_path: Path) -> None:
    w = Seat(tmp_path, active_pair())
    await w.renew()
    w.now_ms = w.lasts_ms + 22_000
    assert w.says().startswith("nobody serves: the lease of a ran out 22 s ago; 'staqctl status'")
    assert "nobody-active" in {one.code for one in concerns(w.node.look())}


def test_of_one_that_it_never_saw_renewed_it_counts_from_its_own_start(tmp_path: Path) -> None:
    w = Seat(tmp_path, active_pair())
    w.now_ms = w.lasts_ms
    assert w.says() == "a is active in epoch 3"
    w.now_ms += 7_000
    assert "ran out 7 s ago" in w.says()


def test_a_witness_that_is_cut_off_does_not_know(tmp_path: Path) -> None:
    w = Seat(tmp_path, active_pair())
    w.raft.cut, w.now_ms = True, w.lasts_ms + 22_000
    assert w.says().startswith("w does not know who serves")
    assert w.says().endswith("when it last was, a was active")
    assert "nobody-active" not in {one.code for one in concerns(w.node.look())}


@pytest.mark.parametrize("record", [active_pair(released=True), GroupRecord()])
def test_where_nobody_has_a_lease_none_ran_out(tmp_path: Path, record: GroupRecord) -> None:
    w = Seat(tmp_path, record)
    w.now_ms = w.lasts_ms + 22_000
    assert (w.says(), w.group.lease_over_ms) == ("nobody is active", 0)


def test_a_daemon_that_rests_has_its_lease_for_as_long_as_it_said(tmp_path: Path) -> None:
    w = Seat(tmp_path, active_pair(resting_ms=600_000))
    w.now_ms = 600_000
    assert w.says() == "a is active in epoch 3"
