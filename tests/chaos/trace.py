"""What happened when on which host: everything that is known of a run, on one clock."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from chaos.clocks import Shifts, true_times, wall_less_boottime
from chaos.run import Judgement
from lab.cluster import DAEMON
from lab.lab import Lab

_LINE = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) (\w+) +(.*)$")
_TOLD = ("warning", "error", "critical")
_PHASE = re.compile(r"daemon\.loop: group \S+: [a-z]+ -> [a-z]+ in epoch")
_SUPERVISOR = re.compile(r"^--- ")
_ENDED = re.compile(r"^--- staqraftd: ended with (-?\d+)")
EXPECTED_ENDS = (0, -9)  # told to, killed


@dataclass(frozen=True, slots=True, order=True)
class Line:
    """Something that happened; `at` is CLOCK_BOOTTIME in seconds."""

    at: float
    text: str

    def __str__(self) -> str:
        return f"{self.at:.3f}  {self.text}"


def of_log(host: str, log: Iterable[str], offset_s: float, shifts: Shifts) -> list[Line]:
    """Changes of phase, warnings and errors, starts and ends (PURE).

    `offset_s` is CLOCK_BOOTTIME less the machine's wall clock, `shifts` how the host's own jumped.
    What the supervisor says has no time of its own: it is that of the line before.
    """
    stamps: list[float] = []
    texts: list[str] = []
    for line in log:
        found = _LINE.match(line)
        if found:
            wall = datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S.%f")  # noqa: DTZ007 - local
            stamps.append(wall.timestamp() + offset_s)
            told = found[2] in _TOLD or _PHASE.search(found[3])
            texts.append(f"{host}: {found[3]}" if told else "")
        elif _SUPERVISOR.match(line) and stamps:
            stamps.append(stamps[-1])
            texts.append(f"{host}: {line.strip('- ')}")
    times = true_times(stamps, shifts)
    return [Line(at, text) for at, text in zip(times, texts, strict=True) if text]


def unhandled(host: str, log: Iterable[str]) -> list[str]:
    """Exceptions that nobody handled, and ends that nobody asked for: bugs whatever else happened
    (PURE).
    """
    found = []
    last = ""
    for line in log:
        ended = _ENDED.match(line)
        if line.startswith("Traceback ") or "exception was never retrieved" in line:
            found.append(f"{host}: an exception that nobody handled, behind: {last}")
        elif ended and int(ended[1]) not in EXPECTED_ENDS:
            found.append(f"{host}: staqraftd ended with {ended[1]}, behind: {last}")
        if line.strip():
            last = line.rstrip()
    return found


def log_of(lab: Lab, host: str) -> list[str]:
    """The lines of a member's log."""
    path = lab.host_directory(host) / "log" / f"{DAEMON}.log"
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []


def of_run(judgement: Judgement, lab: Lab) -> list[Line]:
    """All that happened, in the order of time."""
    offset_s = -wall_less_boottime()
    lines = [Line(at, text) for at, text in judgement.deeds]
    for host in lab.members:
        lines += of_log(host, log_of(lab, host), offset_s, judgement.shifts.get(host, []))
    lines += [
        Line(at, f"the VIP is answered for by {who or 'nobody'}") for at, who in judgement.holders
    ]
    lines += [
        Line(at, f"{host}: Raft is led by {leader or 'nobody'}")
        for at, host, leader in judgement.leaders
    ]
    return sorted(lines)


def around(lines: Iterable[Line], at: float, within_s: float) -> Iterator[Line]:
    """Those near an instant."""
    return (line for line in lines if abs(line.at - at) < within_s)
