"""Two replicas without a witness: when one goes on although it cannot ask the other (PURE).

A majority of two is both, so nothing commits while the other is lost, and from silence alone
nobody can tell a dead peer from a cut link. What then holds:

- **Who serves goes on serving.** Nobody takes over from it without its word, a fence device or an
  operator: that its lease ran out suffices for nobody here (`fencing`). So the active keeps its
  lease on its own authority (`keep_lease`), in an epoch whose takeover was finished, until it hears
  of a newer epoch or generation. Barriers are not acknowledged meanwhile: the other may be in sync,
  and only a commit can say that it is not any more.
- **Going on alone needs proof that the other is off**, and then opens a new generation of the Raft
  group (`consensus.generations`): the active does it so that barriers are acknowledged again, a
  standby that is in sync so that it can take over.
- **Never both at once.** The favoured one (who is active in the first group) uses its device after
  `favoured_waits_ms`, the other after the longer `other_waits_ms`: in a partition it is off before
  it would act. A device that is slower than the difference may turn both off; nothing is lost then.
- **No right after a start.** Whoever did not have a quorum in this generation since its host
  started is in phase STARTUP and turns nobody off: the other may have gone on without it, and have
  acknowledged what is not here. A daemon that restarts keeps the right, and even its epoch, as
  long as its host did not: nobody can have gone on without turning that off (`daemon.right`).
- **No old proof.** A proof counts only if the other was not heard since it was asked for. What a
  takeover had turned off while Raft still reached it (its services did not stop) is missed a moment
  later: then that proof serves here, too, as long as the takeover is before its epoch's opening,
  which waits for it. Later it would be an old one.
- **Who stops in order says farewell**, through Raft, when it holds nothing: before that it gave its
  right up, and it does nothing more in this life. So it is not turned off, and its word is proof
  enough, as long as it was not heard since, for the other to go on alone after the usual time. When
  it is back it has to be in touch with the other, as after a start of its host, before it may do
  anything; and it says that it is back before it has its right again. (A daemon that was restarted
  itself cannot tell whether the other was back meanwhile: it turns nobody off for that who had said
  farewell, and waits.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from staqraft.decision import standdown
from staqraft.decision.commands import GoAlone, StopTurnOff, TurnOff
from staqraft.decision.eligibility import Against, refusals, why_now
from staqraft.decision.phases import CAPTURED, HOLDING, LEFT, SENTENCES, Phase
from staqraft.decision.state import PairState
from staqraft.model import NO_EPOCH, FenceRung

if TYPE_CHECKING:
    from staqraft.decision.events import ActionDone, ActionFailed, OffConfirmed, RaftReported
    from staqraft.decision.state import GroupState
    from staqraft.decision.turn import Turn
    from staqraft.model import Epoch, GroupRecord, NodeId

_KEEPING = HOLDING - {Phase.FENCING, Phase.RELEASING} - LEFT
# Of a takeover, between the proof that the loser is off and the opening, which has to be committed.
_BEFORE_OPENED = frozenset({Phase.FINISHING, Phase.OPENING})
# Of the TTL: before the kernel's lifetime of an address ends, or a watchdog fires.
_EXTEND_BELOW = 0.7


def peer_of(state: GroupState) -> NodeId:
    """The other replica."""
    return state.settings.peers[0]


def lost(state: GroupState) -> bool:
    """Nothing commits: the other is a member of this generation, and is not reached in it."""
    pair = state.pair
    return pair is not None and not pair.reached and peer_of(state) in pair.generation.members


def proven_off(state: GroupState, loser: NodeId) -> tuple[FenceRung, str] | None:
    """The proof with which this generation was opened without `loser`, if it was."""
    pair = state.pair
    if pair is None or loser in pair.generation.members or pair.generation.rung is None:
        return None
    return pair.generation.rung, f"{loser} was off when {pair.generation} was opened"


# --- the lease ------------------------------------------------------------------------------------


def keep_lease(turn: Turn) -> bool:
    """Nobody can have taken over: who serves goes on, although no renewal was committed.

    True when the lease has a new deadline.
    """
    state = turn.state
    timing, lease = state.settings.timing, state.lease
    left_ms = 0 if lease.deadline_ms is None else lease.deadline_ms - turn.now_ms
    if left_ms >= timing.ttl_ms * _EXTEND_BELOW or not _may_keep(state):
        return False
    deadline_ms = timing.holder_deadline(turn.now_ms)
    turn.set(lease=replace(lease, deadline_ms=deadline_ms))
    return True


def instants(state: GroupState) -> Iterator[int]:
    """When there may be something to do here."""
    if state.pair is None:
        return
    yield device_due_ms(state)
    if state.lease.deadline_ms is not None:
        yield state.lease.deadline_ms - int(state.settings.timing.ttl_ms * _EXTEND_BELOW) + 1


def _may_keep(state: GroupState) -> bool:
    pair, epoch = state.pair, state.record.epoch
    if pair is None or pair.newer or not state.mine or not state.epoch_is_open:
        return False
    if state.fenced_before > epoch or state.lease.epoch != epoch:
        return False
    if state.phase is Phase.RESUMING:
        return state.served == epoch and lost(state)
    return state.phase in _KEEPING


def epoch_kept(state: GroupState) -> Epoch:
    """The epoch with which a daemon that is restarted now, on this host, may go on; or none."""
    kept = state.phase is Phase.RESUMING and state.served == state.record.epoch
    if state.mine and state.epoch_is_open and (kept or state.phase in _KEEPING | LEFT):
        return state.record.epoch
    return NO_EPOCH


# --- events ---------------------------------------------------------------------------------------


def on_report(turn: Turn, event: RaftReported) -> None:
    """How this node stands to the other, by its Raft member."""
    if not turn.state.settings.pair:
        return
    before = turn.state.pair
    after = PairState(
        generation=event.generation,
        reached=event.reached,
        contacts=event.contacts,
        newer=event.newer,
        favoured=event.favoured,
        lost_ms=turn.now_ms,
    )
    if before is not None and (before.generation.number, before.contacts, before.reached) == (
        event.generation.number,
        event.contacts,
        event.reached,
    ):
        after = replace(before, newer=event.newer, favoured=event.favoured)
    elif before is not None:
        if before.device:
            turn.emit(StopTurnOff(token=before.device))
        heard = (before.generation, before.contacts) != (after.generation, after.contacts)
        missed = not heard and before.reached and turn.state.phase in _BEFORE_OPENED
        proof = before.proof if missed else None
        after = replace(after, left=before.left and not heard, proof=proof)
    turn.set(pair=after)
    if after.reached and (before is None or not before.reached):
        turn.set(observed_ms=turn.now_ms)  # it may have served all the while: let it renew first
    if before is not None and after.generation.number > before.generation.number:
        _note_generation(turn, after, before.proof[1] if before.proof else "")


def on_record(turn: Turn, before: GroupRecord, after: GroupRecord, *, first: bool) -> None:
    """Whether the other said farewell just now, or is back."""
    pair = turn.state.pair
    if pair is None:
        return
    peer = peer_of(turn.state)
    said = peer in after.away and (pair.left or (peer not in before.away and not first))
    turn.set(pair=replace(pair, left=said))


def _said_farewell(state: GroupState) -> bool:
    """The other stopped in order, as far as this daemon knows: it is not turned off for that."""
    pair = state.pair
    return pair is not None and (
        pair.left or (pair.contacts == 0 and peer_of(state) in state.record.away)
    )


def _note_generation(turn: Turn, pair: PairState, proof: str) -> None:
    me, peer, generation = turn.state.settings.node, peer_of(turn.state), pair.generation
    if generation.founder != me:
        return
    if peer in generation.members:
        text = f"{peer} is a member again, in {generation}"
    else:
        known = proof or (generation.rung.value if generation.rung else "nobody")
        text = f"{me} goes on alone in {generation}; that {peer} is off is known by: {known}"
    turn.note("generation", text)


def on_done(turn: Turn, event: ActionDone) -> bool:
    """A device confirmed, or the generation was opened; False if the token is neither's."""
    pair = turn.state.pair
    if pair is None or event.token not in {pair.device, pair.going} - {0}:
        return False
    if event.token == pair.device:
        proof = FenceRung.DEVICE, event.detail
        turn.set(pair=replace(pair, device=0, proof=proof))
    return True  # the new generation is reported


def on_failed(turn: Turn, event: ActionFailed) -> bool:
    """The device did not confirm, or no generation was opened; False if the token is neither's."""
    pair = turn.state.pair
    if pair is None or event.token not in {pair.device, pair.going} - {0}:
        return False
    timing = turn.state.settings.timing
    if event.token == pair.going:
        again_ms = turn.now_ms + timing.retry_ms
        turn.set(pair=replace(pair, going=0, proof=None, again_ms=again_ms, problem=event.detail))
        return True
    again_ms = turn.now_ms + timing.device_retry_ms
    turn.set(pair=replace(pair, device=0, again_ms=again_ms, problem=event.detail))
    return True


def turned_off(turn: Turn, proof: tuple[FenceRung, str], contacts: int) -> None:
    """A takeover had the other turned off, asked for when it had been met so often."""
    pair = turn.state.pair
    if pair is not None and pair.contacts == contacts:
        turn.set(pair=replace(pair, proof=proof))


def vouched(turn: Turn, event: OffConfirmed) -> None:
    """An operator says that the other is off; whoever may not go on alone does not for that."""
    state, pair = turn.state, turn.state.pair
    if pair is None or event.node != peer_of(state):
        return
    fences = state.phase is Phase.FENCING and lost(state)  # and goes on by this word just now
    if why_not(state, turn.now_ms) and not fences:
        return
    proof = FenceRung.OPERATOR, f"{event.by} vouches that {event.node} is off"
    turn.set(pair=replace(pair, proof=proof))


# --- going on alone -------------------------------------------------------------------------------


def settle(turn: Turn) -> None:
    """Let go if the other went on; have it turned off, and go on alone, when it is time to."""
    state, pair = turn.state, turn.state.pair
    if pair is None:
        return
    if pair.newer and (state.phase in HOLDING or state.phase is Phase.RESUMING):
        reason = f"{peer_of(state)} went on without this node, in {pair.newer}"
        standdown.stand_down(turn, reason)
        return
    if pair.going:
        return
    proof = _proof(state, pair, turn.now_ms)
    if why_not(state, turn.now_ms) or (state.record.maintenance and proof is None):
        if pair.device:
            turn.emit(StopTurnOff(token=pair.device))
            turn.set(pair=replace(pair, device=0))
        return
    if proof is not None:
        token = turn.token()
        turn.set(pair=replace(pair, proof=proof, going=token))
        turn.emit(GoAlone(token=token, rung=proof[0], contacts=pair.contacts))
        return
    due = turn.now_ms >= device_due_ms(state) and not _said_farewell(state)
    if due and has_device(state) and not pair.device:
        token = turn.token()
        turn.set(pair=replace(pair, device=token))
        turn.emit(TurnOff(token=token, loser=peer_of(state), epoch=state.record.epoch))


def _proof(state: GroupState, pair: PairState, now_ms: int) -> tuple[FenceRung, str] | None:
    if pair.proof is None and pair.left and now_ms >= device_due_ms(state):
        return FenceRung.RELEASED, f"{peer_of(state)} stopped in order, and said so"
    return pair.proof


def has_device(state: GroupState) -> bool:
    """Whether the other can be turned off from here."""
    settings = state.settings
    return peer_of(state) in settings.devices and FenceRung.DEVICE in settings.fenced_by


def device_due_ms(state: GroupState) -> int:
    """From when on the device is used, or its farewell."""
    pair, timing = state.pair, state.settings.timing
    assert pair is not None, "a pair without its state"
    waits_ms = timing.favoured_waits_ms if pair.favoured else timing.other_waits_ms
    return max(pair.lost_ms + waits_ms, pair.again_ms)


def why_not(state: GroupState, now_ms: int) -> str | None:
    """Why this node would not go on alone now, even with proof that the other is off."""
    pair = state.pair
    me, peer = state.settings.node, peer_of(state)
    if pair is None:
        return "Raft has not started here yet"
    if pair.newer:
        return f"{peer} went on already, in {pair.newer}: {me} waits to be taken in again"
    if not lost(state):
        return f"{peer} is reached" if pair.reached else f"{me} is alone already"
    if state.phase is Phase.STARTUP:
        return (
            f"its host started, and it has not been in touch with {peer} since: {peer} may have"
            f" gone on without it and acknowledged what {me} lacks"
        )
    if state.mine and state.phase in CAPTURED | _BEFORE_OPENED:
        return None
    if state.phase is not Phase.STANDBY:
        return f"{me} {SENTENCES[state.phase]}"
    against = [r for r in refusals(state, now_ms) if r.code is not Against.MAINTENANCE]
    if against:
        return "; ".join(map(str, against))
    return None if why_now(state, now_ms) else "there is nothing to take over yet"


# --- for people -----------------------------------------------------------------------------------


def story(state: GroupState, now_ms: int) -> str:
    """What the other's loss means now, and what can be done; "" while it is reached."""
    pair = state.pair
    if pair is None:
        return ""
    me, peer = state.settings.node, peer_of(state)
    if pair.newer:
        return f"{peer} went on without {me}, in {pair.newer}: {me} waits to be taken in again"
    if not lost(state):
        return ""
    parts = [f"{peer} cannot be reached"]
    if state.mine and state.phase in CAPTURED:
        parts.append(f"{me} goes on serving")
        parts.append(f"barriers wait until {peer} is back or confirmed off")
    problem = why_not(state, now_ms)
    if problem:
        parts.append(f"{me} does not go on alone: {problem}")
    if state.phase is Phase.STARTUP:
        parts.append(
            f"start {peer}; if it is lost for good: 'staqctl force-active {me} --accept-data-loss'"
        )
    elif not problem:
        parts.append(_device_story(state, now_ms))
        parts.append(f"when {peer} is certainly off: 'staqctl fence {peer} --confirm-off'")
    return "; ".join(parts)


def _device_story(state: GroupState, now_ms: int) -> str:
    pair, peer = state.pair, peer_of(state)
    assert pair is not None, "a pair without its state"
    if pair.going:
        return f"{state.settings.node} goes on alone"
    left_s = max(0, -(-(device_due_ms(state) - now_ms) // 1000))
    if pair.left:
        return f"{peer} stopped in order: {state.settings.node} goes on alone in {left_s} s"
    if _said_farewell(state):
        return f"{peer} stopped in order, and is not turned off for that"
    if state.record.maintenance:
        return f"maintenance is on: {peer} is not turned off"
    if not has_device(state):
        return f"no fence device is configured for {peer}, so nothing proves that it is off"
    if pair.device:
        return f"{peer} is being turned off by its fence device"
    failed = f"turning {peer} off failed ({pair.problem}); " * bool(pair.problem)
    return f"{failed}{peer} is turned off in {left_s} s"
