"""The replicas tell each other how they are: a call on each ring, every other second.

One of the two calls, the one that dials for Raft as well, so firewalls need to know nothing more;
both learn from it. The caller measures the round trip, and by that the difference of the clocks
(Cristian 1989): of some calls the one that was back soonest says it best.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import grpc
import grpc.aio

from staqraft.config.schema import Config, Node, Ring
from staqraft.errors import CertificateError
from staqraft.model import NodeId
from staqraft.wire import tls
from staqraft.wire.v1 import health_pb2 as pb
from staqraft.wire.v1 import health_pb2_grpc

logger = logging.getLogger(__name__)

PERIOD_S: Final = 2.0
_TIMEOUT_S: Final = 1.5
_SAMPLES: Final = 8
_RECONNECT: Final = (
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)

Tell = Callable[[NodeId], pb.NodeHealth]


def wall_us() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


class ClockDifference:
    """By how much another node's clock is ahead of ours, by the best of the last samples."""

    def __init__(self) -> None:
        self._samples: deque[tuple[int, int]] = deque(maxlen=_SAMPLES)  # round trip, ahead: us

    def measured(self, sent_us: int, theirs_us: int, back_us: int, round_trip_us: int) -> None:
        """A call was sent and answered then by our wall clock, and by its own at `theirs_us`.

        `round_trip_us` is by a clock that does not step; a sample in which ours did is dropped.
        """
        if abs(back_us - sent_us - round_trip_us) > max(1000, round_trip_us):
            self._samples.clear()
            return
        self._samples.append((round_trip_us, theirs_us - (sent_us + back_us) // 2))

    def told(self, ahead_us: int, round_trip_us: int) -> None:
        """The other measured: by so much our clock is ahead of its own."""
        self._samples.append((round_trip_us, -ahead_us))

    def forget(self) -> None:
        """Nothing of before counts any more."""
        self._samples.clear()

    @property
    def best(self) -> tuple[int, int] | None:
        """(ahead, round trip) in microseconds; None: not measured."""
        if not self._samples:
            return None
        round_trip_us, ahead_us = min(self._samples)
        return ahead_us, round_trip_us


class Partner:
    """Another replica: what it said last, and when it was called or called us on each ring."""

    def __init__(self, node: Node, *, now_ms: Callable[[], int]) -> None:
        self.node = node
        self.said: pb.NodeHealth | None = None
        self.said_ms = 0
        self.called_ms: dict[str, int] = {}
        self.round_trip_us: dict[str, int] = {}
        self.clock = ClockDifference()
        self._now_ms = now_ms

    def heard(self, ring: str, health: pb.NodeHealth | None) -> None:
        """It answered or called on this ring."""
        self.called_ms[ring] = self._now_ms()
        if health is not None:
            self.said, self.said_ms = health, self._now_ms()


class HealthServicer(health_pb2_grpc.HealthServiceServicer):
    """Takes what a partner says of itself, and answers likewise."""

    def __init__(self, config: Config, partners: dict[NodeId, Partner], tell: Tell) -> None:
        self._config = config
        self._partners = partners
        self._tell = tell

    async def ExchangeHealth(  # noqa: N802 - the protocol's name
        self, request: pb.ExchangeHealthRequest, context: tls.Context
    ) -> pb.ExchangeHealthResponse:
        """See the protocol. INVALID_ARGUMENT from who is no other replica."""
        arrived_us = wall_us()
        caller = await tls.require_peer(context, self._config.cluster, self._config.nodes)
        partner = self._partners.get(caller.node) if caller.node is not None else None
        if partner is None or request.health.node != partner.node.id:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"{self._config.node} knows no such replica"
            )
        assert partner is not None, "abort raises"
        partner.heard(request.ring, request.health)
        if request.HasField("ahead_us"):
            partner.clock.told(request.ahead_us, request.round_trip_us)
        return pb.ExchangeHealthResponse(health=self._tell(partner.node.id), wall_us=arrived_us)

    def add_to_server(self, server: grpc.aio.Server) -> None:
        """Before the server starts."""
        add = health_pb2_grpc.add_HealthServiceServicer_to_server
        add(self, server)  # type: ignore[no-untyped-call]  # generated


class Caller:
    """Calls a partner on one ring, again and again."""

    def __init__(self, config: Config, partner: Partner, ring: Ring, tell: Tell) -> None:
        self._config = config
        self._partner = partner
        self._ring = ring
        self._tell = tell
        self._channel: grpc.aio.Channel | None = None

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                await self._call()
                await asyncio.sleep(PERIOD_S)
        finally:
            if self._channel is not None:
                await self._channel.close(None)

    async def _call(self) -> None:
        config, partner = self._config, self._partner
        try:
            if self._channel is None:
                self._channel = tls.channel(
                    self._ring.address,
                    config.ports.control,
                    partner.node.id,
                    config.cluster,
                    config.tls,
                    _RECONNECT,
                )
            await self._ask(self._channel)
        except CertificateError as error:
            logger.debug("%s is not asked how it is: %s", partner.node.id, error)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:  # an older release: it is there
                partner.heard(self._ring.name, None)
            elif error.code() is grpc.StatusCode.UNAVAILABLE:
                # A connection of its own, so that a certificate renewed meanwhile is used.
                channel, self._channel = self._channel, None
                if channel is not None:
                    await channel.close(None)

    async def _ask(self, channel: grpc.aio.Channel) -> None:
        partner = self._partner
        stub = health_pb2_grpc.HealthServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
        best = partner.clock.best
        request = pb.ExchangeHealthRequest(
            cluster=self._config.cluster,
            ring=self._ring.name,
            health=self._tell(partner.node.id),
            ahead_us=best[0] if best else None,
            round_trip_us=best[1] if best else 0,
        )
        sent_us, begun = wall_us(), time.monotonic_ns()
        answer: pb.ExchangeHealthResponse = await stub.ExchangeHealth(request, timeout=_TIMEOUT_S)
        round_trip_us = (time.monotonic_ns() - begun) // 1000
        partner.clock.measured(sent_us, answer.wall_us, wall_us(), round_trip_us)
        partner.round_trip_us[self._ring.name] = round_trip_us
        partner.heard(self._ring.name, answer.health)
