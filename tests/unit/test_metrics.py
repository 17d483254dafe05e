"""The figures for Prometheus, and the small HTTP server that shows them to anybody safely."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from prometheus_client.parser import text_string_to_metric_families

from staqraft.daemon.figures import reconcile_sample, scrub_sample
from staqraft.metrics import (
    MAX_CONNECTIONS,
    REQUEST_BYTES,
    DataSample,
    GroupSample,
    Metrics,
    MetricsServer,
    PeerSample,
    PingSample,
    ScrubSample,
)
from staqraft.model import Epoch, GroupId, NodeId
from staqraft.wire.v1 import data_worker_pb2 as pb

GROUP = GroupId("default")
A, B = NodeId("a"), NodeId("b")


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("lab", A, "0.1.0")


def figures(text: bytes) -> dict[str, float]:
    """`name label=value` -> figure, of StaqRaft's own series, each of which is node a's of lab."""
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            if sample.name.startswith("staqraft_"):
                labels = dict(sample.labels)
                assert (labels.pop("cluster"), labels.pop("node")) == ("lab", "a")
                words = [f"{name}={value}" for name, value in sorted(labels.items())]
                found[" ".join([sample.name.removeprefix("staqraft_"), *words])] = sample.value
    return found


ACTIVE = GroupSample(
    group=GROUP,
    phase="active",
    eligible=None,
    epoch=Epoch(7),
    lease_left_ms=2500,
    in_sync={A},
    replicas=[A, B],
    vips_held={"192.0.2.10/24": True},
    gate_open=True,
    maintenance_ms=90_000,
    services={"nginx": "running"},
)
STANDBY = replace(ACTIVE, phase="standby", eligible=False, lease_left_ms=-40)
STREAM = PeerSample(
    connected=True,
    preferred_ring=False,
    lag_records=5,
    lag_bytes=5000,
    lag_ms=1500,
    unapplied_records=3,
    wire_bytes=100,
    raw_bytes=300,
)
DATA = DataSample(
    group=GROUP,
    peers={B: STREAM},
    journal_bytes=1 << 20,
    journal_limit_bytes=1 << 30,
    journal_free_bytes=None,
    journal_segments=2,
    objects={"web": 12},
    dirty_objects=1,
    unsettled_objects=0,
    quarantined_objects=2,
    quarantined_bytes=4096,
    changes={"upsert": 9},
)


def test_a_group_shows_who_it_is_and_how_long(metrics: Metrics) -> None:
    metrics.groups.show(ACTIVE)
    shown = figures(metrics.text())
    assert shown["active group=default"] == 1
    assert shown["epoch group=default"] == 7
    assert shown["gate_open group=default"] == 1
    assert shown["lease_left_seconds group=default"] == 2.5
    assert shown["in_sync group=default replica=a"] == 1
    assert shown["in_sync group=default replica=b"] == 0
    assert shown["vip_held group=default vip=192.0.2.10/24"] == 1
    assert shown["maintenance_seconds group=default"] == 90
    assert shown["service_state group=default service=nginx state=running"] == 1
    assert shown["service_state group=default service=nginx state=failed"] == 0


def test_a_lease_that_is_over_is_not_negative(metrics: Metrics) -> None:
    metrics.groups.show(STANDBY)
    shown = figures(metrics.text())
    assert shown["lease_left_seconds group=default"] == 0
    assert shown["active group=default"] == 0


def test_only_the_present_phase_is_shown_and_only_a_standby_is_eligible(metrics: Metrics) -> None:
    metrics.groups.show(STANDBY)
    assert figures(metrics.text())["eligible group=default"] == 0
    metrics.groups.show(ACTIVE)
    shown = figures(metrics.text())
    assert [name for name in shown if name.startswith("phase")] == [
        "phase group=default phase=active"
    ]
    assert "eligible group=default" not in shown


def test_takeovers_are_counted_and_timed(metrics: Metrics) -> None:
    metrics.groups.took_over(GROUP, "none", None)
    metrics.groups.took_over(GROUP, "lease", 3400)
    shown = figures(metrics.text())
    assert shown["takeovers_total fence=none group=default"] == 1
    assert shown["takeovers_total fence=lease group=default"] == 1
    assert shown["takeover_duration_seconds_sum fence=lease group=default"] == 3.4
    assert shown["takeover_duration_seconds_bucket fence=lease group=default le=3.0"] == 0
    assert shown["takeover_duration_seconds_bucket fence=lease group=default le=4.0"] == 1
    assert not [name for name in shown if name.startswith("takeover_duration") and "none" in name]


def test_what_may_be_counted_is_there_before_the_first_time(metrics: Metrics) -> None:
    metrics.groups.open(
        GROUP, services=("nginx",), proofs=("confirmed", "lease"), asked=("confirmed",)
    )
    metrics.data.open(GROUP, ("trees", "stream"))
    metrics.node.open(["admins"])
    shown = figures(metrics.text())
    for name in (
        "takeovers_total fence=lease group=default",
        "fencings_total group=default result=failed rung=confirmed",
        "service_failures_total group=default service=nginx",
        "scrub_corrupt_total group=default",
        "worker_restarts_total group=default process=trees",
        "events_total kind=force-active",
        "notifications_total receiver=admins result=failed",
    ):
        assert shown[name] == 0


def test_the_stream_and_the_journal_are_shown(metrics: Metrics) -> None:
    metrics.data.show(DATA)
    shown = figures(metrics.text())
    assert shown["lag_bytes group=default peer=b"] == 5000
    assert shown["lag_seconds group=default peer=b"] == 1.5
    assert shown["unapplied_records group=default peer=b"] == 3
    assert shown["journal_bytes group=default"] == 1 << 20
    assert shown["quarantine_objects group=default"] == 2
    assert shown["quarantine_bytes group=default"] == 4096
    assert "journal_free_bytes group=default" not in shown  # not known is not 0


def test_a_comparison_is_shown_while_it_runs(metrics: Metrics) -> None:
    running = pb.GetTreesStatusResponse(
        reconcile=pb.ReconcileResponse(
            objects_done=40,
            objects_total=100,
            bytes_done=5000,
            bytes_per_s=2500,
            left_ms=1500,
        )
    )
    metrics.data.reconciling(GROUP, reconcile_sample(running))
    shown = figures(metrics.text())
    assert shown["reconcile_objects group=default"] == 40
    assert shown["reconcile_expected_objects group=default"] == 100
    assert shown["reconcile_fetched_bytes group=default"] == 5000
    assert shown["reconcile_bytes_per_second group=default"] == 2500
    assert shown["reconcile_left_seconds group=default"] == 1.5
    metrics.data.reconciling(GROUP, reconcile_sample(pb.GetTreesStatusResponse()))
    assert figures(metrics.text())["reconcile_expected_objects group=default"] == 0


def test_what_scrubbing_found_is_counted_and_its_end_is_shown(metrics: Metrics) -> None:
    scrub = pb.ScrubStatus(found=7, healed=5, corrupt=2, ended_wall_ms=1_700_000_000_500)
    for _ in range(2):  # as each scrape finds it
        metrics.data.scrubbed(GROUP, scrub_sample(scrub))
    shown = figures(metrics.text())
    assert shown["scrub_findings_total group=default"] == 7
    assert shown["scrub_healed_total group=default"] == 5
    assert shown["scrub_corrupt_total group=default"] == 2
    assert shown["scrub_last_pass_timestamp_seconds group=default"] == 1_700_000_000.5


def test_a_worker_that_began_to_count_anew_takes_nothing_back(metrics: Metrics) -> None:
    for count in (100, 150, 30):
        metrics.data.show(replace(DATA, peers={B: replace(STREAM, wire_bytes=count)}))
        metrics.data.scrubbed(GROUP, ScrubSample(found=count, healed=0, corrupt=0, ended_s=0))
    shown = figures(metrics.text())
    assert shown["stream_wire_bytes_total group=default peer=b"] == 180
    assert shown["scrub_findings_total group=default"] == 180


def test_what_is_wrong_no_more_is_shown_no_more(metrics: Metrics) -> None:
    metrics.node.problems({("", "listen", "warning"), ("default", "alone", "warning")})
    metrics.node.problems({("default", "alone", "warning")})
    shown = [name for name in figures(metrics.text()) if name.startswith("problem")]
    assert shown == ["problem code=alone group=default severity=warning"]


def test_a_member_shows_one_version(metrics: Metrics) -> None:
    metrics.node.members({A: "1.0", B: "1.0"}, set())
    metrics.node.members({A: "1.0", B: "1.1"}, {B})
    shown = figures(metrics.text())
    assert [name for name in shown if "member_info member=b" in name] == [
        "member_info member=b version=1.1"
    ]
    assert shown["member_config_differs member=b"] == 1


def test_the_end_of_a_certificate_is_a_time(metrics: Metrics) -> None:
    metrics.node.certificates({"certificate": datetime(2030, 1, 1, tzinfo=UTC)})
    shown = figures(metrics.text())
    assert shown["certificate_expiry_timestamp_seconds certificate=certificate"] == 1893456000


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


def test_an_address_that_is_not_pinged_any_more_is_shown_no_more(metrics: Metrics) -> None:
    gateway = PingSample(address="192.0.2.1", answers=True, round_trip_us=1500)
    silent = PingSample(address="192.0.2.9", answers=False, round_trip_us=None)
    metrics.health.pings([gateway, silent])
    shown = figures(metrics.text())
    assert shown["ping_round_trip_seconds address=192.0.2.1"] == 0.0015
    assert shown["ping_up address=192.0.2.9"] == 0
    assert "ping_round_trip_seconds address=192.0.2.9" not in shown
    metrics.health.pings([silent])
    assert not [name for name in figures(metrics.text()) if "192.0.2.1" in name]


def test_checks_of_services_are_shown_where_they_are_watched(metrics: Metrics) -> None:
    metrics.groups.checked(GROUP, {("nginx", "check"): 40, ("imap", "imap on ::1"): 5})
    shown = figures(metrics.text())
    assert shown["service_check_seconds check=check group=default service=nginx"] == 0.04
    metrics.groups.checked(GROUP, {})
    assert not [name for name in figures(metrics.text()) if "service_check_seconds" in name]
