"""From standby to active: acquire, fence, finish the data, open the epoch, capture, serve (PURE).

Each phase is entered by one function that commands its action, and left by the answer. The lease
is renewed all the while (`step`); losing it midway undoes everything in reverse (`standdown`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from staqraft.decision import conflict, fencing, insync, pair, services, standdown, watchdog
from staqraft.decision.commands import (
    FinishData,
    StartCapture,
    StartServices,
    TakeVips,
)
from staqraft.decision.eligibility import lease_over_ms, reasons_against, why_now
from staqraft.decision.lease import Lease, granted
from staqraft.decision.phases import SENTENCES, Phase
from staqraft.decision.state import Takeover
from staqraft.model import (
    Acquire,
    Admission,
    Fenced,
    FenceRung,
    GroupRecord,
    NodeId,
    OpenEpoch,
    Position,
)

if TYPE_CHECKING:
    from staqraft.decision.turn import Turn


def settle_standby(turn: Turn) -> None:
    """Acquire if there is reason to, and nothing against it."""
    settle_acquired(turn)
    state = turn.state
    if state.phase is not Phase.STANDBY or turn.now_ms < state.retry_ms or pair.lost(state):
        return
    wish = state.record.switchover
    if (
        state.record.released
        and wish is not None
        and wish.target != state.settings.node
        and turn.now_ms >= lease_over_ms(state)
    ):
        standdown.cancel(turn, f"{wish.target} did not take over in time")
        return
    reason = why_now(state, turn.now_ms)
    if reason is None or reasons_against(state, turn.now_ms):
        return
    _acquire(turn, reason)


def _acquire(turn: Turn, reason: str, *, serving: bool = False) -> None:
    state = turn.state
    record = state.record
    attempt = state.takeover
    if (
        attempt is None
        or attempt.base_epoch != record.epoch
        or attempt.base_renewal != record.renewal
    ):
        attempt = Takeover(
            base_epoch=record.epoch,
            base_renewal=record.renewal,
            loser=fencing.loser_of(state),
            released=record.released and record.active != state.settings.node,
            lease_over_ms=lease_over_ms(state),
            proposed_ms=turn.now_ms,
            reason=reason,
            forced=_is_forced(record, state.settings.node),
        )
    turn.enter(Phase.ACQUIRING, reason)
    # What was known of standbys belongs to the old epoch; the new one begins with this node alone.
    insync.forget(turn)
    turn.set(takeover=replace(attempt, serving=serving))
    turn.propose(
        Acquire(
            node=state.settings.node,
            group=state.settings.group,
            base_epoch=record.epoch,
            base_renewal=record.renewal,
            reason=reason,
        ),
        awaited=True,
    )


def _is_forced(record: GroupRecord, node: NodeId) -> bool:
    wish = record.switchover
    return wish is not None and wish.forced and wish.target == node


def acquire_failed(turn: Turn, detail: str) -> None:
    """Refused or unknown: back to standby; the record tells what came of it."""
    attempt = turn.state.takeover
    if attempt is not None and attempt.serving:
        standdown.stand_down(turn, f"did not get the next epoch: {detail}")
        return
    turn.enter(Phase.STANDBY, f"did not get the next epoch: {detail}")
    turn.set(retry_ms=turn.now_ms + turn.state.settings.timing.retry_ms)


def settle_acquired(turn: Turn) -> None:
    """Enter the takeover if the record names this node, and it was our attempt that was applied.

    This is asked in standby too, since the outcome of an attempt may become known late.
    """
    state = turn.state
    attempt = state.takeover
    if attempt is None or not state.mine or state.record.epoch != attempt.base_epoch + 1:
        return
    lease = granted(state.settings.timing, state.record.epoch, attempt.proposed_ms, turn.now_ms)
    if not lease.held(turn.now_ms):
        # It came so late that the lease is over already: give the epoch up, try anew.
        late = "the epoch was granted only after its lease had run out"
        if attempt.serving:
            standdown.stand_down(turn, late)
            return
        turn.set(takeover=None)
        turn.enter(Phase.STANDBY, late)
        return
    turn.set(lease=lease)
    watchdog.kick(turn)  # armed already when this is a new epoch of the active itself
    _fence(turn)


def settle_acquiring(turn: Turn) -> None:
    """The grant, or what makes it void: the record moved on, whatever the answer will be.

    An attempt that was applied and superseded before this node heard of either is answered as
    accepted, and there is nothing to wait for.
    """
    settle_acquired(turn)
    state = turn.state
    attempt = state.takeover
    if state.phase is not Phase.ACQUIRING or attempt is None:
        return
    if state.record.epoch > attempt.base_epoch:
        acquire_failed(turn, f"{state.record.active} acquired epoch {state.record.epoch}")
        if not state.mine and turn.state.phase is Phase.STANDBY:
            standdown.follow(turn)
    elif attempt.serving and (reason := standdown.running_out(state, turn.now_ms)) is not None:
        standdown.stand_down(turn, reason)  # it serves by the lease of the epoch that goes on


def resume(turn: Turn) -> None:
    """Our daemon restarted within its lease: go on in the same epoch once it is renewed."""
    state = turn.state
    turn.set(lease=Lease(epoch=state.record.epoch, last_number=state.record.renewal))
    turn.enter(Phase.RESUMING, "the daemon restarted while it was active")


def settle_resuming(turn: Turn) -> None:
    """A renewal was committed in our old epoch: nobody took over meanwhile."""
    state = turn.state
    if not state.mine:
        standdown.stand_down(turn, "another node took over while the daemon was down")
        return
    if not state.lease.held(turn.now_ms):
        return
    if state.epoch_is_open:
        arm(turn)
        return
    # The restart fell into a takeover. Who the loser was is not in the record any more, but of a
    # pair it can only be the other; its lease counts from now at the worst.
    others = state.settings.peers
    turn.set(
        takeover=Takeover(
            base_epoch=state.record.epoch,
            base_renewal=state.record.renewal,
            loser=others[0] if others else None,
            released=False,
            lease_over_ms=lease_over_ms(state),
            proposed_ms=turn.now_ms,
            reason=state.reason,
        )
    )
    _fence(turn)


def _fence(turn: Turn) -> None:
    attempt = turn.state.takeover
    assert attempt is not None, "fencing without a takeover"
    turn.enter(Phase.FENCING, attempt.reason)
    if attempt.loser is None:
        _finish(turn)
        return
    if attempt.released:
        _fenced(turn, FenceRung.RELEASED)
        return
    if fencing.recorded(turn.state, attempt.loser):
        _finish(turn)  # before our daemon restarted
        return
    fencing.begin(turn, attempt.loser, attempt.lease_over_ms)
    settle_fencing(turn)


def settle_fencing(turn: Turn) -> None:
    """Go on with the first proof that suffices."""
    if (proof := fencing.settle(turn)) is not None:
        _fenced(turn, *proof)


def _fenced(turn: Turn, rung: FenceRung, detail: str = "") -> None:
    attempt = turn.state.takeover
    assert attempt is not None, "fenced without a takeover"
    assert attempt.loser is not None, "fenced without a loser"
    turn.set(takeover=replace(attempt, fenced=(rung, detail)))
    _record_fence(turn)
    _finish(turn)


def _record_fence(turn: Turn) -> None:
    """Unless it is recorded, or there was nobody to fence. Nothing waits for it."""
    state = turn.state
    attempt, known = state.takeover, state.record.fence
    if attempt is None or attempt.loser is None or attempt.fenced is None:
        return
    if known is not None and (known.epoch, known.loser) == (state.record.epoch, attempt.loser):
        return
    rung, detail = attempt.fenced
    turn.propose(
        Fenced(
            node=state.settings.node,
            group=state.settings.group,
            epoch=state.record.epoch,
            loser=attempt.loser,
            rung=rung,
            detail=detail,
        )
    )


def _finish(turn: Turn) -> None:
    turn.enter(Phase.FINISHING)
    conflict.begin(turn)
    attempt = turn.state.takeover
    turn.emit(
        FinishData(
            token=turn.await_token(),
            epoch=turn.state.record.epoch,
            # Before the first epoch was opened there is no history that could lose anything.
            accept_data_loss=not turn.state.record.epoch_starts
            or (attempt is not None and attempt.forced),
        )
    )


def finished(turn: Turn, position: Position) -> None:
    """Everything received is applied up to `position`: the epoch begins behind it."""
    turn.enter(Phase.OPENING)
    turn.set(opening_seq=position.seq + 1)
    _open(turn)


def _open(turn: Turn) -> None:
    _record_fence(turn)  # of a pair, the loser that was turned off may have taken the first with it
    state = turn.state
    turn.propose(
        OpenEpoch(
            node=state.settings.node,
            group=state.settings.group,
            epoch=state.record.epoch,
            start_seq=state.opening_seq,
        ),
        awaited=True,
    )


def settle_opening(turn: Turn) -> None:
    """The record shows our epoch as open, or the proposal's fate is unknown: ask again."""
    if turn.state.epoch_is_open:
        arm(turn)
    elif turn.state.awaiting == 0 and turn.now_ms >= turn.state.retry_ms:
        _open(turn)


def arm(turn: Turn) -> None:
    """The watchdog, if there is one, before anything is served."""
    if not watchdog.arm(turn):
        start_capture(turn)


def start_capture(turn: Turn) -> None:
    """Capture must run before a service may write."""
    record = turn.state.record
    turn.enter(Phase.CAPTURING)
    token = turn.await_token()
    turn.emit(StartCapture(token=token, epoch=record.epoch, epoch_starts=record.epoch_starts))


def captured(turn: Turn) -> None:
    """The data side is ready. With a gate the addresses come first, since nobody gets through."""
    if turn.state.settings.gate:
        _take_vips(turn, Phase.ADDRESSING)
    else:
        start_services(turn)


def start_services(turn: Turn) -> None:
    """What is to run on the active only."""
    turn.enter(Phase.STARTING)
    services.forget(turn)
    turn.emit(StartServices(token=turn.await_token()))


def services_started(turn: Turn, problem: str) -> None:
    """A service that does not start is an alarm, and no reason to take the others' address away."""
    turn.set(service_problem=problem)
    if problem:
        turn.note("service-failed", problem)
    _take_vips(turn, Phase.ADMITTING if turn.state.settings.gate else Phase.ADDRESSING)


def _take_vips(turn: Turn, phase: Phase) -> None:
    deadline = turn.state.lease.deadline_ms
    assert deadline is not None, "addresses without a lease"
    turn.enter(phase)
    if conflict.pending(turn.state):
        return  # its answer is at hand, and `settle_addressing` goes on
    if (objection := conflict.objection(turn.state)) is not None:
        step_failed(turn, objection)
        return
    # Not closed before the services start: a daemon that was restarted finds them running, and its
    # gate open. Every other takeover finds it closed, since letting go closed it.
    admit = Admission.OPEN if phase is Phase.ADMITTING else None
    turn.emit(TakeVips(token=turn.await_token(), deadline_ms=deadline, admit=admit))


def addressed(turn: Turn) -> None:
    """The addresses are here: behind a gate they are of use only when the services run."""
    if turn.state.settings.gate:
        start_services(turn)
    else:
        serve(turn)


def serve(turn: Turn) -> None:
    """The last step."""
    state = turn.state
    reason = state.takeover.reason if state.takeover else state.reason
    turn.set(takeover=None)
    turn.enter(Phase.ACTIVE, reason)
    turn.note("active", f"{state.settings.node} serves in epoch {state.record.epoch}: {reason}")


def step_failed(turn: Turn, detail: str) -> None:
    """An action of the takeover failed: let go in order, so that the other replica may try."""
    timing = turn.state.settings.timing
    reason = f"the takeover failed while this node {SENTENCES[turn.state.phase]}: {detail}"
    turn.note("takeover-failed", f"{turn.state.settings.node}: {reason}")
    turn.set(cooldown_ms=turn.now_ms + timing.cooldown_ms, takeover=None)
    standdown.stand_down(turn, reason, release=True)


def settle_addressing(turn: Turn) -> None:
    """Try again to take the addresses, or to open the gate before them."""
    state = turn.state
    if state.awaiting == 0 and turn.now_ms >= state.retry_ms:
        _take_vips(turn, state.phase)


def new_epoch_for_self(turn: Turn) -> None:
    """Since this epoch's journal cannot be continued, take the next one, with nobody to fence."""
    turn.note("epoch-broken", "the journal of this epoch lost its tail; a new epoch begins")
    _acquire(turn, "the journal of the last epoch lost its tail", serving=True)
