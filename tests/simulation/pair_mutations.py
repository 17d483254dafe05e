"""What two replicas without a witness need, taken out one at a time: see `mutations`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from simulation import barriers
from simulation import pair as mirror
from simulation.patching import put
from staqraft.consensus import generations
from staqraft.consensus.generations import Relation
from staqraft.consensus.member import RaftMember
from staqraft.consensus.membership import Membership
from staqraft.decision import barrier, fencing, pair
from staqraft.decision.commands import StopTurnOff
from staqraft.model import NO_EPOCH, FenceRung


def no_wait_after_start() -> None:
    """A host that just started may go on alone."""
    real = mirror.PairDaemon._begin

    def begin(self: mirror.PairDaemon) -> None:
        if self._memory.right is None:
            self._memory.right = (self.raft.member.generation.number, NO_EPOCH)
        real(self)

    put(mirror.PairDaemon, "_begin", begin)


def no_look_for_the_other() -> None:
    """A host that is alone in its generation serves as soon as it started."""
    put(mirror, "_ALONE_MS", 0)


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
        lambda state, rung: (state.settings.pair and rung is FenceRung.LEASE) or real(state, rung),
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

    def alone(self: Any, rung: Any, _contacts: int, **more: Any) -> Any:
        self.reachable = frozenset()
        return real(self, rung, self.contacts, **more)

    put(Membership, "alone", alone)


def proof_outlives_contact() -> None:
    """What a device says of an earlier loss counts for a later one, whatever was heard between."""
    real_report, real_settle = pair.on_report, pair.settle
    put(pair, "on_report", _keeping_proof(real_report))
    put(pair, "settle", _keeping_proof(real_settle))
    real = mirror.PairDaemon._carry_out

    def carry_out(self: mirror.PairDaemon, command: Any) -> None:
        if not isinstance(command, StopTurnOff):
            real(self, command)

    put(mirror.PairDaemon, "_carry_out", carry_out)


def _keeping_proof(real: Any) -> Any:
    def keeping(turn: Any, *event: Any) -> None:
        before = turn.state.pair
        real(turn, *event)
        after = turn.state.pair
        if before is None or before.going or after.proof is not None or after.going:
            return
        if after.generation != before.generation:
            return
        turn.set(pair=replace(after, device=after.device or before.device, proof=before.proof))

    return keeping


def acquires_on_contact() -> None:
    """That the other may have served while it was not heard does not matter."""
    real = pair.on_report

    def on_report(turn: Any, event: Any) -> None:
        observed_ms = turn.state.observed_ms
        real(turn, event)
        turn.set(observed_ms=observed_ms)

    put(pair, "on_report", on_report)


def barrier_counts_alone() -> None:
    """An active that keeps its lease alone answers barriers as if it had asked Raft."""
    put(barriers, "confirm_with_raft", lambda _daemon, answer: answer(None))
    real = barrier.must_confirm
    put(barrier, "must_confirm", lambda state: frozenset() if pair.lost(state) else real(state))


def proof_never_ends() -> None:
    """Both: the decision keeps it, and the member believes it."""
    proof_outlives_contact()
    old_proof_counts()


def lease_suffices_on_contact() -> None:
    """Both: it acquires at once, and a lease that ran out is a proof."""
    acquires_on_contact()
    lease_suffices()


def any_generation_may_speak() -> None:
    """Whoever is a member in one's own generation is spoken to, whatever the other's is."""
    real = generations.relate

    def relate(me: Any, mine: Any, peer: Any, theirs: Any) -> Relation:
        return Relation.EQUAL if peer in mine.members else real(me, mine, peer, theirs)

    put(generations, "relate", relate)
    put(RaftMember, "_receive", _receive_from_anybody(RaftMember._receive))


_FORGOTTEN: Final = (
    "decision.pair forgets the device and its word at every contact (the drills take that out);"
    " what the member counts is for the instant between a contact and its report"
)
_RENEWED_FIRST: Final = (
    "decision.pair has the lease count from the contact, so that whoever served has renewed before"
    " anybody acquires; alone nobody can (the drills take that out)"
)
_ENDED: Final = (
    "a session between two generations ends in the step that opens it: one takes the other in, or"
    " joins it (RaftMember._connect; the drill takes that out)"
)
_DEVICE_WAITS: Final = "the fence step waits for a device or the other's own word"

_PAIR: Final = ("pair_parted", "old_proof", "pair")
PATCHES: Final[tuple[tuple[str, Callable[[], None], str, tuple[str, ...]], ...]] = (
    ("pair: no wait after a start", no_wait_after_start, "", _PAIR),
    ("pair: no look for the other", no_look_for_the_other, "", ("given_up",)),
    ("pair: right outlives the boot", right_outlives_the_boot, "", _PAIR),
    ("pair: standby without delay", standby_without_delay, "", _PAIR),
    ("pair: generation not persisted", generation_not_persisted, "", _PAIR),
    ("pair: the lease suffices", lease_suffices, _RENEWED_FIRST, _PAIR),
    ("drill: pair: acquires on contact", acquires_on_contact, _DEVICE_WAITS, _PAIR),
    (
        "drill: pair: acquires on contact, the lease suffices",
        lease_suffices_on_contact,
        "",
        ("pair_stopped",),
    ),
    ("pair: an old generation may speak", old_generation_may_speak, _ENDED, _PAIR),
    ("drill: pair: any generation may speak", any_generation_may_speak, "", _PAIR),
    ("pair: silence is proof", alone_without_proof, "", _PAIR),
    ("pair: an old proof counts", old_proof_counts, _FORGOTTEN, _PAIR),
    ("drill: pair: a proof outlives a contact", proof_outlives_contact, "", ("old_proof",)),
    ("drill: pair: an old proof outlives and counts", proof_never_ends, "", ("old_proof",)),
    ("pair: barriers without the other", barrier_counts_alone, "", _PAIR),
)
