"""The ladder of fencing: which proof there is that the loser no longer serves (PURE).

Three rungs are tried side by side, and the first that the configuration lets suffice wins: the
loser is asked to let go, a fence device turns it off, and its lease runs out. A device is used
only where one is configured for the loser, after the configured delay (so that a loser that can
still answer is asked first), and never without the epoch: only the node whose acquire was
committed is in this phase, so that two nodes never turn each other off. A device that failed is
tried again, since the takeover waits for it; whoever made sure by himself that the loser is off
can vouch for it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from staqraft.decision import pair
from staqraft.decision.commands import FenceLoser, StopTurnOff, TurnOff
from staqraft.decision.phases import Phase
from staqraft.decision.state import Fencing
from staqraft.model import NO_EPOCH, FenceRung

if TYPE_CHECKING:
    from staqraft.decision.events import ActionDone, ActionFailed, OffConfirmed
    from staqraft.decision.state import GroupState
    from staqraft.decision.turn import Turn
    from staqraft.model import NodeId

_ALWAYS_ENOUGH = frozenset({FenceRung.RELEASED, FenceRung.OPERATOR})


def suffices(state: GroupState, rung: FenceRung) -> bool:
    """Whether this proof is enough for a takeover of this group."""
    return rung in _ALWAYS_ENOUGH or rung in state.settings.fenced_by


def recorded(state: GroupState, loser: NodeId) -> bool:
    """Raft has it already that the loser was fenced, and it cannot have served since.

    Whoever serves has opened its epoch before.
    """
    record = state.record
    opened = record.epoch_starts[-1].epoch if record.epoch_starts else NO_EPOCH
    fence = record.fence
    return (
        fence is not None
        and fence.loser == loser
        and fence.epoch > opened
        and suffices(state, fence.rung)
    )


def loser_of(state: GroupState) -> NodeId | None:
    """Who may serve still when this node acquires now; None: nobody but this node itself.

    That the record names this node does not say that it served: its last takeover may have ended
    before the loser was fenced. Of a pair that can only be the other.
    """
    record, me = state.record, state.settings.node
    if record.active != me:
        return record.active
    if not record.epoch_starts or state.epoch_is_open:
        return None
    others = [peer for peer in state.settings.peers if not recorded(state, peer)]
    return others[0] if others else None


def begin(turn: Turn, loser: NodeId, lease_over_ms: int) -> None:
    """Nothing is known yet; `settle` asks."""
    delay_ms = turn.state.settings.devices.get(loser, 0)
    turn.set(
        fencing=Fencing(loser=loser, lease_over_ms=lease_over_ms, device_ms=turn.now_ms + delay_ms)
    )


def settle(turn: Turn) -> tuple[FenceRung, str] | None:
    """Ask whom it is time to ask; the proof as soon as there is one that suffices."""
    known = _known(turn)
    if known.proof is not None:
        return known.proof
    if (proof := pair.proven_off(turn.state, known.loser)) is not None:
        return proof
    # Asked even when its lease is over already: the sooner it knows, the sooner it follows.
    _ask(turn)
    if suffices(turn.state, FenceRung.LEASE) and turn.now_ms >= known.lease_over_ms:
        return FenceRung.LEASE, f"the lease of {known.loser} ran out, which its kernel enforces"
    _turn_off(turn)
    return None


def _known(turn: Turn) -> Fencing:
    known = turn.state.fencing
    assert known is not None, "the phase without its state"
    return known


def _ask(turn: Turn) -> None:
    known = _known(turn)
    if known.asked or turn.now_ms < known.ask_ms:
        return
    token = turn.token()
    turn.set(fencing=replace(known, asked=token))
    turn.emit(FenceLoser(token=token, loser=known.loser, epoch=turn.state.record.epoch))


def _turn_off(turn: Turn) -> None:
    known = _known(turn)
    if not _has_device(turn.state, known.loser) or known.device or turn.now_ms < known.device_ms:
        return
    token = turn.token()
    met = turn.state.pair
    turn.set(fencing=replace(known, device=token, contacts=met.contacts if met else 0))
    turn.emit(TurnOff(token=token, loser=known.loser, epoch=turn.state.record.epoch))


def _has_device(state: GroupState, loser: NodeId) -> bool:
    return loser in state.settings.devices and suffices(state, FenceRung.DEVICE)


# --- answers --------------------------------------------------------------------------------------


def on_done(turn: Turn, event: ActionDone) -> bool:
    """The loser confirmed, or a device did; False if the token is neither's."""
    known = turn.state.fencing
    if known is None or event.token not in {known.asked, known.device}:
        return False
    if event.token == known.device:
        proof = FenceRung.DEVICE, event.detail
        turn.set(fencing=replace(known, device=0, proof=proof))
        pair.turned_off(turn, proof, known.contacts)
    elif suffices(turn.state, FenceRung.CONFIRMED):
        turn.set(fencing=replace(known, asked=0, proof=(FenceRung.CONFIRMED, event.detail)))
    else:
        # Not asked again: it let go. `asked` stays, so that nobody does.
        unanswered = f"{known.loser} let go, and 'fenced_by' wants more than its word"
        turn.set(fencing=replace(known, unanswered=unanswered))
    return True


def on_failed(turn: Turn, event: ActionFailed) -> bool:
    """The loser did not confirm, or the device did not; False if the token is neither's."""
    known = turn.state.fencing
    if known is None or event.token not in {known.asked, known.device}:
        return False
    timing = turn.state.settings.timing
    if event.token == known.asked:
        again_ms = turn.now_ms + timing.retry_ms
        turn.set(fencing=replace(known, asked=0, ask_ms=again_ms, unanswered=event.detail))
        return True
    again_ms = turn.now_ms + timing.device_retry_ms
    turn.set(fencing=replace(known, device=0, device_ms=again_ms, device_problem=event.detail))
    if event.detail != known.device_problem:
        turn.note("fence-failed", f"{known.loser} could not be turned off: {event.detail}")
    return True


def vouched(turn: Turn, event: OffConfirmed) -> None:
    """A person says that it is off; whoever is not waited for is not meant."""
    known = turn.state.fencing
    if known is None or known.loser != event.node:
        return
    proof = FenceRung.OPERATOR, f"{event.by} vouches that {event.node} is off"
    turn.set(fencing=replace(known, proof=proof))


def settle_left(turn: Turn) -> None:
    """The phase is over, one way or the other: nobody is to be turned off any more."""
    known = turn.state.fencing
    if known is None or turn.state.phase is Phase.FENCING:
        return
    if known.device:
        turn.emit(StopTurnOff(token=known.device))
    turn.set(fencing=None)


# --- for people -----------------------------------------------------------------------------------


def story(state: GroupState, now_ms: int) -> str:
    """What the takeover waits for, what failed so far, and what an operator can do."""
    known = state.fencing
    if known is None:
        return ""
    loser = known.loser
    parts: list[str] = []
    if known.unanswered:
        parts.append(known.unanswered)
    elif suffices(state, FenceRung.CONFIRMED):
        parts.append(f"{loser} is asked to let go")
    if _has_device(state, loser):
        parts.append(_device_story(known, now_ms))
    if suffices(state, FenceRung.LEASE):
        left = max(0, -(-(known.lease_over_ms - now_ms) // 1000))
        parts.append(f"the lease of {loser} runs out in {left} s")
    else:
        parts.append(f"that the lease of {loser} runs out does not suffice here ('fenced_by')")
    return (
        f"{'; '.join(parts)}. Whoever has made sure that {loser} is off can say so:"
        f" 'staqctl fence {loser} --confirm-off'"
    )


def _device_story(known: Fencing, now_ms: int) -> str:
    before = f"turning {known.loser} off failed: {known.device_problem}; " * bool(
        known.device_problem
    )
    if known.device:
        return f"{before}{known.loser} is being turned off by its fence device"
    left = max(0, -(-(known.device_ms - now_ms) // 1000))
    when = "the next try is" if known.device_problem else f"{known.loser} is turned off"
    return f"{before}{when} in {left} s"
