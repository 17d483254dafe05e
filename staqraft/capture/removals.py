"""Too many objects gone in too short a time: nothing more is removed until somebody says so. PURE.

A script gone wild, a thief, or a volume that loses its files would otherwise empty the standby as
fast as the active. What a tree's `removals` allow is removed at once; when that is used up, what is
gone is kept on the standby, and a person is asked. What was told before the question stays told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from staqraft.config.schema import RemovalLimit

_FEW: Final = 20  # so many may always go: a tree of ten files is not to ask for each


@dataclass(slots=True)
class _Tree:
    limit: RemovalLimit
    gone: deque[tuple[int, int, int]] = field(default_factory=deque)  # when, how many, of how many
    count: int = 0  # of these
    of: int = 0  # objects there were when it was asked; 0: nothing is asked
    free_until_ms: int = 0


class Removals:
    """Of the trees that have a limit. Used by the capture thread."""

    def __init__(self, limits: Mapping[str, RemovalLimit], now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._trees = {name: _Tree(limit) for name, limit in limits.items() if limit.percent}

    def guards(self, tree: str) -> bool:
        """Whether removals of this tree are to be asked about at all, at present."""
        guarded = self._trees.get(tree)
        return guarded is not None and self._now_ms() >= guarded.free_until_ms

    def may_go(self, tree: str, objects: int, there: int) -> bool:
        """Whether so many objects may be removed, of so many that there are.

        After the first False all is False until `allow`: half a removal would be neither.
        """
        if not self.guards(tree):
            return True
        guarded = self._trees[tree]
        if guarded.of:
            return False
        now = self._now_ms()
        while guarded.gone and guarded.gone[0][0] <= now - guarded.limit.within_ms:
            guarded.count -= guarded.gone.popleft()[1]
        of = max(there, guarded.gone[0][2]) if guarded.gone else there
        gone = guarded.count + objects
        if gone > _FEW and gone * 100 > of * guarded.limit.percent:
            guarded.of = of
            return False
        guarded.gone.append((now, objects, there))
        guarded.count = gone
        return True

    def allow(self, tree: str) -> None:
        """What is gone was meant to go, and what goes in the time of the limit from now on."""
        if (guarded := self._trees.get(tree)) is not None:
            guarded.free_until_ms = self._now_ms() + guarded.limit.within_ms
            guarded.of, guarded.count = 0, 0
            guarded.gone.clear()

    def problem(self, tree: str) -> str:
        """The question, in words; empty: none."""
        guarded = self._trees.get(tree)
        if guarded is None or not guarded.of:
            return ""
        seconds = guarded.limit.within_ms // 1000
        within = f"{seconds} s" if seconds % 60 else f"{seconds // 60} min"
        return (
            f"tree {tree}: more than {guarded.limit.percent} % of its {guarded.of:,} objects"
            f" vanished within {within}, and removals are held: the standby keeps what is not"
            f" removed there yet. If that was meant, say so with 'staqctl removals allow {tree}'."
            " If not, 'staqctl switchover' brings the files back from the standby; or put them back"
            " here, and then allow"
        )
