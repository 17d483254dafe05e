"""What makes a replica less fit to serve than another, as values (PURE). What follows: `health`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from staqraft.model import NodeId

DISK, FULL, UPLINK, WORKER, CONFIG = "disk", "full", "uplink", "worker", "config"
LINK = "link"  # of an interface on which the virtual addresses are
"""The kinds of defects that there are; what compares is the kind, and any other word will do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Defect:
    """Why a replica is less fit to serve. `text` and `remedy` are a sentence each, for people.

    `bars`: it cannot serve at all. `hangs`: what needs it does not even fail. Not `sure`: it has
    not lasted long enough to be told from a passing trouble.
    """

    kind: str
    text: str
    remedy: str = ""
    bars: bool = False
    sure: bool = True
    hangs: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeHealth:
    """What a replica said of itself last. `ready`: by its own word nothing is against it."""

    defects: tuple[Defect, ...] = ()
    ready: bool = True
    said_ms: int = 0

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of defects that it surely has."""
        return frozenset(defect.kind for defect in self.defects if defect.sure)

    @property
    def suspected(self) -> frozenset[str]:
        """These, and those that it may have."""
        return frozenset(defect.kind for defect in self.defects)

    @property
    def barring(self) -> tuple[Defect, ...]:
        """What surely keeps it from serving."""
        return tuple(defect for defect in self.defects if defect.sure and defect.bars)


@dataclass(frozen=True, slots=True, kw_only=True)
class Better:
    """Another replica has been better off than this one since then."""

    node: NodeId
    since_ms: int
