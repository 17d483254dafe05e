"""What a write to each volume, and the room on it, say of a disk (PURE)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from staqraft.config.schema import DiskHealth
from staqraft.decision.defects import DISK, FULL
from staqraft.health.findings import Finding, Severity
from staqraft.model import GroupId, NodeId

NO_ROOM: Final = frozenset({"ENOSPC", "EDQUOT"})
LEAST_BYTES: Final = 4 << 20  # with less, whatever is written next may not fit
LEAST_INODES: Final = 64
_LOOKED_AGAIN_MS: Final = 1_000  # this process may just have been stopped for a while
PERCENT: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeLook:
    """The last look at a volume. `writing_ms`: how long a write has taken that has not ended yet.

    `error` is the errno's name, "" if the last write that ended was durable. Sizes are in bytes and
    for who is not root; a filesystem without a fixed number of inodes has 0.
    """

    path: str
    groups: frozenset[GroupId] = frozenset()  # whose trees are on it; none: all depend on it
    writing_ms: int | None = None
    took_ms: int | None = None
    error: str = ""
    free: int = 0
    size: int = 0
    free_inodes: int = 0
    inodes: int = 0


def judge(look: VolumeLook, limits: DiskHealth, node: NodeId) -> Iterator[Finding]:
    """What is wrong with the volume."""
    hangs_ms = look.writing_ms or 0
    if hangs_ms >= limits.hung_ms:
        yield _finding(
            look,
            "disk-hung",
            f"the disk under {look.path} on {node} hangs: a write has not ended for"
            f" {hangs_ms // 1000} s",
            f"look at 'dmesg' on {node} for errors of the disk, its controller or its network path",
            bars=True,
            hangs=True,
            sure_ms=_LOOKED_AGAIN_MS,
        )
        return
    if hangs_ms >= limits.slow_ms or (look.took_ms or 0) >= limits.slow_ms:
        slowest_ms = max(hangs_ms, look.took_ms or 0)
        yield _finding(
            look,
            "disk-slow",
            f"the disk under {look.path} on {node} is slow: a small write took"
            f" {slowest_ms / 1000:.1f} s",
            f"see what loads it ('iostat -x 1', 'iotop'), and 'smartctl -a' on {node}",
            severity=Severity.WARNING,
            bars=True,
            sure_ms=None,
        )
    if look.error and look.error not in NO_ROOM:
        yield _failed(look, limits, node)
    else:
        yield from _room(look, limits, node)


def _failed(look: VolumeLook, limits: DiskHealth, node: NodeId) -> Finding:
    what, remedy = {
        "EROFS": (
            "is read-only, as a filesystem makes itself after an error",
            "look at 'dmesg', check the filesystem (fsck), then mount it again",
        ),
        "ENOENT": ("is not there", "mount its volume, or make the directory"),
        "ENOTDIR": ("is not a directory", "mount its volume"),
        "EACCES": ("may not be written to by root", "look at its mode, and at security modules"),
    }.get(
        look.error,
        (
            f"cannot be written to ({look.error})",
            "look at 'dmesg' and 'smartctl -a'; replace the disk if it reports errors",
        ),
    )
    return _finding(
        look,
        "disk-failed",
        f"{look.path} on {node} {what}",
        f"{remedy} on {node}",
        bars=True,
        sure_ms=limits.interval_ms,  # that is: at the second look
    )


def _room(look: VolumeLook, limits: DiskHealth, node: NodeId) -> Iterator[Finding]:
    """By bytes or by inodes, whichever is scarcer."""
    if not look.size:
        return
    inodes = look.inodes > 0
    scarce_inodes = inodes and look.free_inodes * look.size < look.free * look.inodes
    share = PERCENT * (look.free_inodes / look.inodes if scarce_inodes else look.free / look.size)
    what = "inodes (it has too many files)" if scarce_inodes else "space"
    remedy = (
        f"remove what is not needed under {look.path}, or enlarge the volume; 'du -x' shows what"
        " is large"
    )
    if (
        look.error in NO_ROOM
        or look.free < LEAST_BYTES
        or (inodes and look.free_inodes < LEAST_INODES)
    ):
        yield _finding(
            look,
            "disk-full",
            f"the volume of {look.path} on {node} is full: it has no {what} left",
            f"{remedy}. Handing over helps only if the other replica has room, and is done then",
            defect=FULL,
            sure_ms=limits.interval_ms,
        )
    elif share < limits.warn_percent:
        critical = share < limits.critical_percent
        yield _finding(
            look,
            "disk-space",
            f"the volume of {look.path} on {node} has {share:.1f} % of its {what} left",
            remedy,
            severity=Severity.CRITICAL if critical else Severity.WARNING,
            defect=FULL,
            sure_ms=None,  # who has hardly any room is no remedy for who has none
        )


def _finding(
    look: VolumeLook,
    code: str,
    text: str,
    remedy: str,
    *,
    severity: Severity = Severity.CRITICAL,
    defect: str = DISK,
    bars: bool = False,
    hangs: bool = False,
    sure_ms: int | None = 0,
) -> Finding:
    return Finding(
        code=code,
        subject=look.path,
        severity=severity,
        text=text,
        remedy=remedy,
        defect=defect,
        bars=bars,
        hangs=hangs,
        sure_ms=sure_ms,
        groups=look.groups,
    )


def unwatched(path: str, node: NodeId, why: str) -> Finding:
    """Nobody can say how the volume is: the program that looks does not run."""
    return Finding(
        code="disk-unknown",
        subject=path,
        severity=Severity.WARNING,
        text=f"the disk under {path} on {node} is not looked at: {why}",
        remedy=f"see the log of staqraftd on {node}; the program is started again by itself",
    )
