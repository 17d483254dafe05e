"""Between the values of `model`, `plan` and the messages on the wire; and the channel's options."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import grpc.aio

from staqraft.model import Epoch, EpochStart, GroupId, NodeId, Position
from staqraft.replication.plan import Offer, RefusalKind
from staqraft.replication.session import MAX_BATCH_BYTES
from staqraft.wire.v1 import replication_pb2 as pb
from staqraft.wire.v1 import types_pb2

EOF: object = grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs do not know it

# A frozen peer was unseen for 10 s without ping_timeout_ms; the rest lets pings go out at all.
CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", 200),
    ("grpc.keepalive_timeout_ms", 400),
    ("grpc.http2.ping_timeout_ms", 400),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 100),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.max_send_message_length", MAX_BATCH_BYTES + (1 << 20)),
    ("grpc.max_receive_message_length", MAX_BATCH_BYTES + (1 << 20)),
)
# Two processes on one port would get every other connection each.
SERVER_OPTIONS = (*CHANNEL_OPTIONS, ("grpc.so_reuseport", 0))


def to_position(position: Position) -> types_pb2.Position:
    """As a message."""
    return types_pb2.Position(epoch=position.epoch, seq=position.seq)


def from_position(message: types_pb2.Position) -> Position:
    """As a value."""
    return Position(Epoch(message.epoch), message.seq)


def to_starts(starts: Iterable[EpochStart]) -> list[types_pb2.EpochStart]:
    """As messages."""
    return [types_pb2.EpochStart(epoch=start.epoch, seq=start.seq) for start in starts]


def from_starts(messages: Iterable[types_pb2.EpochStart]) -> tuple[EpochStart, ...]:
    """As values."""
    return tuple(EpochStart(epoch=Epoch(m.epoch), seq=m.seq) for m in messages)


def to_hello(offer: Offer, version: str) -> pb.ReplicateRequest:
    """The first message of a session."""
    return pb.ReplicateRequest(
        hello=pb.Hello(
            cluster=offer.cluster,
            group=offer.group,
            node=offer.node,
            epoch=offer.epoch,
            epoch_starts=to_starts(offer.epoch_starts),
            first=to_position(offer.first),
            last=to_position(offer.last),
            version=version,
        )
    )


def from_hello(hello: pb.Hello) -> Offer:
    """The offer in the first message."""
    return Offer(
        cluster=hello.cluster,
        group=GroupId(hello.group),
        node=NodeId(hello.node),
        epoch=Epoch(hello.epoch),
        epoch_starts=from_starts(hello.epoch_starts),
        first=from_position(hello.first),
        last=from_position(hello.last),
    )


def refusal(kind: RefusalKind, reason: str) -> pb.ReplicateResponse:
    """A refusal as a message."""
    wire = cast("pb.RefusalKind", kind.value)
    return pb.ReplicateResponse(refusal=pb.Refusal(kind=wire, reason=reason))
