"""Moments at which a fault can strike: chance alone hits an instant of a millisecond too seldom.

What happens tells of the moment, whoever it happens to; a fault that waits for it strikes once.
Nothing here knows what is checked.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from simulation.schedule import Schedule
from staqraft.decision.phases import Phase
from staqraft.model import NodeId

Strike = Callable[[NodeId], None]


class Moment(Enum):
    """Something that happens to a node."""

    VOTED = "it has voted for another"
    STANDS = "it stands for election because the leader asked it to"
    ASKS = "it asks for the next epoch"
    GRANTED = "it learns that the next epoch is its own"
    RESUMES = "its daemon was restarted within its lease, and would go on"
    ADMITS = "as the active it proposes that a standby be in sync"
    RESTS = "as the active it asks to leave its addresses to the kernel"
    COMPARES = "as a standby it begins to compare its trees"
    SETTLES = "as a standby it has compared them, and they are not whole without the active"


class Moments:
    """Who waits for what."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._waiting: dict[Moment, list[tuple[NodeId | None, int, Strike]]] = {}
        self._entered: dict[Phase, Strike] = {}
        self._over = False

    def when_entered(self, phase: Phase, strike: Strike) -> None:
        """`strike` at the very instant at which a node next enters the phase, before it acts."""
        self._entered[phase] = strike

    def entered(self, phase: Phase, node: NodeId) -> None:
        """It happens now."""
        if self._entered and (strike := self._entered.pop(phase, None)) is not None:
            strike(node)

    def when(self, moment: Moment, node: NodeId | None, delay_us: int, strike: Strike) -> None:
        """`strike` so long after the next such moment of `node`, or of any."""
        self._waiting.setdefault(moment, []).append((node, delay_us, strike))

    def reached(self, moment: Moment, node: NodeId) -> None:
        """It happens now."""
        waiting = self._waiting.get(moment)
        if not waiting:
            return
        for one in list(waiting):
            wanted, delay_us, strike = one
            if wanted in {None, node}:
                waiting.remove(one)
                self.later(delay_us, lambda s=strike: s(node))  # type: ignore[misc]

    def later(self, delay_us: int, strike: Callable[[], None]) -> None:
        """`strike` after this time, unless everything is healed by then."""

        def now() -> None:
            if not self._over:
                strike()

        self._schedule.after(delay_us, now)

    def forget(self) -> None:
        """Nobody waits any more."""
        self._waiting.clear()
        self._entered.clear()
        self._over = True
