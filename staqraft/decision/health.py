"""When a replica that works lets another one serve, because that one is better off (PURE).

Whatever probes find that makes a replica less fit to serve is a `Defect`: a data disk that hangs,
an uplink that is gone, a data process that is silent. Each replica tells its own to the others,
and the active hands over when another one is **strictly better**: it says itself that nothing is
against it, it is in sync, and each kind of defect that it has, or may be about to have, this one
has as well, and more. So what hit both (the router is off) moves nothing, and of two replicas with
different troubles none is better: whoever serves stays, and says what is wrong. Since the relation
is a strict order, nothing that stands still can make a group go to and fro.

**Time.** A defect is reported as `sure` when it has lasted (`staqraft.health`), before that as a
doubt, which counts for nothing on the active and against a standby: of two that lose the same
uplink, the one that notices later is not taken for the better one. Then the other has to stay
better for `health_ms`, the last word of it said `health_word_ms` after it began: a replica looks at
itself, and speaks, every other second, so an older one may be from before what hit both. On the way
words count for `health_fresh_ms`.

**How.** As in a switchover, so nothing is lost. If that fails, or cannot begin, and a defect of the
active `bars` it from serving at all, it lets go at once and says so through Raft; if even that
hangs, its lease is not renewed any more and ends. What `hangs` (a disk) makes the flush hang, too,
so that is not tried first: whatever was captured has gone to the other by then. Any other
defect waits `health_again_ms` for another try: a replica with a bad uplink still serves somebody.

**A defect that bars** also keeps a standby from taking over by itself (`eligibility`). The others
do not: when the active is gone, a standby without an uplink, or with a full disk, is better than
none. A full disk is replicated like anything else, so a standby is better off only if it has room
(a larger volume, something else on the active's): only then is handing over of use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from staqraft.decision import standdown
from staqraft.decision.defects import Better, NodeHealth
from staqraft.decision.phases import Phase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from staqraft.decision.events import HealthReported
    from staqraft.decision.state import GroupState
    from staqraft.decision.turn import Turn
    from staqraft.model import NodeId

# Until nothing of the planned way can fail any more.
_LOOKS = frozenset({Phase.ACTIVE, Phase.PREPARING, Phase.DRAINING, Phase.STOPPING, Phase.FLUSHING})


def on_report(turn: Turn, event: HealthReported) -> None:
    """A replica says how it is; our own probes do for this one."""
    said = NodeHealth(defects=event.defects, ready=event.ready, said_ms=turn.now_ms - event.age_ms)
    turn.set(health={**turn.state.health, event.node: said})


def own(state: GroupState) -> NodeHealth:
    """How this replica is."""
    return state.health.get(state.settings.node, NodeHealth())


def settle(turn: Turn) -> None:
    """Since when another one is better off; nobody asks anywhere but on the active."""
    state = turn.state
    node = _better_off(state, turn.now_ms) if state.phase in _LOOKS else None
    if node is None:
        turn.set(better=None)
    elif state.better is None or state.better.node != node:
        turn.set(better=Better(node=node, since_ms=turn.now_ms))


def _better_off(state: GroupState, now_ms: int) -> NodeId | None:
    mine = own(state).kinds
    if not mine or state.record.maintenance or not state.settings.moves_for_health:
        return None
    for peer in state.settings.peers:
        said = state.health.get(peer)
        if said is None or now_ms - said.said_ms > state.settings.timing.health_fresh_ms:
            continue
        if said.ready and peer in state.record.in_sync and said.suspected < mine:
            return peer
    return None


def worse(state: GroupState, peer: NodeId) -> str | None:
    """What `peer` may have that this replica has not, so that it is not moved there by itself."""
    mine = own(state).kinds
    for defect in state.health.get(peer, NodeHealth()).defects:
        if defect.kind not in mine:
            return f"{peer} is not well: {defect.text}"
    return None


def target(state: GroupState, now_ms: int) -> NodeId | None:
    """Who is to take over from this active now because it is better off."""
    better, timing = state.better, state.settings.timing
    if better is None or now_ms < max(better.since_ms + timing.health_ms, state.health_again_ms):
        return None
    last_ms = state.health[better.node].said_ms
    return better.node if last_ms >= better.since_ms + timing.health_word_ms else None


def reason(state: GroupState) -> str:
    """Why it is to."""
    better, me = state.better, state.settings.node
    assert better is not None, "nobody is better off"
    spared = state.health[better.node].suspected
    texts = [d.text for d in own(state).defects if d.sure and d.kind not in spared]
    return f"{better.node} is better off: on {me} {'; '.join(texts)}"


def story(state: GroupState, now_ms: int) -> str:
    """For people: why an active that is not well stays active; "" if it is well, or soon is not."""
    mine, settings = own(state).kinds, state.settings
    if not mine or state.phase is not Phase.ACTIVE or _better_off(state, now_ms) is not None:
        return ""
    if state.record.maintenance:
        why = "maintenance is on"
    elif not settings.moves_for_health:
        why = "'health.failover' is false"
    else:
        why = "; ".join(_no_better(state, peer, now_ms) for peer in settings.peers)
    return f"{settings.node} is not well and stays active, since {why}"


def _no_better(state: GroupState, peer: NodeId, now_ms: int) -> str:
    said = state.health.get(peer)
    if said is None or now_ms - said.said_ms > state.settings.timing.health_fresh_ms:
        return f"{peer} has not said lately how it is"
    if peer not in state.record.in_sync:
        return f"{peer} is not in sync"
    if not said.ready:
        return f"{peer} would not take over"
    if own(state).kinds <= said.suspected:
        return f"{peer} has the same trouble"
    return f"{peer} is not well either ({'; '.join(d.text for d in said.defects)})"


def hanging(state: GroupState) -> str | None:
    """Why the planned way would end in a time limit, and cost only time; None: it may work."""
    if any(defect.sure and defect.hangs for defect in own(state).defects):
        return "what hangs cannot be flushed"
    return None


def failed(turn: Turn, detail: str) -> bool:
    """The planned way failed, or cannot begin. True: this node, which cannot serve, lets go."""
    state = turn.state
    if state.better is None:
        return False
    if own(state).barring:
        text = f"{reason(state)}; letting go at once, since the planned way failed ({detail})"
        turn.note("unhealthy", f"{state.settings.node}: {text}")
        standdown.stand_down(turn, text, release=True)
        return True
    turn.set(health_again_ms=turn.now_ms + state.settings.timing.health_again_ms)
    return False


def instants(state: GroupState) -> Iterator[int]:
    """When the active has to look again."""
    timing = state.settings.timing
    yield state.health_again_ms
    if state.better is not None:
        yield state.better.since_ms + timing.health_ms
        yield state.health[state.better.node].said_ms + timing.health_fresh_ms + 1
