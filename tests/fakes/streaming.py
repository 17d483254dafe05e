"""Steps of a story with two replicas and the stream between them."""

from __future__ import annotations

from fakes.records import read_all
from fakes.stream_pair import Pair, Replica, until
from staqraft.model import ORIGIN, Epoch, Position
from staqraft.wire.v1 import data_worker_pb2 as pb

ONE, TWO = Epoch(1), Epoch(2)
STREAMING = pb.SESSION_STATE_STREAMING
DISCONNECTED = pb.SESSION_STATE_DISCONNECTED


def at(epoch: int, seq: int) -> Position:
    return Position(Epoch(epoch), seq)


async def in_state(replica: Replica, state: pb.SessionState) -> bool:
    return (await replica.session()).state == state


async def follow(both: Pair) -> None:
    await both.b.be_standby()
    await both.a.be_active()
    await until(lambda: in_state(both.a, STREAMING), "the standby follows")


def same(both: Pair, after: Position = ORIGIN) -> bool:
    return list(read_all(both.a.journal_dir, after)) == list(read_all(both.b.journal_dir, after))
