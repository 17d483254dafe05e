"""Figures that are worth knowing of a running cluster: live latency, and what its processes use
when idle.
"""

from __future__ import annotations

import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from lab.cluster import DAEMON
from lab.errors import LabError
from lab.lab import Lab

TICKS = os.sysconf("SC_CLK_TCK")
MIB = 1 << 20
LOOK_EVERY_S = 0.0005
PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """From the rename on the active to the name on the standby, in milliseconds."""

    p50_ms: float
    p99_ms: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What a process used."""

    host: str
    process: str
    cpu_percent: float
    memory_mib: float


def live_latency(
    lab: Lab, source: str, target: str, *, count: int = 100, rate: int = 50
) -> Latency:
    """Files of 4 KiB renamed into a tree at `rate` a second, each awaited on the other side."""
    here, there = (Path(f"{lab.root(name)}/srv/www") for name in (source, target))
    taken = []
    for number in range(count):
        begun = time.monotonic()
        temporary, name = here / ".latency.tmp", f"latency-{number}.html"
        temporary.write_bytes(os.urandom(4096))
        temporary.rename(here / name)
        renamed = time.monotonic()
        while not (there / name).exists():
            if time.monotonic() - renamed > PATIENCE_S:
                raise LabError(
                    f"{name}, written on {source}, did not appear on {target} in {PATIENCE_S:g} s"
                )
            time.sleep(LOOK_EVERY_S)
        taken.append(1000 * (time.monotonic() - renamed))
        time.sleep(max(0.0, begun + 1 / rate - time.monotonic()))
    for number in range(count):
        (here / f"latency-{number}.html").unlink()
    cuts = statistics.quantiles(taken, n=100, method="inclusive")
    return Latency(p50_ms=cuts[49], p99_ms=cuts[98], count=count)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _memory_mib(pid: int) -> float:
    """Proportional share: what the process alone costs, with its part of what it shares."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    line = next(line for line in lines if line.startswith("Pss:"))
    return int(line.split()[1]) * 1024 / MIB


def _title(pid: int) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    for known in ("trees", "stream"):
        if known in words:
            return f"staqraft-data {known}"
    return next((Path(word).name for word in words if "staqraft" in Path(word).name), words[0])


def idle_use(lab: Lab, seconds: float = 3.0) -> list[Use]:
    """CPU over a span in which nobody writes, and memory, of every process of the daemons."""
    pids = [(host, pid) for host in lab.members for pid in lab.unit_processes(host, DAEMON)]
    before = {pid: _cpu_s(pid) for _, pid in pids}
    begun = time.monotonic()
    time.sleep(seconds)
    spent = time.monotonic() - begun
    return [
        Use(
            host=host,
            process=_title(pid),
            cpu_percent=100 * (_cpu_s(pid) - before[pid]) / spent,
            memory_mib=_memory_mib(pid),
        )
        for host, pid in pids
    ]
