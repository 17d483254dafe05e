"""What a fault is: something with a name that strikes and is healed.

A nemesis is used once. It names roles, not hosts, so that a seed means the same whoever happens to
be active; which hosts these are is known when it strikes.
"""

from __future__ import annotations

import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack

from chaos.ground import Ground
from lab.errors import LabError

Trouble = (LabError, subprocess.SubprocessError, OSError)  # a fault cannot be made or undone


class Nemesis(ABC):
    """`kind` groups faults in reports. `hold_s` is how long it lasts before it is healed."""

    def __init__(self, kind: str, name: str, hold_s: float) -> None:
        self.kind = kind
        self.name = name
        self.hold_s = hold_s
        self._repairs = ExitStack()

    @property
    def kinds(self) -> tuple[str, ...]:
        """Those of all that it does."""
        return (self.kind,)

    @abstractmethod
    def inject(self, ground: Ground) -> None:
        """Strikes. Whatever has to be undone is pushed to `_repairs` before it is done.

        One of `Trouble` says why there is nothing to strike: such a fault does not count.
        """

    def heal(self) -> None:
        """Undoes all of it, the last first."""
        self._repairs.close()


class Together(Nemesis):
    """One after the other at once, as one fault; healed in the reverse order."""

    def __init__(self, *parts: Nemesis) -> None:
        super().__init__(
            " + ".join(part.kind for part in parts),
            " + ".join(part.name for part in parts),
            max(part.hold_s for part in parts),
        )
        self._parts = parts

    @property
    def kinds(self) -> tuple[str, ...]:
        """Those of its parts."""
        return tuple(kind for part in self._parts for kind in part.kinds)

    def inject(self, ground: Ground) -> None:
        for part in self._parts:
            self._repairs.callback(part.heal)
            part.inject(ground)


def repeat(strike: Callable[[], object], pause: Callable[[], float]) -> Callable[[], None]:
    """Strikes again after each pause, in a thread, until the returned function is called.

    That raises LabError if a strike failed: its host may have lost its power meanwhile.
    """
    over = threading.Event()
    failed: list[Exception] = []

    def run() -> None:
        while not over.wait(pause()):
            try:
                strike()
            except Trouble as error:
                failed.append(error)

    thread = threading.Thread(target=run, name="nemesis", daemon=True)
    thread.start()

    def end() -> None:
        over.set()
        thread.join()
        if failed:
            raise LabError(f"{len(failed)} times it could not be done again: {failed[-1]}")

    return end
