"""How far a standby is from being able to take over, as the active's stream hears it (PURE)."""

from __future__ import annotations

from enum import Enum

from staqraft.model import NodeId


class Following(Enum):
    """Only one that is WHOLE joins, stays, and counts for a barrier; see `insync`."""

    LOST = "no records flow"
    COMPARES = "it compares its trees with ours; records come behind that"
    SETTLES = "records flow, and it needs us still to make whole what it compared"
    WHOLE = "records flow, and it could go on without us"


def why_not(following: Following, peer: NodeId, me: NodeId) -> str:
    """Half a sentence for people: why nobody counts on `peer`; "" for one that is whole."""
    match following:
        case Following.LOST:
            return f"{peer} cannot be reached on the replication stream"
        case Following.COMPARES:
            return f"{peer} compares its trees with those of {me}, and has not finished"
        case Following.SETTLES:
            return (
                f"{peer} is not whole without {me} yet: what was written while it was compared is"
                " being applied, and what that leaves in doubt fetched anew"
            )
        case Following.WHOLE:
            return ""
