"""One turn of the core: collects what a step changes and commands (PURE).

A `Turn` lives for one call of `step` only. It lets the parts of the core speak of one thing after
the other without threading tuples through every function.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from staqraft.decision.commands import Command, Propose
from staqraft.model import Command as Proposal
from staqraft.model import NoteEvent

if TYPE_CHECKING:
    from staqraft.decision.phases import Phase
    from staqraft.decision.state import GroupState


class Turn:
    """The state as it is being changed, and the commands so far."""

    __slots__ = ("commands", "now_ms", "state")

    def __init__(self, state: GroupState, now_ms: int) -> None:
        self.state = state
        self.now_ms = now_ms
        self.commands: list[Command] = []

    def set(self, **changes: Any) -> None:
        """Change fields of the state."""
        state = self.state
        for name, value in changes.items():
            if getattr(state, name) != value:
                self.state = replace(state, **changes)
                return

    def enter(self, phase: Phase, reason: str | None = None) -> None:
        """Change the phase. What the old phase waited for is forgotten: its answer is dropped."""
        self.set(phase=phase, awaiting=0, retry_ms=0)
        if reason is not None:
            self.set(reason=reason)

    def token(self) -> int:
        """A new token."""
        token = self.state.next_token
        self.set(next_token=token + 1)
        return token

    def await_token(self) -> int:
        """A new token for which the phase waits from now on."""
        token = self.token()
        self.set(awaiting=token)
        return token

    def emit(self, command: Command) -> None:
        """Add a command."""
        self.commands.append(command)

    def propose(self, proposal: Proposal, *, awaited: bool = False) -> int:
        """Propose to Raft; with `awaited` the phase waits for the outcome."""
        token = self.await_token() if awaited else self.token()
        self.emit(Propose(token=token, proposal=proposal))
        return token

    def note(self, kind: str, text: str) -> None:
        """Put a line into the history."""
        state = self.state
        self.propose(
            NoteEvent(
                node=state.settings.node,
                group=state.settings.group,
                kind=kind,
                text=text,
                epoch=state.record.epoch,
            )
        )
