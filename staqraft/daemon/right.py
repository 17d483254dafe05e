"""The proof that this host has not been off since its daemon could be sure of the group's record.

Of two replicas without a witness one goes on without the other only when that one is off. So what
this node knew, and was, when its daemon ended still holds when the daemon is back, if the host was
not off in between: nobody went on without it. The file belongs to one boot of one machine or
container (the kernel's boot id, and when its first process started) and lies in the run directory,
which usually ends with the boot as well.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

from staqraft.errors import ActionError
from staqraft.model import Epoch

logger = logging.getLogger(__name__)

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_FIRST_PROCESS = Path("/proc/1/stat")
_START_TIME = 19  # of what follows the name in proc(5): field 22, starttime


def this_boot() -> str:
    """What changes whenever this machine or container was off."""
    after_name = _FIRST_PROCESS.read_text().rpartition(")")[2].split()
    return f"{_BOOT_ID.read_text().strip()} {after_name[_START_TIME]}"


class Right:
    """The file. What it says counts in the Raft generation that it names, and in no other."""

    def __init__(self, path: Path, *, boot: Callable[[], str] = this_boot) -> None:
        self._path = path
        self._boot = boot
        self._written: tuple[int, Epoch] | None = None

    def read(self) -> tuple[int, Epoch] | None:
        """Generation, and the epoch in which this node served; None: nothing is proven."""
        try:
            values = json.loads(self._path.read_text())
            found = int(values["generation"]), Epoch(int(values["served"]))
            same = values["boot"] == self._boot()
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("%s is not used: %s", self._path, error)
            return None
        return found if same else None

    def write(self, generation: int, served: Epoch) -> None:
        """Replaces it. When that fails it is removed; ActionError when not even that can be."""
        if self._written == (generation, served):
            return
        content = {"generation": generation, "served": served, "boot": self._boot()}
        scratch = self._path.with_name(self._path.name + ".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            scratch.write_text(json.dumps(content))
            scratch.replace(self._path)
        except OSError as error:
            logger.error(  # noqa: TRY400 - a sentence, not a trace
                "%s cannot be written (%s): when this daemon is restarted while the other replica"
                " is away, it will not serve until that one is back",
                self._path,
                error,
            )
            self.remove()
            return
        self._written = generation, served

    def remove(self) -> None:
        """Nothing is proven any more. ActionError when the file cannot be removed."""
        self._written = None
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise ActionError(
                f"{self._path} says what is not true any more and cannot be removed: {error}."
                " Remove it by hand before staqraftd starts again"
            ) from error
