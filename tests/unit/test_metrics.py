"""The figures for Prometheus, and the small HTTP server that shows them to anybody safely."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from staqraft.metrics import (
    MAX_CONNECTIONS,
    REQUEST_BYTES,
    DataSample,
    GroupSample,
    Metrics,
    MetricsServer,
    RaftSample,
)
from staqraft.model import Epoch, GroupId, NodeId

GROUP = GroupId("default")
A, B = NodeId("a"), NodeId("b")


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("lab", A, "0.1.0")


def figures(text: bytes) -> dict[str, float]:
    """`name{label=value}` -> figure, of StaqRaft's own series."""
    return {
        sample.name.removeprefix("staqraft_")
        + "".join(f" {name}={value}" for name, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
        if sample.name.startswith("staqraft_")
    }


def sample(*, active: bool, lease_left_ms: int, in_sync: set[NodeId]) -> GroupSample:
    return GroupSample(
        group=GROUP,
        active=active,
        epoch=Epoch(7),
        lease_left_ms=lease_left_ms,
        in_sync=in_sync,
        replicas=[A, B],
        vips_held={"192.0.2.10/24": active},
        gate_open=active,
        maintenance_s=90.0 if active else 0.0,
    )


def test_a_group_shows_who_it_is_and_how_long(metrics: Metrics) -> None:
    metrics.group(sample(active=True, lease_left_ms=2500, in_sync={A}))
    shown = figures(metrics.text())
    assert shown["active group=default"] == 1
    assert shown["epoch group=default"] == 7
    assert shown["gate_open group=default"] == 1
    assert shown["lease_left_seconds group=default"] == 2.5
    assert shown["in_sync group=default replica=a"] == 1
    assert shown["in_sync group=default replica=b"] == 0
    assert shown["vip_held group=default vip=192.0.2.10/24"] == 1
    assert shown["maintenance_seconds group=default"] == 90


def test_a_lease_that_is_over_is_not_negative(metrics: Metrics) -> None:
    metrics.group(sample(active=False, lease_left_ms=-40, in_sync={A, B}))
    shown = figures(metrics.text())
    assert shown["lease_left_seconds group=default"] == 0
    assert shown["active group=default"] == 0


def test_counters_count(metrics: Metrics) -> None:
    metrics.renewed(GROUP)
    metrics.renewed(GROUP)
    metrics.took_over(GROUP, "confirmed")
    metrics.worker_restarted(GROUP, "stream")
    metrics.late_tick()
    shown = figures(metrics.text())
    assert shown["lease_renewals_total group=default"] == 2
    assert shown["takeovers_total fence=confirmed group=default"] == 1
    assert shown["worker_restarts_total group=default process=stream"] == 1
    assert shown["raft_late_ticks_total"] == 1


def test_raft_and_data_are_shown(metrics: Metrics) -> None:
    metrics.raft(RaftSample(term=3, commit_index=99, leader=False, quorum=True))
    metrics.data(
        DataSample(
            group=GROUP,
            lag_records=5,
            lag_bytes=5000,
            lag_ms=1500,
            journal_bytes=1 << 20,
            quarantined_objects=2,
            quarantined_bytes=4096,
            dirty_objects=1,
        )
    )
    shown = figures(metrics.text())
    assert (shown["raft_term"], shown["raft_commit_index"], shown["raft_quorum"]) == (3, 99, 1)
    assert shown["lag_bytes group=default"] == 5000
    assert shown["lag_seconds group=default"] == 1.5
    assert shown["journal_bytes group=default"] == 1 << 20
    assert shown["quarantine_objects group=default"] == 2
    assert shown["quarantine_bytes group=default"] == 4096


class TestServer:
    @pytest.fixture
    async def port(self, metrics: Metrics) -> AsyncIterator[int]:
        server = MetricsServer(metrics, ["127.0.0.1", "127.0.0.1"], 0)
        task = asyncio.create_task(server.run())
        await server.listening.wait()
        assert len(server.bound) == 1
        yield server.bound[0][1]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def ask(self, port: int, request: bytes) -> tuple[str, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        head, _, body = answer.partition(b"\r\n\r\n")
        return head.decode().split("\r\n")[0], body

    async def test_the_figures_are_at_metrics(self, port: int) -> None:
        status, body = await self.ask(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert status == "HTTP/1.1 200 OK"
        assert b'staqraft_build_info{cluster="lab",node="a",version="0.1.0"} 1.0' in body

    @pytest.mark.parametrize(
        ("request_line", "status"),
        [
            (b"GET / HTTP/1.1", "HTTP/1.1 404 Not Found"),
            (b"POST /metrics HTTP/1.1", "HTTP/1.1 405 Method Not Allowed"),
            (b"\x16\x03\x01\x02\x00", "HTTP/1.1 405 Method Not Allowed"),
        ],
    )
    async def test_anything_else_is_refused(
        self, port: int, request_line: bytes, status: str
    ) -> None:
        assert (await self.ask(port, request_line + b"\r\n\r\n"))[0] == status

    async def test_an_endless_request_is_cut_off(self, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"x" * (REQUEST_BYTES * 4))
        assert await until_closed(reader) == b""
        writer.transport.abort()

    async def test_many_silent_connections_leave_the_server_small(self, port: int) -> None:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_CONNECTIONS)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await until_closed(reader) == b""
        writer.transport.abort()
        for _, one in silent:
            one.transport.abort()


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    """What comes before the other side ends the connection, in good order or not."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(1000):
            received += piece
    return received


async def test_an_address_in_use_is_no_reason_to_fail(
    metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    blocker = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port = blocker.sockets[0].getsockname()[1]
    server = MetricsServer(metrics, ["127.0.0.1", "127.0.0.2"], port)
    task = asyncio.create_task(server.run())
    await server.listening.wait()
    assert server.bound == [("127.0.0.2", port)]
    assert f"no metrics on 127.0.0.1 port {port}" in caplog.text
    assert "choose another ports.metrics" in caplog.text
    task.cancel()
    blocker.close()
    with pytest.raises(asyncio.CancelledError):
        await task
