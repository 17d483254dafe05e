"""What makes a replica less fit to serve than another, as values (PURE). What follows: `health`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from staqraft.model import NodeId

DISK, FULL, UPLINK, WORKER, CONFIG = "disk", "full", "uplink", "worker", "config"
LINK = "link"  # of an interface on which the virtual addresses are
"""The kinds of defects that there are; what compares is the kind, and any other word will do."""
_SERVICE = "service "  # and its name


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


def absent_service(name: str, text: str, remedy: str) -> Defect:
    """A service could not run on this replica: a program or a unit of it is not there.

    It says where a group need not go because of a service, and nothing else: with a worse disk or
    uplink here, some services there are better than none.
    """
    return Defect(kind=_SERVICE + name, text=text, remedy=remedy, sure=False)


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
        """These, and those that it may have; services that are not there are another matter."""
        kinds = (defect.kind for defect in self.defects)
        return frozenset(kind for kind in kinds if not kind.startswith(_SERVICE))

    @property
    def absent_services(self) -> dict[str, Defect]:
        """Those that could not run there, by name."""
        return {
            defect.kind.removeprefix(_SERVICE): defect
            for defect in self.defects
            if defect.kind.startswith(_SERVICE)
        }

    @property
    def barring(self) -> tuple[Defect, ...]:
        """What surely keeps it from serving."""
        return tuple(defect for defect in self.defects if defect.sure and defect.bars)


@dataclass(frozen=True, slots=True, kw_only=True)
class Better:
    """Another replica has been better off than this one since then."""

    node: NodeId
    since_ms: int
