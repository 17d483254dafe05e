"""A switchover tried on paper: the decision core itself runs, over a copy, and nothing is done.

The same `step` that decides, and the same state machine that the members apply, take turns here:
each action succeeds at once, and time stands still. So what is shown is what would be done, and
what stands in the way is what would. What only the target knows is asked of it, see `planning`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from staqraft.consensus.statemachine import apply
from staqraft.decision import commands as do
from staqraft.decision import events as on
from staqraft.decision import handover
from staqraft.decision.phases import SENTENCES, Phase
from staqraft.decision.state import GroupState
from staqraft.decision.step import step
from staqraft.model import ClusterRecord, Command, NodeId, Refused, RequestSwitchover

_EVENTS = 500  # a switchover has some forty; one that does not end is a bug, not a reason to hang
_OVER = frozenset({Phase.STANDBY, Phase.ACTIVE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsed:
    """What would be done, and what stands in the way; with anything there, nothing is shown."""

    steps: tuple[str, ...] = ()
    against: tuple[str, ...] = ()


def rehearse(cluster: ClusterRecord, state: GroupState, target: NodeId, now_ms: int) -> Rehearsed:
    """A switchover from this node, which is the active, to `target`, at `now_ms`."""
    settings = state.settings
    against: list[str] = []
    request = RequestSwitchover(
        node=settings.node, group=settings.group, target=target, requested_by="", reason=""
    )
    asked, outcome = apply(cluster, cluster.log_index + 1, request)
    if isinstance(outcome, Refused):
        against.append(outcome.reason)
    if state.phase is not Phase.ACTIVE:
        against.append(f"{settings.node} {SENTENCES[state.phase]}: it hands over when it is active")
    if state.shutting_down:
        against.append(f"the daemon on {settings.node} is stopping")
    if (problem := handover.can_follow(state, target, now_ms)) is not None:
        against.append(problem)
    if against:
        return Rehearsed(against=tuple(dict.fromkeys(against)))
    giving = _Actor(asked, replace(state, retry_ms=0), now_ms)
    giving.play(on.RecordObserved(now_ms=now_ms, record=asked.groups[settings.group]))
    if giving.core.phase is Phase.ACTIVE:
        return Rehearsed(against=(giving.core.reason,))
    record = giving.cluster.groups[settings.group]
    fresh = GroupState(
        settings=replace(settings, node=target),
        phase=Phase.STANDBY,
        record=record,
        observed_ms=now_ms,
        pair=state.pair,
        next_token=giving.core.next_token,
    )
    taking = _Actor(giving.cluster, fresh, now_ms)
    taking.play(on.Tick(now_ms=now_ms))
    assert taking.core.phase is Phase.ACTIVE, f"the rehearsal ends in {taking.core}"
    return Rehearsed(steps=(*giving.steps, *taking.steps))


class _Actor:
    """A decision core whose every wish comes true at once."""

    def __init__(self, cluster: ClusterRecord, core: GroupState, now_ms: int) -> None:
        self.cluster = cluster
        self.core = core
        self.steps: list[str] = []
        self._now_ms = now_ms
        self._events: deque[on.Event] = deque()

    def play(self, event: on.Event) -> None:
        """Until it is active, or follows, and nothing is left to be answered."""
        self._events.append(event)
        for _ in range(_EVENTS):
            if not self._events:
                return
            before = self.core.phase
            self.core, commands = step(self.core, self._events.popleft())
            if self.core.phase not in {before, Phase.STANDBY}:
                self.steps.append(f"{self.core.settings.node} {SENTENCES[self.core.phase]}")
            for command in commands:
                self._answer(command)
            if self.core.phase in _OVER and before not in _OVER:
                return
        raise AssertionError(f"the rehearsal does not end: {self.core}")

    def _answer(self, command: do.Command) -> None:
        now_ms = self._now_ms
        if isinstance(command, do.Propose):
            self._apply(command.token, command.proposal)
        elif (token := getattr(command, "token", 0)) > 0:
            self._events.append(
                on.ActionDone(now_ms=now_ms, token=token, position=self.core.journal_last)
            )

    def _apply(self, token: int, proposal: Command) -> None:
        group, now_ms = self.core.settings.group, self._now_ms
        before = self.cluster.groups[group]
        self.cluster, outcome = apply(self.cluster, self.cluster.log_index + 1, proposal)
        if self.cluster.groups[group] != before:
            record = self.cluster.groups[group]
            self._events.append(on.RecordObserved(now_ms=now_ms, record=record))
        self._events.append(
            on.ProposalRefused(now_ms=now_ms, token=token, reason=outcome.reason)
            if isinstance(outcome, Refused)
            else on.ProposalAccepted(now_ms=now_ms, token=token)
        )
