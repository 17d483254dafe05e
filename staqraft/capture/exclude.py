"""Which paths of a tree are not replicated."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable

from staqraft.capture import mailbox
from staqraft.config.schema import Tree
from staqraft.index import RESERVED_PREFIX, is_reserved


class Excludes:
    """The exclude patterns of a tree, and what StaqRaft keeps out of each.

    A pattern without a slash is matched against the last name of a path, one with a slash against
    the whole path from the root. `*` and `?` match any byte, a slash too. A pattern that ends in a
    slash is for directories only. What is below an excluded directory is excluded.
    """

    def __init__(self, tree: Tree) -> None:
        names = [p for p in tree.exclude if "/" not in p.rstrip("/")]
        paths = [p for p in tree.exclude if "/" in p.rstrip("/")]
        self._name = _matcher(names)
        self._path = _matcher([p.lstrip("/") for p in paths])
        self._maildir = tree.profile == "maildir"
        self.depends_on_place = bool(paths) or self._maildir
        """Whether moving a directory can change what below it is excluded."""

    def excludes(self, path: bytes, *, is_directory: bool) -> bool:
        """Whether the object at `path` is left out, its parents being in."""
        name = path.rpartition(b"/")[2]
        if name.startswith(RESERVED_PREFIX):
            return True
        if self._maildir and not is_directory and mailbox.is_unfinished(path):
            return True
        return self._name(name, is_directory) or self._path(path, is_directory)

    def excludes_below(self, path: bytes, *, is_directory: bool) -> bool:
        """The same for a path whose parents may be excluded as well."""
        if is_reserved(path):
            return True
        parts = path.split(b"/")
        return any(
            self.excludes(b"/".join(parts[:n]), is_directory=n < len(parts) or is_directory)
            for n in range(1, len(parts) + 1)
        )


def _matcher(patterns: list[str]) -> Callable[[bytes, bool], bool]:
    if not patterns:
        return lambda _text, _is_directory: False
    anything = [p for p in patterns if not p.endswith("/")]
    directories = [p.rstrip("/") for p in patterns]
    for_files, for_directories = _compile(anything), _compile(directories)

    def matches(text: bytes, is_directory: bool) -> bool:  # noqa: FBT001 (a two-place predicate)
        pattern = for_directories if is_directory else for_files
        return pattern is not None and pattern.match(text) is not None

    return matches


def _compile(patterns: list[str]) -> re.Pattern[bytes] | None:
    if not patterns:
        return None
    return re.compile(b"|".join(os.fsencode(fnmatch.translate(p)) for p in patterns))
