"""What a daemon acts through: lanes of commands, the services of its host, and what fails there."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from staqraft.errors import ActionError

Done = Callable[[], None]


class Lane:
    """Commands that wait for each other. A job calls what it is given when it is done."""

    def __init__(self) -> None:
        self._jobs: deque[Callable[[Done], None]] = deque()
        self._busy = False

    def put(self, job: Callable[[Done], None]) -> None:
        self._jobs.append(job)
        if not self._busy:
            self._next()

    def _next(self) -> None:
        self._busy = bool(self._jobs)
        if self._busy:
            self._jobs.popleft()(self._next)


@dataclass(slots=True)
class Trouble:
    """What fails on this host at present."""

    failing: set[str]  # names of commands
    claimed_us: int | None = None  # since when a third host has the address
    asking_ms: int = 0  # so much longer the network is asked who has it
    slow_ms: int = 0  # each action takes so much longer

    def strike(self, name: str) -> None:
        """ActionError if this is to fail now."""
        if name in self.failing:
            raise ActionError("it fails (simulated)")


class Services:
    """The services of a host: they run on when the control process dies."""

    def __init__(self) -> None:
        self.running = False
        self.failed = False  # once they did not start when they were told to

    @property
    def any_runs(self) -> bool:
        """Something of the group is here."""
        return self.running

    @property
    def cling(self) -> bool:
        """Something does not stop."""
        return False

    def start(self) -> None:
        self.running = True

    def stop(self) -> None:
        self.running = False
