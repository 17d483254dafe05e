"""The roots of the trees: a root that is gone, another, or suddenly empty is not believed.

An unmounted filesystem looks like a tree from which everything was removed. So nothing is removed
from the standby on its account, the tree is held, and a person is told what to do. When the root
is back, the tree is watched anew and compared.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from staqraft.capture.errors import CaptureError
from staqraft.capture.ports import IndexPort
from staqraft.capture.problems import Problems
from staqraft.capture.removals import Removals
from staqraft.capture.watcher import Watcher
from staqraft.index import RESERVED_PREFIX

_FEW: Final = 8  # a tree with fewer objects may become empty without a question


class Roots:
    """Used by the capture thread, but for `problem`. `scan(tree)` has a tree compared."""

    def __init__(
        self,
        watcher: Watcher,
        index: IndexPort,
        problems: Problems,
        scan: Callable[[str], None],
        removals: Removals,
    ) -> None:
        self.missing: set[str] = set()
        """Trees of which nothing is captured at present."""
        self._watcher = watcher
        self._index = index
        self._problems = problems
        self._scan = scan
        self._removals = removals
        self._removable: dict[str, bool] = {}

    def begin(self) -> None:
        """A new batch: roots are looked at again when something is to be removed."""
        self._removable.clear()

    def look(self) -> None:
        """Takes notice of roots that went or came."""
        for name in self._watcher.trees:
            if name in self.missing or self._watcher.root_problem(name):
                self.adopt(name)

    def told_missing(self) -> list[str]:
        """A sentence for each tree of which nothing is captured at present."""
        return [
            self._problems.text(f"root {name}") or f"the root of tree {name} is missing"
            for name in sorted(self.missing)
        ]

    def adopt(self, name: str) -> None:
        """Watches a root that came (back), unless it looks like an empty mount point."""
        self.missing.add(name)
        path = self._watcher.trees[name].path
        try:
            empty = _is_empty(path)
        except OSError:
            self._report(name, self._watcher.root_problem(name))
            return
        if empty and self._index.totals(name).objects > _FEW:
            self._report(name, self._emptied(name))
            return
        try:
            self._watcher.add_tree(name)
        except CaptureError as error:
            self._report(name, str(error))
            return
        self.missing.discard(name)
        self._report(name, "")
        self._scan(name)

    def may_remove(self, name: str) -> bool:
        """Whether removals in a tree are to be believed."""
        known = self._removable.get(name)
        if known is not None:
            return known
        problem = self.problem(name)
        self._report(name, problem)
        self._removable[name] = not problem
        return not problem

    def problem(self, name: str) -> str:
        """Why what is missing in a tree is not believed to be gone, or "". For any thread."""
        problem = self._watcher.root_problem(name)
        if not problem and self._index.totals(name).objects > _FEW:
            try:
                if _is_empty(self._watcher.trees[name].path):
                    problem = self._emptied(name)
            except OSError as error:
                problem = f"the root of tree {name} cannot be read ({error.strerror})"
        return problem

    def may_go(self, name: str, path: bytes) -> bool:
        """Whether this object is removed, with all below it.

        If not: the tree is compared again when somebody has allowed it.
        """
        if not self._removals.guards(name):
            return True
        extent, there = self._index.extent(name, path), self._index.totals(name).objects
        may = self._removals.may_go(name, extent, there)
        self._problems.report(f"removals {name}", self._removals.problem(name))
        return may

    def allow_removals(self, name: str) -> None:
        """What vanished was meant to: see `Removals.allow`."""
        self._removals.allow(name)
        self._problems.report(f"removals {name}", "")
        self._scan(name)

    def _emptied(self, name: str) -> str:
        path = self._watcher.trees[name].path
        return (
            f"tree {name}: {path} is empty, and {self._index.totals(name).objects - 1} objects were"
            " in it: nothing is removed from the standby. If it is not mounted, mount it; if it is"
            f" meant to be empty, make any file in it (touch {path}/.keep)"
        )

    def _report(self, name: str, problem: str) -> None:
        self._problems.report(f"root {name}", problem)


def _is_empty(root: Path) -> bool:
    """Whether nothing but StaqRaft's own is there."""
    with os.scandir(root) as listing:
        return all(os.fsencode(item.name).startswith(RESERVED_PREFIX) for item in listing)
