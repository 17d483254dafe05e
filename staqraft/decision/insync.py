"""Who may be promoted: keeping the in-sync set (PURE).

The danger is a barrier that was acknowledged as "degraded" (by the active alone) while a standby
is being added: the addition could commit after it, and that standby could be promoted without what
the barrier covered. So a standby that joins is waited for by every barrier from the moment at which
its own barrier *begins*; whatever was acknowledged without it lies before that barrier's position,
and it is proposed only when it has acknowledged that position. Once proposed, only Raft can tell
whether it is in, so it stays required until the record says so. (Kafka's ISR and PostgreSQL's
synchronous_standby_names under Patroni are kept with the same care.)

Being whole is the standby's own word, too (`following`): one whose trees need the active still,
since what was written while they were compared is not all applied and settled, neither joins nor
counts as heard.

A standby leaves the set only by a committed command: a partitioned active cannot shrink the set,
so its barriers fail instead of lying. Nor does an active whose own stream process says nothing (its
disk hangs) blame the standby for that at once: it would take away the one that can take over.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from staqraft.decision.commands import JoinBarrier
from staqraft.decision.following import Following, why_not
from staqraft.decision.phases import CAPTURED
from staqraft.decision.state import Joining, PeerSync
from staqraft.model import SetInSync

if TYPE_CHECKING:
    from staqraft.decision.events import ActionDone, ActionFailed, PeerReported
    from staqraft.decision.state import GroupState
    from staqraft.decision.turn import Turn
    from staqraft.model import NodeId


def barrier_peers(state: GroupState) -> frozenset[NodeId]:
    """The replicas, besides this one, that a barrier must wait for now."""
    joining = {peer for peer, sync in state.peers.items() if sync.joining is not Joining.OUT}
    return (state.record.in_sync | joining) - {state.settings.node}


def on_report(turn: Turn, event: PeerReported) -> None:
    """A report of the stream process."""
    sync = turn.state.peers.get(event.peer, PeerSync(whole_ms=turn.now_ms))
    whole = event.following is Following.WHOLE
    whole_ms = turn.now_ms - event.silent_ms if whole else sync.whole_ms
    _put(
        turn,
        event.peer,
        replace(
            sync,
            following=event.following,
            durable=event.durable,
            told_ms=turn.now_ms,
            whole_ms=max(sync.whole_ms, whole_ms),
        ),
    )


def on_barrier(turn: Turn, event: ActionDone | ActionFailed) -> bool:
    """The answer to a `JoinBarrier`; False if the token is not one of ours."""
    for peer, sync in turn.state.peers.items():
        if sync.joining is Joining.BARRIER and sync.token == event.token:
            position = getattr(event, "position", None)
            stage = Joining.OUT if position is None else Joining.CATCHING_UP
            retry = turn.now_ms + turn.state.settings.timing.retry_ms
            _put(
                turn,
                peer,
                replace(
                    sync,
                    joining=stage,
                    target=position or sync.target,
                    propose_again_ms=retry if position is None else 0,
                ),
            )
            return True
    return False


def forget(turn: Turn) -> None:
    """Nothing is captured here any more: what it knew of its standbys is void."""
    turn.set(peers={})


def settle(turn: Turn) -> None:
    """Let standbys join and leave as the reports and the record say."""
    if turn.state.phase not in CAPTURED or not turn.state.epoch_is_open:
        return
    for peer in turn.state.settings.peers:
        # A standby never heard of counts as silent from the first look on.
        if peer not in turn.state.peers:
            _put(turn, peer, PeerSync(whole_ms=turn.now_ms, told_ms=turn.now_ms))
        if peer in turn.state.record.in_sync:
            _settle_member(turn, peer)
        else:
            _settle_joiner(turn, peer)


def _settle_member(turn: Turn, peer: NodeId) -> None:
    sync = turn.state.peers[peer]
    timing = turn.state.settings.timing
    if sync.joining is not Joining.OUT:
        sync = replace(sync, joining=Joining.OUT, propose_again_ms=0)
        _put(turn, peer, sync)
    not_whole_ms = turn.now_ms - sync.whole_ms
    if not_whole_ms <= timing.in_sync_timeout_ms or turn.now_ms < sync.propose_again_ms:
        return
    untold_ms = turn.now_ms - sync.told_ms
    if timing.report_ms < untold_ms <= timing.in_sync_timeout_ms + timing.own_silence_ms:
        return  # it is our own stream process that is silent: see above
    record = turn.state.record
    _propose(
        turn,
        peer,
        record.in_sync - {peer},
        _why_it_leaves(sync, peer, turn.state.settings.node, not_whole_ms),
    )


def _why_it_leaves(sync: PeerSync, peer: NodeId, me: NodeId, not_whole_ms: int) -> str:
    if sync.whole:  # and it was not heard since
        return f"{peer} has been silent for {not_whole_ms} ms"
    return f"{why_not(sync.following, peer, me)}, for {not_whole_ms} ms now"


def _settle_joiner(turn: Turn, peer: NodeId) -> None:
    sync = turn.state.peers[peer]
    timing = turn.state.settings.timing
    alive = sync.whole and turn.now_ms - sync.whole_ms <= timing.in_sync_timeout_ms
    match sync.joining:
        case Joining.OUT if alive and turn.now_ms >= sync.propose_again_ms:
            token = turn.token()
            _put(turn, peer, replace(sync, joining=Joining.BARRIER, token=token))
            turn.emit(JoinBarrier(token=token, peer=peer))
        case Joining.BARRIER | Joining.CATCHING_UP if not alive:
            _put(turn, peer, replace(sync, joining=Joining.OUT))
        case Joining.CATCHING_UP if sync.durable.seq >= sync.target.seq:
            _put(turn, peer, replace(sync, joining=Joining.PROPOSED))
            _propose(
                turn,
                peer,
                turn.state.record.in_sync | {peer},
                f"{peer} has everything up to {sync.target}",
            )
        case Joining.PROPOSED if turn.now_ms >= sync.propose_again_ms:
            _propose(
                turn, peer, turn.state.record.in_sync | {peer}, f"{peer} caught up; asked again"
            )
        case _:
            pass


def _propose(turn: Turn, peer: NodeId, members: frozenset[NodeId], reason: str) -> None:
    state = turn.state
    token = turn.propose(
        SetInSync(
            node=state.settings.node,
            group=state.settings.group,
            epoch=state.record.epoch,
            expected=state.record.in_sync,
            expected_index=state.record.in_sync_index,
            members=members,
            reason=reason,
        )
    )
    again = turn.now_ms + state.settings.timing.retry_ms
    _put(turn, peer, replace(turn.state.peers[peer], token=token, propose_again_ms=again))


def _put(turn: Turn, peer: NodeId, sync: PeerSync) -> None:
    turn.set(peers={**turn.state.peers, peer: sync})
