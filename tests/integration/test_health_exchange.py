"""Two monitors on loopback rings, over real TLS and ICMP: what each learns of the other."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import grpc.aio
import pytest

from fakes.pki import cluster_pki
from fakes.ports import free_port
from fakes.trio import DEFAULT, A, B, trio_config
from staqraft.config.loader import fingerprint
from staqraft.config.schema import Config, DiskHealth, Health, PingHealth
from staqraft.daemon.clock import boottime_ms
from staqraft.health.links import Way
from staqraft.health.monitor import Monitor
from staqraft.model import GroupId, NodeId
from staqraft.wire import tls
from staqraft.wire.v1 import health_pb2 as pb

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="raw sockets need root")

PATIENCE_S = 60.0
REFUSAL = pb.TakeoverRefusal(code="data", reason="it hangs", remedy="mend it")
QUICK = Health(
    disk=DiskHealth(interval_ms=200, hung_ms=60_000, slow_ms=50_000),
    ping=PingHealth(interval_ms=50, lost_after_ms=400, targets=()),
)


def config_of(node: NodeId, directory: Path, port: int) -> Config:
    config = trio_config(node, cluster_pki(), directory, control_port=port)
    for path in (config.state_dir, config.run_dir, config.group_dir(DEFAULT)):
        path.mkdir(parents=True, exist_ok=True)
    for tree in config.groups[DEFAULT].trees:
        tree.path.mkdir(parents=True, exist_ok=True)
    return replace(config, health=QUICK)


@asynccontextmanager
async def running(
    config: Config, *refusals: pb.TakeoverRefusal, speed: int = 1
) -> AsyncIterator[Monitor]:
    monitor = Monitor(
        config,
        version="1",
        fingerprint=fingerprint(config),
        groups=lambda: [pb.GroupHealth(group=DEFAULT, refusals=refusals)],
        silent_workers=list,
        reachable=list,
        looked=lambda: None,
        now_ms=lambda: speed * boottime_ms(),
    )
    server = grpc.aio.server()
    monitor.servicer.add_to_server(server)
    for ring in config.me.rings:
        credentials = tls.server_credentials(config.tls)
        server.add_secure_port(tls.target(ring.address, config.ports.control), credentials)
    await server.start()
    task = asyncio.create_task(monitor.run())
    try:
        yield monitor
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await server.stop(0)


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - nothing tells when the network is done
            await asyncio.sleep(0.02)


def heard(monitor: Monitor, node: NodeId) -> pb.NodeHealth | None:
    return monitor.partners[node].said


def all_rings_work(monitor: Monitor, node: NodeId) -> bool:
    complaints = [f.code for f in monitor.findings() if f.code.startswith("link")]
    return [ring.way for ring in monitor.rings[node]] == [Way.BOTH] * 2 and not complaints


async def test_each_learns_what_the_other_says_and_that_all_rings_work(tmp_path: Path) -> None:
    port = free_port()
    one, other = (config_of(node, tmp_path, port) for node in (A, B))
    async with running(one) as a, running(other, REFUSAL) as b:
        await until(lambda: heard(a, B) and heard(b, A))
        said = heard(a, B)
        assert said is not None
        said.findings.add(code="disk-space", node=B)
        said.findings.add(code="link-cut", node=B)
        assert [f.code for f in a.findings_of_others()] == ["disk-space"]
        assert said.groups[0].refusals[0].reason == "it hangs"
        for monitor, node in ((a, B), (b, A)):
            await until(lambda m=monitor, n=node: m.partners[n].clock.best)  # type: ignore[misc]
            ahead_us, round_trip_us = monitor.partners[node].clock.best or (1 << 40, 0)
            assert abs(ahead_us) <= round_trip_us  # it is the same clock
            await until(lambda m=monitor, n=node: all_rings_work(m, n))  # type: ignore[misc]


async def test_configurations_that_differ_are_named_by_the_setting(tmp_path: Path) -> None:
    port = free_port()
    one, other = (config_of(node, tmp_path, port) for node in (A, B))
    other = replace(other, lease=replace(other.lease, ttl_ms=4_000))
    async with running(one) as a, running(other) as b:
        for monitor in (a, b):
            await until(lambda m=monitor: "config" in [f.code for f in m.findings()])  # type: ignore[misc]
            (found,) = [f for f in monitor.findings() if f.code == "config"]
            assert "differ in" in found.text
            assert "lease.ttl_ms" in found.text
            (defect,) = [d for d in monitor.defects(DEFAULT) if d.kind == "config"]
            assert defect.bars
            assert monitor.defects(GroupId("another"))  # it concerns every group


async def test_who_does_not_run_is_said_to_be_there_without_its_daemon(tmp_path: Path) -> None:
    """Loopback answers pings by itself, as a host whose daemon is down does."""
    async with running(config_of(B, tmp_path, free_port()), speed=8) as b:
        await until(lambda: b.rings.get(A) and b.rings[A][0].way is Way.BOTH)
        assert heard(b, A) is None
        await until(lambda: "daemon-silent" in [f.code for f in b.findings()])
        silent = {f.subject.split()[0]: f.text for f in b.findings() if f.code == "daemon-silent"}
        assert sorted(silent) == ["a", "w"]
        assert "the host of w answers pings (127.0.1.3), but its daemon does not" in silent["w"]
