"""What only this node has, when a comparison is about to replace or remove it: to quarantine."""

from __future__ import annotations

import logging
from collections.abc import Callable

from staqraft.apply.applier import Applier
from staqraft.apply.localscan import unknown_files
from staqraft.apply.quarantine import Quarantine
from staqraft.index import UNRECORDED, Entry, SharedHistory
from staqraft.journal.record import ObjectType, Record, Upsert
from staqraft.model import Epoch

logger = logging.getLogger(__name__)


class OwnVersions:
    """In the thread that owns applier and index. Raises QuarantineError, OSError.

    `has_own` is as for the Reconciler; `count` is called for each object that is kept.
    """

    def __init__(
        self,
        applier: Applier,
        quarantine: Quarantine,
        shared: SharedHistory,
        *,
        has_own: bool,
        count: Callable[[], None],
    ) -> None:
        self._count = count
        self._roots = applier.roots
        self._index = applier.index
        self._quarantine = quarantine
        self._shared = shared
        self._has_own = has_own

    def _is_own(self, entry: Entry) -> bool:
        if entry.origin == UNRECORDED:
            return self._has_own
        return not self._shared.has(entry.origin)

    def keep_if_replaced(self, record: Record, upsert: Upsert) -> None:
        """Of what the active has something else for."""
        entry = self._index.get(record.tree, record.path)
        if entry is None:
            if upsert.metadata.type is not ObjectType.DIRECTORY:
                self._keep_unknown(record.tree, record.path, "the active has something here")
            return
        if entry.metadata.type is ObjectType.DIRECTORY:
            if upsert.metadata.type is not ObjectType.DIRECTORY:
                self.keep_below(record.tree, record.path, "the active has something else here")
        elif self._is_own(entry) and not _same_content(entry, upsert):
            self._keep(entry, record.tree, "the active has another version")

    def keep_below(self, tree: str, path: bytes, reason: str) -> None:
        """Of what is at and below a path that goes."""
        entry = self._index.get(tree, path)
        if entry is None:
            return
        below = list(self._index.subtree(tree, path))
        for own in (entry, *below):
            if own.metadata.type is not ObjectType.DIRECTORY and self._is_own(own):
                self._keep(own, tree, reason)
        if entry.metadata.type is ObjectType.DIRECTORY:
            self._keep_unknown(tree, path, f"its directory goes: {reason}")

    def _keep_unknown(self, tree: str, path: bytes, reason: str) -> None:
        """What the patterns leave out, and is nevertheless in the way."""
        try:
            unknown = unknown_files(self._roots[tree], self._index, path)
        except (FileNotFoundError, NotADirectoryError):
            return  # there is not even a directory
        for own in unknown:
            self._keep_path(tree, own, self._index.position.epoch, reason)

    def _keep(self, entry: Entry, tree: str, reason: str) -> None:
        # What no record tells of was written in this node's last epoch, or since.
        epoch = Epoch(entry.origin.epoch or self._index.position.epoch)
        self._keep_path(tree, entry.path, epoch, reason)

    def _keep_path(self, tree: str, path: bytes, epoch: Epoch, reason: str) -> None:
        kept = self._quarantine.keep(self._roots[tree], path, reason=reason, epoch=epoch)
        if kept is not None:
            self._count()
            logger.warning(
                "tree %s: this node's own version of %r is kept in quarantine (%s): %s",
                tree,
                path,
                reason,
                kept.kept_at,
            )


def _same_content(entry: Entry, upsert: Upsert) -> bool:
    theirs = upsert.metadata
    mine = entry.metadata
    return (
        mine.type is theirs.type
        and entry.digest == upsert.digest
        and mine.symlink_target == theirs.symlink_target
        and mine.rdev == theirs.rdev
    )
