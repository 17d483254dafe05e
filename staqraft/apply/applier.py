"""Records into trees: what the active has, the standby gets, exactly and in order.

See the package's docstring for the rules; here is only their execution.
"""

from __future__ import annotations

import errno
import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType

from staqraft.apply import metadata as meta
from staqraft.apply.doubt import Doubt
from staqraft.apply.doubtful import Doubtful
from staqraft.apply.localscan import Excluded
from staqraft.apply.matching import is_same, is_same_node, is_unchanged
from staqraft.apply.newfiles import NewFiles
from staqraft.apply.observe import digest_at, identity_of, look, metadata_at, type_of
from staqraft.apply.places import Places
from staqraft.apply.quick import Quick
from staqraft.apply.replay import IndexReplay
from staqraft.apply.rollback import Rollback
from staqraft.apply.safety import CannotWrite, TreeRoot, check_path, refusal, sync_filesystem
from staqraft.apply.touched import TouchedDirectories
from staqraft.apply.unsettled import Unsettled
from staqraft.apply.watermark import Watermark
from staqraft.apply.writer import Place, TreeWriter
from staqraft.errors import ApplyError
from staqraft.index import Entry, Index, MissingParent
from staqraft.journal.record import (
    Chunk,
    Delta,
    HardLinkTo,
    Inline,
    MovedFrom,
    ObjectType,
    Record,
    Remove,
    Staged,
    Upsert,
)
from staqraft.model import Position

logger = logging.getLogger(__name__)

JOURNAL_STAGES = b"stage-"
FETCHED_STAGES = b"fetch-"


class Applier:
    """Applies records to the trees of a group. One thread at a time.

    `healed` counts objects that were not as the records expected and were put right.
    """

    def __init__(
        self,
        roots: Mapping[str, TreeRoot],
        index: Index,
        watermark: Watermark,
        excluded: Mapping[str, Excluded] = MappingProxyType({}),
    ) -> None:
        self.index = index
        self.watermark = watermark
        self.roots = roots
        self.healed = 0
        self.changes: Counter[str] = Counter()
        self.unsettled = Unsettled.load(index)
        self._writers = {name: TreeWriter(root) for name, root in roots.items()}
        self._places = Places(roots, self._writers, index, excluded)
        self.doubtful = Doubtful(index, self.unsettled, self._places)
        self._touched = TouchedDirectories(roots, index)
        self._quick = Quick(self._places, index, self._touched)
        self._new_files = NewFiles(self._writers, self._places, index, self._touched)
        self._written = set(roots)  # who knows what was written before, and not synced
        self._doubt = Doubt(index)
        self._may_clear_parked = False
        self._stages: dict[tuple[str, bytes], bytes] = {}

    # --- one record --------------------------------------------------------------------------

    def apply(self, record: Record, *, fetched: bool = False) -> None:
        """Applies one record. Raises CannotWrite (try again), PathEscape and ApplyError (give up).

        `fetched`: it tells an object's state on the active now, not a place in its history.
        """
        check_path(record.path)
        if record.tree not in self.roots:
            raise ApplyError(
                f"a record speaks of tree {record.tree!r}, which this node's configuration does "
                "not have: make the trees equal on both replicas"
            )
        self._written.add(record.tree)
        try:
            self._places.unprotected(record, partial(self._apply, record, fetched=fetched))
        except OSError as error:
            self._failed(record, error)
        except MissingParent:
            self.unsettled.add(record)
        if not fetched:
            self.watermark.set(record.position)

    def make_new(self, records: Sequence[Record], *, fetched: bool = False) -> int:
        """Makes the files of a run of records that are new files; how many were done, if any."""
        if self.unsettled or records[0].tree not in self.roots:
            return 0
        self._written.add(records[0].tree)
        done = self._new_files.make(records, None if fetched else self.watermark.set)
        for record in records[:done]:
            self._count(record, "upsert")
        return done

    def replay_index(self, done: Iterable[Record]) -> None:
        """After a kill, before anything is applied: the records behind the index's position.

        Those up to the watermark are on the disk already; only the index has to learn of them.
        """
        replay = IndexReplay(dict(self.roots), self.index, self.unsettled, self._doubt.about)
        for record in done:
            if record.position > self.watermark.position:
                replay.note_if_moved(record)
                break
            replay.note(record)
            self._touched.by(record)
        replay.finish()

    def roll_back(self, behind: Iterable[Record]) -> None:
        """After a power cut, before anything is applied: the records behind the index's position.

        The names below the trees are then what the index says, and durable so. The records are to
        be applied after this; what their result rests on besides themselves stays unsettled until
        its digest was compared. Raises CannotWrite.
        """
        stages: set[bytes] = set()
        rollback = Rollback(dict(self.roots), self.index, self._writers)
        until = self.index.position
        for record in behind:
            rollback.note(record)
            until = record.position
            match record.change:
                case Upsert(content=Staged(stage=stage)):
                    stages.add(JOURNAL_STAGES + b"%d" % stage)
        for writer in self._writers.values():
            writer.keep_stages(stages)
        try:
            rollback.run()
        except OSError as error:
            raise CannotWrite(
                f"the trees cannot be brought to where their index is ({error}); it is tried "
                "again: free space or repair their volume"
            ) from error
        for tree, path in rollback.lost:
            logger.warning("tree %s: %r is not there since the power cut", tree, path)
        self._touched.add_all(rollback.directories)
        self._doubt.begin(until)
        self.commit(self.index.position)

    def _apply(self, record: Record, *, fetched: bool) -> None:
        sure = not self.unsettled and not self._doubt.about(record)
        if sure and self._quick.apply(record):
            self._count(record, "upsert")
            return
        stages = FETCHED_STAGES if fetched else JOURNAL_STAGES
        past = not fetched and not isinstance(record.change, Chunk) and self._is_past(record)
        self._touched.add_parent(record.tree, record.path)
        match record.change:
            case Chunk() as chunk:
                self._chunk(record, chunk, stages)
                return
            case Remove():
                if not past:
                    self._remove(record)
                    self.unsettled.discard_below(record.tree, record.path)
                    self._count(record, "remove")
                else:
                    self.doubtful.suspect_relics(record)
            case Upsert() as upsert:
                if past:
                    self._pass_over(record, upsert, stages)
                    return
                if self._upsert(record, upsert, fetched=fetched):
                    if not fetched and self._doubt.about(record):
                        self.doubtful.not_sure(record)
                    else:
                        self.unsettled.discard(record.tree, record.path)
                    self._count(record, "upsert")
                else:
                    self.doubtful.not_sure(record)

    def _is_past(self, record: Record) -> bool:
        """Whether the object was fetched whole in a later state than this record's."""
        entry = self.index.get(record.tree, record.path)
        return entry is not None and entry.origin >= record.position

    def _upsert(self, record: Record, upsert: Upsert, *, fetched: bool) -> bool:
        """True when the object now is what the record says; False when that is not sure."""
        wanted, content = upsert.metadata, upsert.content
        stages = FETCHED_STAGES if fetched else JOURNAL_STAGES
        match content:
            case None:
                return self._metadata_only(record, upsert, fetched=fetched)
            case MovedFrom(path=source):
                return self._move(record, upsert, source)
            case HardLinkTo(path=other):
                return self._link(record, upsert, other)
            case Delta():
                return self._delta(record, upsert, content)
            case Staged(stage=stage):
                if not self._writers[record.tree].has_stage(stages + b"%d" % stage):
                    return False
            case Inline():
                pass
        if fetched:  # a record of the journal is followed by those of the other names
            self.doubtful.suspect_other_names(record)
        at = self._places.make_room(record.tree, record.path)
        writer = self._writers[record.tree]
        match content:
            case Inline(data=data):
                writer.replace_with_file(at, data, wanted)
            case Staged(stage=stage):
                writer.replace_with_stage(at, stages + b"%d" % stage, wanted)
                self._stages.pop((record.tree, record.path), None)
        self._put(record, upsert, at)
        return True

    def _metadata_only(self, record: Record, upsert: Upsert, *, fetched: bool) -> bool:
        """Not a file: the whole object. A file: what it holds must be there already."""
        if not fetched and self.doubtful.is_lost_directory(record):
            return False
        at = self._places.at(record.tree, record.path)
        wanted = upsert.metadata
        found = look(*at)
        entry = self.index.get(record.tree, record.path)
        if wanted.type is ObjectType.FILE:
            if (
                found is None
                or type_of(found) is not ObjectType.FILE
                or not is_unchanged(entry, found)
            ):
                return False
            assert entry is not None
            if entry.digest != upsert.digest:
                return False
            meta.write_at(*at, wanted)
            if self.unsettled.has(record.tree, record.path):
                self._put(record, upsert, at)
                return False
        elif found is not None and is_same_node(at, found, upsert):
            meta.write_at(*at, wanted)
        else:
            was_there = entry is None and record.before and not fetched
            if was_there and wanted.type is ObjectType.DIRECTORY:
                self.unsettled.add_hollow(record.tree, record.path)
            at = self._places.make_room(
                record.tree, record.path, keep_files=wanted.type is not ObjectType.DIRECTORY
            )
            self._writers[record.tree].replace_with_node(at, wanted)
        self._put(record, upsert, at)
        return True

    def _delta(self, record: Record, upsert: Upsert, delta: Delta) -> bool:
        """Pieces onto a base that may not be right are written too: see the package's docstring."""
        at = self._places.at(record.tree, record.path)
        found = look(*at)
        entry = self.index.get(record.tree, record.path)
        if found is None or type_of(found) is not ObjectType.FILE or not is_same(entry, found):
            return False
        assert entry is not None
        sure = (
            is_unchanged(entry, found)
            and entry.digest == delta.base
            and not self.unsettled.has(record.tree, record.path)
        )
        self._writers[record.tree].write_pieces(at, upsert.metadata.size, delta.extents)
        meta.write_at(*at, upsert.metadata)
        self._put(record, upsert, at)
        return sure

    def _move(self, record: Record, upsert: Upsert, source: bytes) -> bool:
        check_path(source)
        tree = record.tree
        known = self.index.get(tree, source)
        if known is None:
            self.unsettled.move(tree, source, record.path)
            if upsert.metadata.type is ObjectType.DIRECTORY:
                self.unsettled.add_hollow(tree, record.path)
            return False
        self.doubtful.note_if_mixed(record, source)
        moved = self._move_on_disk(record, known, source)
        in_doubt = self.unsettled.has(tree, source)
        root = self.roots[tree]
        root.forget(source)
        root.forget(record.path)
        self.index.move(tree, source, record.path)
        self.unsettled.move(tree, source, record.path)
        self._touched.moved(source, record.path)
        self._touched.add_parent(tree, source)
        target = self._places.find(tree, record.path)
        now = look(*target) if target else None
        if moved is None or target is None or now is None or not is_same(known, now):
            return False
        meta.write_at(*target, upsert.metadata)
        self._put(record, upsert, target)
        return known.metadata.type is not ObjectType.FILE or (
            not in_doubt and known.digest == upsert.digest and is_unchanged(known, moved)
        )

    def _move_on_disk(self, record: Record, known: Entry, source: bytes) -> os.stat_result | None:
        """Brings what the index knows at `source` to the record's path, wherever it is now.

        Returns what it was before it was moved; None if it was not found or has no place to go.
        """
        target = self._places.find(record.tree, record.path)
        if target is None:
            return None
        from_place = self._places.find(record.tree, source)
        there = look(*from_place) if from_place else None
        if there is not None and from_place is not None and is_same(known, there):
            is_directory = known.metadata.type is ObjectType.DIRECTORY
            target = self._places.make_room(record.tree, record.path, keep_files=not is_directory)
            self._writers[record.tree].move(from_place, target)
            return there
        here = look(*target)
        if here is not None and is_same(known, here):
            return here
        if here is not None:
            target = self._places.make_room(record.tree, record.path, keep_files=False)
        found = self._writers[record.tree].unpark(known.identity.ino, target)
        return look(*target) if found else None

    def _link(self, record: Record, upsert: Upsert, other: bytes) -> bool:
        check_path(other)
        source = self._places.find(record.tree, other)
        there = look(*source) if source else None
        if source is None or there is None or type_of(there) is not upsert.metadata.type:
            return False
        entry = self.index.get(record.tree, other)
        at = self._places.at(record.tree, record.path)
        here = look(*at)
        if here is None or (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino):
            at = self._places.make_room(record.tree, record.path, keep_files=True)
            source = self._places.at(record.tree, other)
            self._writers[record.tree].replace_with_link(at, source)
        meta.write_at(*at, upsert.metadata)
        self._put(record, upsert, at)
        return (
            entry is not None
            and entry.digest == upsert.digest
            and not self.unsettled.has(record.tree, other)
        )

    def _remove(self, record: Record) -> None:
        if not record.path:
            raise ApplyError(
                f"a record removes the root of tree {record.tree}: refused, a root is never removed"
            )
        self._places.remove(record.tree, record.path)
        self.index.remove(record.tree, record.path)

    def _chunk(self, record: Record, chunk: Chunk, stages: bytes) -> None:
        name = stages + b"%d" % chunk.stage
        key = (record.tree, record.path)
        before = self._stages.get(key)
        if before is not None and before != name:
            self._writers[record.tree].drop_stage(before)
        self._stages[key] = name
        self._writers[record.tree].stage_piece(name, chunk.offset, chunk.data)

    def _pass_over(self, record: Record, upsert: Upsert, stages: bytes) -> None:
        """The object is newer than this record, but what the record leaves behind goes."""
        match upsert.content:
            case MovedFrom(path=source):
                check_path(source)
                self._apply(replace(record, path=source, change=Remove()), fetched=False)
            case Staged(stage=stage):
                self._writers[record.tree].drop_stage(stages + b"%d" % stage)

    # --- batches -----------------------------------------------------------------------------

    def settle(self) -> list[Record]:
        """After a run of records: looks again at what was not sure; returns what is still wrong."""
        wrong: list[Record] = []
        for record in self.unsettled.records():
            if self._is_as_expected(record):
                self.unsettled.discard(record.tree, record.path)
            else:
                wrong.append(record)
            self._touched.add_parent(record.tree, record.path)
        wrong += self.unsettled.hollow()
        self._may_clear_parked = not wrong  # else what is parked may be what is missing
        return wrong

    def commit(self, position: Position) -> None:
        """Makes everything applied so far durable, as of `position`."""
        self._touched.restore_times()
        self.unsettled.save(self.index)
        devices: dict[int, int] = {}
        for name in self._written:
            number = self.roots[name].fd
            devices.setdefault(os.fstat(number).st_dev, number)
        for number in devices.values():
            sync_filesystem(number)
        if not self.unsettled:
            self._doubt.end(position)
        self.index.commit(position, self._committed)

    def _committed(self) -> None:
        """What the commit before spoke of is not needed any more."""
        self._written.clear()
        for writer in self._writers.values():
            writer.committed()
            if self._may_clear_parked:
                writer.clear_parked()
        self._may_clear_parked = False
        for root in self.roots.values():
            os.utime(root.staging(), ns=(0, 0))
            root.release()

    def heal(self, record: Record) -> None:
        """Applies what was fetched on its own, and not as a part of a comparison."""
        is_new = self.index.get(record.tree, record.path) is None
        self.apply(record, fetched=True)
        found = self.index.get(record.tree, record.path)
        if is_new and found is not None and found.metadata.type is ObjectType.DIRECTORY:
            self.unsettled.add_hollow(record.tree, record.path)

    def remove_gone(self, objects: frozenset[tuple[str, bytes]]) -> None:
        """Of what the active had nothing, before a barrier up to which all was applied since."""
        for tree, path in sorted(objects & self.unsettled.gone()):
            if (tree, path) in self.unsettled.gone():  # one above it may have been removed
                self.heal(Record(tree=tree, path=path, change=Remove()))

    def forget_unfinished(self) -> None:
        """For a comparison, once the index is what the disk is: what was before is past."""
        self.unsettled.clear()
        self.drop_stages()

    def drop_stages(self) -> None:
        """No record of before refers to them any more."""
        self._stages.clear()
        for writer in self._writers.values():
            writer.clear_stages()

    # --- inside ------------------------------------------------------------------------------

    def _put(self, record: Record, upsert: Upsert, at: Place) -> None:
        found = os.stat(at[1], dir_fd=at[0], follow_symlinks=False)
        self.index.put(
            record.tree,
            Entry(
                path=record.path,
                metadata=upsert.metadata,
                digest=upsert.digest,
                identity=identity_of(found),
                origin=record.position,
            ),
        )
        if upsert.metadata.type is ObjectType.DIRECTORY:
            self._touched.add(record.tree, record.path)

    def _is_as_expected(self, record: Record) -> bool:
        upsert = record.change
        if not isinstance(upsert, Upsert):
            self._remove(record)
            return True
        at = self._places.find(record.tree, record.path)
        found = look(*at) if at else None
        if at is None or found is None or type_of(found) is not upsert.metadata.type:
            return False
        if self.doubtful.is_lost_directory(record):
            return False
        if upsert.metadata.type is ObjectType.FILE and (
            found.st_size != upsert.metadata.size or digest_at(*at) != upsert.digest
        ):
            return False
        if metadata_at(*at, found) != upsert.metadata:
            meta.write_at(*at, upsert.metadata)
        try:
            self._put(record, upsert, at)
        except MissingParent:
            return False
        return True

    def _failed(self, record: Record, error: OSError) -> None:
        if (refused := refusal(self.roots[record.tree], record.path, error)) is not None:
            raise refused from error
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            self.roots[record.tree].require_staging()
        else:
            logger.warning("tree %s, %r: %s; it is fetched anew", record.tree, record.path, error)
            self.unsettled.refuse(record, error.strerror or str(error))
        self.unsettled.add(record)

    def _count(self, record: Record, kind: str) -> None:
        self.changes[record.mail.value if record.mail else kind] += 1
