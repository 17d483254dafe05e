"""Wall clocks of hosts that jump: the daemons' own, not the machine's.

Time namespaces do not cover CLOCK_REALTIME, and all hosts of the lab share one kernel. So daemons
are started with `wall_shift.c` as LD_PRELOAD, compiled when it is needed: whatever asks for the
wall clock, Python, gRPC or TLS, gets it with the host's offset, and the product knows nothing of
it.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from lab.errors import MissingError
from lab.lab import Lab
from lab.linux import boottime

SOURCE = Path(__file__).with_name("wall_shift.c")
INSIDE = "/etc/staqraft"  # host_directory/etc, as the host sees it
LIBRARY, OFFSET = "wall_shift.so", "wall_shift"
Shifts = list[tuple[float, float]]  # from when on (CLOCK_BOOTTIME), by how much ahead, in seconds


def can_shift() -> bool:
    """There is a C compiler."""
    return shutil.which("cc") is not None


def install(lab: Lab, host: str) -> dict[str, str]:
    """What the environment of a host's daemons needs, so that their wall clock can be set."""
    if not can_shift():
        raise MissingError("clocks that jump need a C compiler: apt-get install gcc libc6-dev")
    etc = lab.host_directory(host) / "etc"
    argv = ["cc", "-O2", "-Wall", "-shared", "-fPIC", "-o", str(etc / LIBRARY), str(SOURCE), "-ldl"]
    subprocess.run(argv, check=True, capture_output=True, text=True)
    (etc / OFFSET).write_bytes(struct.pack("=q", 0))
    return {"LD_PRELOAD": f"{INSIDE}/{LIBRARY}", "WALL_SHIFT": f"{INSIDE}/{OFFSET}"}


def wall_less_boottime() -> float:
    """How far the machine's own wall clock is ahead of CLOCK_BOOTTIME, in seconds."""
    return time.time() - boottime()


def set_offset(lab: Lab, host: str, seconds: float) -> None:
    """In place: the daemons have the file mapped."""
    with (lab.host_directory(host) / "etc" / OFFSET).open("r+b") as file:
        file.write(struct.pack("=q", round(seconds * 1e9)))


NEAR_S = 0.5  # a line is written a moment after its time was taken


def true_times(stamps: Iterable[float], shifts: Shifts) -> list[float]:
    """When lines were really written whose stamps are a host's wall clock (PURE).

    `stamps` are in the order of the lines and already on CLOCK_BOOTTIME as if nothing had jumped.
    Of the spans between jumps each belongs to the earliest that it fits in, not before the line
    before.
    """
    starts = [(float("-inf"), 0.0), *shifts]
    ends = [*(at for at, _ in shifts), float("inf")]
    now, last = 0, float("-inf")
    found = []
    for stamp in stamps:
        for number in range(now, len(starts)):
            true = stamp - starts[number][1]
            fits = starts[number][0] - NEAR_S <= true <= ends[number] + NEAR_S
            if fits and true >= last - NEAR_S:
                now = number
                break
        last = stamp - starts[now][1]
        found.append(last)
    return found
