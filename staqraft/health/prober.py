"""Keeps the disk probe's process, and what it said last."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from staqraft.config.schema import Config
from staqraft.health import disk_probe
from staqraft.health.disks import VolumeLook
from staqraft.model import GroupId

logger = logging.getLogger(__name__)

_AGAIN_S: Final = 5.0
_END_S: Final = 1.0  # a process whose thread hangs in the kernel does not end: it is left behind
_PATIENCE: Final = 3  # intervals without a word of a directory that nobody waits for


def directories(config: Config) -> dict[Path, frozenset[GroupId]]:
    """What is looked at, and whose it is; none: everybody's.

    Raft's log, a group and its journal may have volumes of their own, which are there before we
    start. What is not there is made by our processes, on the volume of `state_dir`.
    """
    found: dict[Path, frozenset[GroupId]] = {config.state_dir: frozenset()}
    if (raft := config.state_dir / "raft").is_dir():
        found[raft] = frozenset()
    for group in config.groups.values():
        own = config.group_dir(group.id)
        ours = [place for place in (own, own / "journal") if place.is_dir()]
        for place in (*ours, *(tree.path for tree in group.trees)):
            found[place] = found.get(place, frozenset()) | {group.id}
    return found


class Prober:
    """Runs the program and reads what it says. `looks` is how every volume is now."""

    def __init__(self, config: Config, *, now_ms: Callable[[], int]) -> None:
        self._run_dir = config.run_dir
        self._interval_ms = config.health.disk.interval_ms
        self._paths = {str(path): groups for path, groups in directories(config).items()}
        self._now_ms = now_ms
        self._begun: dict[str, int] = {}
        self._ended: dict[str, VolumeLook] = {}
        self._same: dict[str, str] = {}
        self._heard: dict[str, int] = {}
        self._since_ms = now_ms()
        self.problem = ""

    def looks(self) -> tuple[VolumeLook, ...]:
        """One for each volume, with the groups of all that is on it.

        It bears the name of the first of its directories in the configuration's order. Which of
        them is written to is whichever thread of the program came first, and says nothing.
        """
        now_ms = self._now_ms()
        shared: dict[str, list[str]] = {}  # by the directory that is written to
        for path in self._paths:
            shared.setdefault(self._same.get(path, path), []).append(path)
        found = []
        for written, paths in shared.items():
            owners = [self._paths[path] for path in paths]
            begun = self._begun.get(written)
            look = self._ended.get(written, VolumeLook(path=written))
            found.append(
                replace(
                    look,
                    path=paths[0],
                    groups=frozenset().union(*owners) if all(owners) else frozenset(),
                    writing_ms=now_ms - begun if begun is not None else None,
                )
            )
        return tuple(found)

    def silent(self) -> tuple[str, ...]:
        """Directories of which nothing is known at present, and no write waits."""
        late_ms = self._now_ms() - _PATIENCE * self._interval_ms
        return tuple(
            path
            for path in self._paths
            if path not in self._begun and self._heard.get(path, self._since_ms) < late_ms
        )

    async def run(self) -> None:
        """Keep it running until cancelled."""
        while True:
            try:
                await self._live()
                self.problem = "its program ended"
            except OSError as error:
                self.problem = f"its program cannot be started: {error.strerror}"
            logger.error("the disks are not looked at: %s; started again soon", self.problem)
            await asyncio.sleep(_AGAIN_S)

    async def _live(self) -> None:
        program = str(Path(disk_probe.__file__))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", program, str(self._run_dir), str(os.getpid())),
            *(str(self._interval_ms), *self._paths),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None, "its output is read"
        try:
            async for line in process.stdout:
                if line.endswith(b"\n"):  # else it was killed in the middle of it
                    self.problem = ""
                    self.take(json.loads(line))
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _END_S)
            # What hangs is found again by its successor, which waits for the lock.
            self._same.clear()

    def take(self, said: Mapping[str, Any]) -> None:
        """One line of what it says."""
        path, now_ms = said["path"], self._now_ms()
        if path not in self._paths:
            return
        self._heard[path] = now_ms
        if said.get("begin") or said.get("held"):
            self._begun.setdefault(path, now_ms)
            return
        self._begun.pop(path, None)
        if "same" in said:
            self._same[path] = said["same"]
            return
        self._same.pop(path, None)
        self._ended[path] = VolumeLook(
            path=path,
            took_ms=said.get("took_ms"),
            error=said.get("error", ""),
            free=said.get("free", 0),
            size=said.get("size", 0),
            free_inodes=said.get("free_inodes", 0),
            inodes=said.get("inodes", 0),
        )
