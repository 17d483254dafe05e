"""staqctl as a program against a running API."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fakes.node import FakeNode, event
from fakes.patience import PATIENCE_S
from fakes.pki import cluster_pki, new_pki
from fakes.ports import free_port
from fakes.statuses import healthy_status
from fakes.trio import SERVICE_LAN, A, B, trio_config
from staqraft.actions.fence import FenceClient, FenceServicer
from staqraft.api.admin import AdminServicer
from staqraft.api.forward import over_any_ring
from staqraft.api.node import BarrierReached, SwitchOverStep
from staqraft.api.server import ApiServers
from staqraft.config.schema import Config, Tls
from staqraft.errors import ActionError, BarrierTimeout
from staqraft.model import Epoch, GroupId, Position
from staqraft.wire.v1 import admin_pb2


class Node(FakeNode):
    spoilt = False
    broken: Exception | None = None

    async def status(self) -> admin_pb2.GetStatusResponse:
        if self.broken is not None:
            raise self.broken
        status = healthy_status()
        if self.spoilt:
            status.groups[0].in_sync[:] = ["a"]
        return status


@dataclass
class Ended:
    code: int
    out: str
    err: str


@dataclass
class Running:
    config: Config
    node: Node

    async def staqctl(self, *arguments: str) -> Ended:
        return await staqctl("--socket", str(self.config.admin_socket), *arguments)


async def staqctl(*arguments: str) -> Ended:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "staqraft.cli.staqctl", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


async def _never(_: GroupId, __: Epoch) -> tuple[bool, str]:
    return False, ""


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    config = trio_config(A, cluster_pki(), tmp_path, control_port=free_port())
    node = Node(A, active=A)
    servers = ApiServers(
        config,
        AdminServicer(config, node, over_any_ring(config)),
        FenceServicer(config, _never, FenceClient(config)),
    )
    await servers.start()
    yield Running(config, node)
    await servers.stop()


def over_tcp(running: Running, files: Tls) -> list[str]:
    address = f"{SERVICE_LAN[A]}:{running.config.ports.control}"
    names = ["--ca", files.ca, "--cert", files.certificate, "--key", files.key]
    return ["--address", address, *map(str, names)]


async def test_status_ends_with_0_or_1(running: Running) -> None:
    ended = await running.staqctl("status")
    assert (ended.code, ended.err) == (0, "")
    assert "All is well." in ended.out
    running.node.spoilt = True
    ended = await running.staqctl("status", "--json")
    assert (ended.code, ended.err) == (1, "")
    content = json.loads(ended.out)
    assert content["groups"][0]["in_sync"] == ["a"]
    assert content["groups"][0]["maintenance"] is False  # every field is there


async def test_a_daemon_that_does_not_answer_to_the_end_has_not_answered(running: Running) -> None:
    running.node.broken = LookupError("no such field")
    ended = await running.staqctl("status", "--json")
    assert ended.code == 10
    assert "did not answer to the end" in ended.err
    assert json.loads(ended.out)["exit_code"] == 10


async def test_an_administrator_over_tcp(running: Running) -> None:
    ended = await staqctl("status", *over_tcp(running, cluster_pki().admin()))
    assert (ended.code, ended.err) == (0, "")
    assert "All is well." in ended.out


async def test_another_clusters_administrator_is_told_what_is_wrong(
    running: Running, tmp_path: Path
) -> None:
    stranger = new_pki(tmp_path / "stranger").admin()
    ended = await staqctl("status", *over_tcp(running, stranger))
    assert ended.code == 10
    assert "has no certificate of the authority in" in ended.err
    believing = Tls(ca=cluster_pki().admin().ca, certificate=stranger.certificate, key=stranger.key)
    ended = await staqctl("status", *over_tcp(running, believing))
    assert ended.code == 10
    assert "certificate" in ended.err


async def test_a_barrier_and_its_failure(running: Running) -> None:
    running.node.barrier_answer = BarrierReached(
        position=Position(Epoch(5), 77), replicas=frozenset({A, B}), degraded=False
    )
    ended = await running.staqctl("barrier", "--timeout", "2s", "--min-replicas", "2")
    assert (ended.code, ended.err) == (0, "")
    assert "durable on a and b (position 5:77" in ended.out
    assert running.node.barriers == [(GroupId("default"), 2000, 2)]
    running.node.barrier_answer = BarrierTimeout("b has not acknowledged 5:78 in 2 s")
    ended = await running.staqctl("--json", "barrier")
    assert ended.code == 9
    assert ended.err == "staqctl: b has not acknowledged 5:78 in 2 s\n"
    assert json.loads(ended.out) == {
        "error": "b has not acknowledged 5:78 in 2 s",
        "exit_code": 9,
    }


async def test_a_switchover_shows_its_steps(running: Running) -> None:
    running.node.steps = [
        SwitchOverStep(step="services stopped"),
        SwitchOverStep(step="b is active", done=True, succeeded=True, epoch=Epoch(6)),
    ]
    ended = await running.staqctl("switchover", "--to", "b", "--reason", "new kernel")
    assert (ended.code, ended.err) == (0, "")
    assert [line.split("  ")[-1] for line in ended.out.splitlines()] == [
        "services stopped",
        "b is active (epoch 6)",
    ]
    assert running.node.wishes[0].reason == "new kernel"
    running.node.steps = [SwitchOverStep(step="b is not in sync: a stays active", done=True)]
    assert (await running.staqctl("switchover", "--json")).code == 7


async def test_a_switchover_tried_on_paper_put_off_and_given_up(running: Running) -> None:
    running.node.steps = [
        SwitchOverStep(step="a stops the services to hand over"),
        SwitchOverStep(step="it would not be done: b is not in sync", done=True),
    ]
    ended = await running.staqctl("switchover", "--dry-run")
    assert (ended.code, ended.out.splitlines()) == (7, [step.step for step in running.node.steps])
    assert [wish.target for wish in running.node.previewed] == ["b"]
    assert running.node.wishes == []

    ended = await running.staqctl("switchover", "--to", "b", "--at", "+2h", "--reason", "disks")
    assert (ended.code, ended.out) == (0, "b becomes active later\n")
    later = running.node.scheduled[0]
    assert (later.target, later.reason) == ("b", "disks")
    assert later.at_ms / 1000 - time.time() == pytest.approx(7200, abs=600)

    ended = await running.staqctl("switchover", "--cancel")
    assert (ended.code, ended.out[:21]) == (0, "given up in default f")
    for wrong in (["--at", "soon"], ["--at", "+3h", "--dry-run"], ["--at", "+3h", "--to", "w"]):
        ended = await running.staqctl("switchover", *wrong)
        assert ended.code == 2, ended.err
    assert len(running.node.scheduled) == 1


async def test_a_test_message(running: Running) -> None:
    ended = await running.staqctl("notify", "test")
    assert ended.out.splitlines()[0] == "admins: sent"
    assert ended.out.splitlines()[1].startswith("pager: FAILED: no answer for ")
    assert ended.code == 1


async def test_fencing_by_an_operator(running: Running) -> None:
    ended = await running.staqctl("fence", "b", "--confirm-off")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == "a is off: ipmi turned it off and says so\n"  # what the daemon says
    assert (await running.staqctl("unfence", "b")).code == 0
    assert [wish.action.value for wish in running.node.fenced] == ["confirm-off", "on"]
    assert all(" on " in wish.requested_by for wish in running.node.fenced)
    running.node.fence_answer = ActionError("b could not be turned off: ipmi: 'off' failed")
    ended = await running.staqctl("fence", "b")
    assert (ended.code, ended.out) == (7, "")
    assert ended.err == "staqctl: b could not be turned off: ipmi: 'off' failed\n"


async def test_maintenance_is_of_the_cluster_or_of_a_replica(running: Running) -> None:
    ended = await running.staqctl("maintenance", "on", "--reason", "new disks")
    assert (ended.code, ended.out) == (0, "the cluster is in maintenance\n")
    assert (await running.staqctl("maintenance", "off", "--node", "b")).code == 0
    said = [(wish.node, wish.enabled, wish.reason) for wish in running.node.maintained]
    assert said == [(None, True, "new disks"), ("b", False, "")]
    assert all(" on " in wish.requested_by for wish in running.node.maintained)
    ended = await running.staqctl("maintenance", "on", "--node", "w")
    assert ended.code != 0
    assert "w is a witness" in ended.err
    assert len(running.node.maintained) == 2


async def test_force_active_wants_the_loss_said_aloud_and_its_own_host(running: Running) -> None:
    me = str(running.config.node)
    ended = await running.staqctl("force-active", me)
    assert ended.code != 0
    assert "--accept-data-loss" in ended.err
    ended = await running.staqctl("force-active", "b", "--accept-data-loss")
    assert "run it on the host of b" in ended.err
    assert running.node.forced == []
    ended = await running.staqctl("force-active", me, "--accept-data-loss")
    assert (ended.code, ended.out) == (0, f"{me} becomes active\n")
    assert " on " in running.node.forced[0].requested_by


async def test_events_are_followed_until_the_daemon_ends(running: Running) -> None:
    running.node.history = [event(3, "a took over")]
    ended = await running.staqctl("events")
    assert ended.code == 0
    assert ended.out.rstrip().endswith("takeover       a took over")

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "staqraft.cli.staqctl", "--json",
        "--socket", str(running.config.admin_socket), "events", "--follow",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert json.loads(await process.stdout.readline())["text"] == "a took over"
    running.node.news.put_nowait(event(4, "b is in sync"))
    assert json.loads(await process.stdout.readline())["index"] == "4"
    process.send_signal(2)
    assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 130


async def test_a_request_that_makes_no_sense_ends_with_2(running: Running) -> None:
    ended = await running.staqctl("switchover", "--to", "w")
    assert ended.code == 2
    assert "w is a witness" in ended.err


async def test_a_reader_that_has_enough_is_no_error(running: Running) -> None:
    running.node.history = [event(i, "x" * 500) for i in range(400)]
    process = await asyncio.create_subprocess_shell(
        f"{sys.executable} -m staqraft.cli.staqctl --socket {running.config.admin_socket}"
        " events | head -1",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert (len(out.splitlines()), err) == (1, b"")
