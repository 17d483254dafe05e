"""Formats: how the versions of a cluster that is being upgraded understand each other. PURE.

`FORMAT` is the newest format of commands, snapshots and messages that this software understands.
It grows by one when a release adds a command, a field that changes what a command does, or a
message. The rules that let nodes of two adjacent releases run together:

- Each member announces its format when it starts (`Announce`); what it announced last counts, also
  while it is away, and a member that never did understands `OLDEST` only.
- Nothing is proposed, and no snapshot is written, in a newer format than the lowest announced one
  (`spoken`). So a rolling upgrade stops nobody, and what is new becomes usable when the last
  member, the witness included, runs it.
- A member that meets a newer format in its log, in what its leader sends or in a snapshot does not
  guess: it takes nothing more in, lets go of everything and ends (`errors.Outdated`). That happens
  only to one that was put back to an older version. Its stores are left as they are, and with the
  newer version it goes on from them.
- A session is spoken in the lower format of its two ends, which may differ by one (`adjacent`).

What a format knows is decided where it is encoded. This is the first, so there is nothing to
decide yet.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from staqraft.model import ClusterRecord, NodeId

OLDEST: Final = 1
FORMAT = 1  # read where it is used, so that tests can be the next version


def spoken(record: ClusterRecord, members: Iterable[NodeId]) -> int:
    """The format in which all of the members can be spoken to, as far as they announced."""
    announced = (
        record.members[node].format if node in record.members else OLDEST for node in members
    )
    return min(announced, default=OLDEST)


def adjacent(other: int) -> bool:
    """Whether sessions with software of the format `other` are possible."""
    return other >= OLDEST and abs(other - FORMAT) <= 1


__all__ = ["FORMAT", "OLDEST", "adjacent", "spoken"]
