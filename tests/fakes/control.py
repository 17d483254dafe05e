"""Stand-ins for what a group loop works with: Raft, data worker, addresses, services."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from staqraft.actions.services import ServiceHealth
from staqraft.actions.vip import Held
from staqraft.config.schema import Vip
from staqraft.consensus.statemachine import apply
from staqraft.daemon.workers import WorkerStatus
from staqraft.errors import ActionError, OutcomeUnknown
from staqraft.model import (
    ORIGIN,
    Admission,
    ClusterRecord,
    Command,
    Epoch,
    EpochStart,
    GroupId,
    NodeId,
    Outcome,
    Position,
)
from staqraft.wire.v1 import data_worker_pb2 as pb
from staqraft.wire.v1 import types_pb2


class FakeRaft:
    """One record, applied at once; `cut`: nobody answers."""

    def __init__(self) -> None:
        self.state = ClusterRecord()
        self.cut = False
        self._subscribers: list[Callable[[ClusterRecord], None]] = []

    def subscribe(self, subscriber: Callable[[ClusterRecord], None]) -> Callable[[], None]:
        self._subscribers.append(subscriber)
        return lambda: self._subscribers.remove(subscriber)

    async def propose(self, command: Command, timeout_ms: int | None = None) -> Outcome:
        await asyncio.sleep(0)
        if self.cut:
            raise OutcomeUnknown("cut off in this test")
        self.state, outcome = apply(self.state, self.state.log_index + 1, command)
        for subscriber in list(self._subscribers):
            subscriber(self.state)
        return outcome

    async def barrier(self, timeout_ms: int | None = None) -> ClusterRecord:
        if self.cut:
            await asyncio.sleep((timeout_ms or 0) / 1000)
            raise OutcomeUnknown("cut off in this test")
        return self.state


@dataclass
class FakeData:
    """A data worker whose standby acknowledges when the test says so."""

    role: str = "idle"
    position: Position = ORIGIN
    peer: NodeId | None = None  # a standby whose stream is connected
    acknowledged: Position = ORIGIN
    children: tuple[()] = ()
    capture_broken: bool = False
    unread: str = ""  # what cannot be read
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    async def follow(
        self, epoch: Epoch, active: NodeId | None, starts: tuple[EpochStart, ...]
    ) -> None:
        self.role = f"follows {active}"

    async def start_capture(
        self, epoch: Epoch, starts: tuple[EpochStart, ...], node: NodeId
    ) -> bool:
        self.role = f"captures in {epoch}"
        self.position = Position(epoch, starts[-1].seq)
        return True

    async def finish(self, epoch: Epoch, *, accept_loss: bool) -> Position:
        self.role = "finished"
        self.capture_broken = False
        return self.position

    async def capture_barrier(self, timeout_s: float, *, complete: bool = False) -> Position:
        if complete and self.unread:
            raise ActionError(self.unread)
        return self.position

    def write(self) -> None:
        """A change reaches the journal."""
        self.position = Position(self.position.epoch, self.position.seq + 1)

    def acknowledge(self, position: Position) -> None:
        self.acknowledged = position
        self.moved.set()
        self.moved = asyncio.Event()

    async def wait_acknowledged(self, node: NodeId, position: Position, timeout_s: float) -> None:
        while self.acknowledged < position:
            await self.moved.wait()

    async def status(self) -> WorkerStatus:
        captures = self.role.startswith("captures")
        role = pb.WORKER_ROLE_ACTIVE if captures else pb.WORKER_ROLE_STANDBY
        last = types_pb2.Position(epoch=self.position.epoch, seq=self.position.seq)
        peers = []
        if captures and self.peer is not None:
            durable = types_pb2.Position(epoch=self.acknowledged.epoch, seq=self.acknowledged.seq)
            peers = [
                pb.PeerSession(node=self.peer, state=pb.SESSION_STATE_STREAMING, durable=durable)
            ]
        return WorkerStatus(
            trees=pb.GetTreesStatusResponse(role=role, last=last),
            stream=pb.GetStreamStatusResponse(role=role, last=last, peers=peers),
        )


@dataclass
class FakeVips:
    """Addresses without a kernel."""

    vips: tuple[Vip, ...]
    until_ms: int = 0
    fail: bool = False
    gated: bool = False
    admits: Admission = Admission.CLOSED
    services: FakeServices | None = None
    story: list[str] = field(default_factory=list)  # how it stood after each call

    def _tell(self) -> None:
        running = self.services is not None and self.services.running
        held = "held" if self.until_ms else "gone"
        services = "running" if running else "down"
        self.story.append(f"{held}, {self.admits.value}, services {services}")

    async def hold(self, until_ms: int, admit: Admission | None = None) -> Held:
        added = self.vips if self.until_ms == 0 else ()
        self.until_ms = until_ms
        self.admits = admit or self.admits
        self._tell()
        return Held(lifetime_s=2, added=added, admits=self.admits if self.gated else Admission.OPEN)

    async def admission(self) -> Admission | None:
        return self.admits if self.gated else None

    async def drop(self) -> None:
        self.until_ms = 0
        self.admits = Admission.CLOSED
        self._tell()

    async def end_what_is_over(self) -> tuple[Vip, ...]:
        return ()

    async def held(self) -> dict[Vip, bool]:
        return dict.fromkeys(self.vips, self.until_ms > 0)


@dataclass
class FakeAnnouncer:
    announced: list[Vip] = field(default_factory=list)

    def announce(self, vips: tuple[Vip, ...]) -> None:
        self.announced.extend(vips)

    async def stop(self) -> None:
        pass


@dataclass
class FakeServices:
    running: bool = False
    health: tuple[ServiceHealth, ...] = ()
    restarted: list[str] = field(default_factory=list)

    async def start_all(self) -> None:
        self.running = True

    async def stop_all(self) -> None:
        self.running = False

    async def restart(self, name: str) -> None:
        self.restarted.append(name)

    async def watch(
        self, changed: Callable[[ServiceHealth], None], serving: Callable[[], bool]
    ) -> None:
        await asyncio.Event().wait()


@dataclass(frozen=True)
class FakeFenceAnswer:
    let_go: bool
    detail: str


@dataclass
class FakeFence:
    asked: list[tuple[GroupId, Epoch, NodeId]] = field(default_factory=list)

    async def fence(
        self, group: GroupId, epoch: Epoch, loser: NodeId, timeout_ms: int
    ) -> FakeFenceAnswer:
        self.asked.append((group, epoch, loser))
        return FakeFenceAnswer(let_go=False, detail="no answer")
