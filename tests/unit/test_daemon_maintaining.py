"""What is said to an operator who begins or ends maintenance, and who forgets to end it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from fakes.control import FakeRaft
from fakes.pki import cluster_pki
from fakes.trio import DEFAULT, A, B, trio_config
from staqraft.api.node import MaintenanceWish
from staqraft.config import schema
from staqraft.daemon.maintaining import maintain, remind, reminders
from staqraft.errors import ActionError, OutcomeUnknown
from staqraft.model import ClusterRecord, GroupId, GroupRecord, Maintenance, NodeId

OTHER = GroupId("other")
HOUR_MS = 3_600_000


@pytest.fixture
def config(tmp_path: Path) -> schema.Config:
    made = trio_config(A, cluster_pki(), tmp_path, control_port=7400)
    return replace(made, groups={**made.groups, OTHER: replace(made.groups[DEFAULT], id=OTHER)})


def wish(*, enabled: bool, node: NodeId | None = None) -> MaintenanceWish:
    return MaintenanceWish(node=node, enabled=enabled, reason="disks", requested_by="root on a")


async def ask(raft: FakeRaft, config: schema.Config, wanted: MaintenanceWish) -> str:
    return await maintain(cast("Any", raft), config, wanted)


async def test_it_is_of_every_group_and_says_what_it_allows(config: schema.Config) -> None:
    raft = FakeRaft()
    said = await ask(raft, config, wish(enabled=True, node=B))
    assert said.startswith("b is in maintenance: nobody is turned off")
    assert "up to 10 min" in said
    assert [r.maintenance[0].node for r in raft.state.groups.values()] == [B, B]
    said = await ask(raft, config, wish(enabled=False))
    assert said == "The maintenance of the cluster is over."
    assert [r.maintenance for r in raft.state.groups.values()] == [(), ()]


async def test_its_end_says_what_is_left(config: schema.Config) -> None:
    raft = FakeRaft()
    await ask(raft, config, wish(enabled=True))
    await ask(raft, config, wish(enabled=True, node=B))
    resting = replace(raft.state.groups[DEFAULT], active=A, resting_ms=600_000)
    raft.state = replace(raft.state, groups={**raft.state.groups, DEFAULT: resting})
    said = await ask(raft, config, wish(enabled=False, node=B))
    assert "the cluster is still in maintenance" in said
    assert "The daemon of a is stopped" in said
    assert "up to 10 min after it stopped" in said


async def test_without_a_majority_nobody_is_told_that_it_is_on(config: schema.Config) -> None:
    raft = FakeRaft()
    raft.cut = True
    with pytest.raises(OutcomeUnknown):
        await ask(raft, config, wish(enabled=True))


async def test_a_refusal_is_an_error(
    config: schema.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("staqraft.consensus.maintenance.MEMBERS_KEPT", 0)
    with pytest.raises(ActionError, match="in maintenance already"):
        await ask(FakeRaft(), config, wish(enabled=True, node=B))


def maintained(since_ms: int) -> FakeRaft:
    raft = FakeRaft()
    entry = Maintenance(
        node=B, requested_by="root on a", reason="disks", since_ms=since_ms, log_index=7
    )
    raft.state = ClusterRecord(groups={DEFAULT: GroupRecord(maintenance=(entry,))})
    return raft


def test_who_forgets_it_is_reminded_again_and_again(config: schema.Config) -> None:
    raft, said = maintained(1000), dict[tuple[GroupId, int], int]()

    def after(hours: float) -> list[str]:
        now_ms = 1000 + round(hours * HOUR_MS)
        return list(reminders(cast("Any", raft), config, said, now_ms))

    assert after(3.9) == []
    (text,) = after(4)
    assert "b has been in maintenance for 240 min, since root on a asked for it (disks)" in text
    assert after(7.9) == []
    assert len(after(8)) == 1
    assert after(8.1) == []


async def test_the_log_says_so(config: schema.Config, caplog: pytest.LogCaptureFixture) -> None:
    looked = asyncio.Event()

    def now_ms() -> int:
        looked.set()
        return 5 * HOUR_MS

    task = asyncio.create_task(remind(cast("Any", maintained(0)), config, now_ms=now_ms))
    await looked.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert "has been in maintenance for 300 min" in caplog.text
