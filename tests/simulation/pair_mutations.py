"""What two replicas without a witness need, taken out one at a time: see `mutations`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from simulation import barriers
from simulation import pair as mirror
from simulation.guards import put
from staqraft.consensus import generations
from staqraft.consensus.generations import Relation
from staqraft.consensus.member import RaftMember
from staqraft.consensus.membership import Membership
from staqraft.decision import fencing, pair
from staqraft.model import NO_EPOCH, FenceRung


def no_wait_after_start() -> None:
    """A host that just started may go on alone."""
    real = mirror.PairDaemon._begin

    def begin(self: mirror.PairDaemon) -> None:
        if self._memory.right is None:
            self._memory.right = (self.raft.member.generation.number, NO_EPOCH)
        real(self)

    put(mirror.PairDaemon, "_begin", begin)


def right_outlives_the_boot() -> None:
    """What was kept is believed although the host was off meanwhile."""
    put(mirror.Memory, "right", _Kept())


class _Kept:
    """A field that is not cleared."""

    def __get__(self, memory: Any, _kind: Any = None) -> Any:
        return _kept.get(id(memory))

    def __set__(self, memory: Any, value: Any) -> None:
        if value is not None:
            _kept[id(memory)] = value


_kept: dict[int, Any] = {}


def standby_without_delay() -> None:
    """Both turn each other off as soon as they lose each other."""
    real = pair.on_report
    put(pair, "on_report", lambda turn, event: real(turn, replace(event, favoured=True)))


def generation_not_persisted() -> None:
    """It is used before it is on disk."""

    def enter(self: Any, generation: Any) -> None:
        self._ready.redial |= self.reachable
        self.membership.entered(generation)
        self._mine.clear()
        self._open()

    put(RaftMember, "_enter", enter)


def lease_suffices() -> None:
    """The loser's lease ran out: taken for a proof, as with a witness."""
    real = fencing.suffices
    put(
        fencing,
        "suffices",
        lambda state, rung: rung is FenceRung.LEASE or real(state, rung),
    )


def old_generation_may_speak() -> None:
    """Sessions carry Raft messages whatever generations were named."""
    real = generations.relate

    def relate(*arguments: Any) -> Relation:
        found = real(*arguments)
        return Relation.EQUAL if found in {Relation.LEFT_OUT, Relation.BEHIND} else found

    put(generations, "relate", relate)
    put(RaftMember, "_receive", _receive_from_anybody(RaftMember._receive))


def _receive_from_anybody(real: Any) -> Any:
    def receive(self: Any, node: Any, *rest: Any) -> None:
        self.membership.reachable |= {node}
        real(self, node, *rest)

    return receive


def alone_without_proof() -> None:
    """Silence is taken for proof that the other is off."""
    real = pair.settle

    def settle(turn: Any) -> None:
        held = turn.state.pair
        if (
            held is not None
            and pair.lost(turn.state)
            and turn.now_ms > pair.device_due_ms(turn.state)
        ):
            turn.set(pair=replace(held, proof=(FenceRung.DEVICE, "silence")))
        real(turn)

    put(pair, "settle", settle)


def old_proof_counts() -> None:
    """That the other was heard since does not matter."""
    real = Membership.alone

    def alone(self: Any, rung: Any, _contacts: int) -> Any:
        self.reachable = frozenset()
        return real(self, rung, self.contacts)

    put(Membership, "alone", alone)


def barrier_counts_alone() -> None:
    """An active that keeps its lease alone answers barriers as if it had asked Raft."""
    put(barriers, "confirm_with_raft", lambda _daemon, answer: answer(None))
    put(
        barriers,
        "must_confirm",
        lambda d: frozenset() if pair.lost(d.core) else d.core.record.in_sync - {d.me},
    )
