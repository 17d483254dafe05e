"""What a standby has to do to one directory to have the active's (PURE but for its types)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from staqraft.index import Listed
from staqraft.journal.record import ObjectType


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Names, each tuple sorted. A name can be in `fetch` and in `descend`."""

    fetch: tuple[Listed, ...] = ()  # other or missing here: take the active's
    remove: tuple[bytes, ...] = ()  # only here
    descend: tuple[bytes, ...] = ()  # directories that differ somewhere below


def compare(local: Sequence[Listed], remote: Sequence[Listed]) -> Difference:
    """The difference of one directory's entries."""
    here = {listed.name: listed for listed in local}
    fetch: list[Listed] = []
    descend: list[bytes] = []
    for theirs in remote:
        mine = here.pop(theirs.name, None)
        if mine is None or not theirs.state or mine.state != theirs.state:
            fetch.append(theirs)
        if theirs.type is ObjectType.DIRECTORY and (mine is None or mine.subtree != theirs.subtree):
            descend.append(theirs.name)
    return Difference(fetch=tuple(fetch), remove=tuple(here), descend=tuple(descend))
