"""A watchdog for a host of the lab: a device in FUSE, and whoever cuts the power when it fires.

`python -m lab.dog`, run in the host, mounts the device at `DEVICE` and prints a line with the
instant (CLOCK_BOOTTIME) when it was not kicked in time. `Dog`, outside, cuts the host's power then:
all that runs in the host is gone at once, as when a real watchdog resets a machine.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from fakes.fuse_watchdog import FuseWatchdog
from lab.lab import Lab
from lab.layout import HOST_STATE
from lab.linux import boottime

DEVICE: Final = f"{HOST_STATE}/watchdog"


class Dog:
    """Of one host, for one boot. `reset` is when it cut the power (CLOCK_BOOTTIME), if it did."""

    def __init__(self, lab: Lab, host: str) -> None:
        self._lab = lab
        self._host = host
        self.fired: float | None = None
        self._over = threading.Event()
        self._process = lab.popen(host, lab.module("dog"))
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        self._thread = threading.Thread(target=self._wait, name=f"dog-{host}", daemon=True)
        self._thread.start()

    def _wait(self) -> None:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line and not self._over.is_set():
            self.fired = float(line)
            self._lab.power_off(self._host)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        try:
            self._process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._thread.join(timeout=30)


def main() -> None:
    """Until standard input ends, or the host has no power."""

    def fire() -> None:
        print(boottime(), flush=True)

    with FuseWatchdog(Path(DEVICE), fire).mounted():
        print("ready", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
