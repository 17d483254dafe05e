"""Disks that are full, that hang, or that take nothing any more."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from chaos.ground import FILLER, Ground
from chaos.history import Violation
from chaos.nemesis import Nemesis
from lab.errors import LabError
from lab.layout import other
from lab.linux import boottime
from lab.processes import wait_until

LEAST_BYTES = 4096
# A disk counts as hung after 15 s, then services that wait for it have to stop, or the lease ends;
# 30 to 45 s on a busy machine.
DEAD_FOR_S = 120.0
PLACES = {"data": "the trees", "journal": "the journal", "raft": "Raft", "state": "the index"}


class ReadOnly(Nemesis):
    """The data disk takes nothing any more, as after an error of the filesystem."""

    def __init__(self, role: str, hold_s: float) -> None:
        super().__init__("read-only disk", f"read-only disk, {role}", hold_s)
        self._role = role

    def inject(self, ground: Ground) -> None:
        host = ground.host(self._role)

        def remount(how: str) -> bool:
            argv = ["mount", "-o", f"remount,{how}", "/srv"]
            return ground.lab.run(host, argv, check=False).returncode == 0

        def restore() -> None:
            if ground.lab.has_power(host):  # a reboot mounts it anew
                ground.check_answers(host, "data")
                remount("rw")

        ground.check_answers(host, "data")
        self._repairs.callback(restore)
        # The kernel refuses while a file is open for writing.
        wait_until(lambda: remount("ro"), 5, f"the data disk of {host} is read-only")


class Full(Nemesis):
    """A volume has no block left."""

    def __init__(self, role: str, volume: str, hold_s: float) -> None:
        super().__init__(f"full disk: {volume}", f"full disk ({PLACES[volume]}), {role}", hold_s)
        self._role = role
        self._volume = volume

    def inject(self, ground: Ground) -> None:
        host = ground.host(self._role)
        ground.require_power(host)
        ground.check_answers(host, self._volume)
        filler = ground.lab.volume(host, self._volume) / FILLER
        self._repairs.callback(ground.remove_filler, host, self._volume)
        fill(filler)


def fill(filler: Path) -> None:
    """Takes all room that its filesystem has, in ever smaller pieces."""
    with filler.open("ab") as file:
        at, piece = 0, 1 << 30
        while piece >= LEAST_BYTES:
            try:
                os.posix_fallocate(file.fileno(), at, piece)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                piece //= 2
            else:
                at += piece


class Hang(Nemesis):
    """A volume answers no write: whoever writes waits, and cannot even be killed."""

    word = "hung"

    def __init__(self, role: str, volume: str, hold_s: float) -> None:
        kind = f"{self.word} disk: {volume}"
        super().__init__(kind, f"{self.word} disk ({PLACES[volume]}), {role}", hold_s)
        self._role = role
        self._volume = volume

    def inject(self, ground: Ground) -> None:
        host = ground.host(self._role)
        ground.require_power(host)
        self._repairs.callback(ground.thaw, host, self._volume)
        try:
            ground.freeze(host, self._volume)
        except OSError:  # EBUSY: it hangs already; EIO: its host lost its power
            self._repairs.pop_all()  # of another fault
            raise


class Dead(Hang):
    """One that does not come back until the other replica serves: that it never does, within
    `DEAD_FOR_S`, is a violation. It begins when the other one counts as well: of two that had the
    same trouble lately none is taken for the better one.

    So the outage is that of a takeover, not of how long the fault was held.
    """

    word = "dead"

    def __init__(self, volume: str) -> None:
        super().__init__("active", volume, 0.0)

    def inject(self, ground: Ground) -> None:
        ground.wait_steady()
        super().inject(ground)
        winner = other(ground.active)
        try:
            wait_until(lambda: ground.views.serving() == winner, DEAD_FOR_S, f"{winner} serves")
        except LabError as error:
            text = f"nobody took over from a {self.name} ({ground.active}): {error}"
            ground.found.append(Violation(at=boottime(), text=text))
