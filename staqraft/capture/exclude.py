"""Which paths of a tree are not replicated."""

from __future__ import annotations

from staqraft.capture import mailbox
from staqraft.config.patterns import Patterns
from staqraft.config.profiles import PROFILES
from staqraft.config.schema import Tree
from staqraft.index import RESERVED_PREFIX, is_reserved


class Excludes:
    """What a tree's profile, its `exclude` and its `include` say, and what StaqRaft keeps out.

    See `staqraft.config.patterns`. What is below an excluded directory is excluded.
    """

    def __init__(self, tree: Tree) -> None:
        self.patterns = (
            *PROFILES[tree.profile],
            *tree.exclude,
            *(f"!{pattern}" for pattern in tree.include),
        )
        """All that count, in their order: the last that matches decides."""
        self._patterns = Patterns(self.patterns) if self.patterns else None
        self._maildir = tree.profile == "maildir"
        self.depends_on_place = self._maildir or (
            self._patterns is not None and self._patterns.anchored
        )
        """Whether moving a directory can change what below it is excluded."""

    def excludes(self, path: bytes, *, is_directory: bool) -> bool:
        """Whether the object at `path` is left out, its parents being in."""
        if path[path.rfind(b"/") + 1 :].startswith(RESERVED_PREFIX):
            return True
        if self._maildir and not is_directory and mailbox.is_unfinished(path):
            return True
        return self._patterns is not None and self._patterns.match(path, is_directory=is_directory)

    def excludes_below(self, path: bytes, *, is_directory: bool) -> bool:
        """The same for a path whose parents may be excluded as well."""
        if is_reserved(path):
            return True
        parts = path.split(b"/")
        return any(
            self.excludes(b"/".join(parts[:n]), is_directory=n < len(parts) or is_directory)
            for n in range(1, len(parts) + 1)
        )
