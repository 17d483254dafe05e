"""A standby's trees follow its journal: what was before, the next records, the end of it.

Everything here touches disks and runs in the disk thread (`Common.on_disk`), one call at a time;
`trees_standby` decides when.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from itertools import islice
from typing import Final

from staqraft.apply.ahead import WriteAhead
from staqraft.apply.applier import Applier
from staqraft.apply.newfiles import AT_ONCE
from staqraft.apply.quick import foresee
from staqraft.apply.safety import CannotWrite, RootMissing, TreeRoot, sync_filesystem
from staqraft.apply.watermark import Watermark
from staqraft.daemon.settling import Settling
from staqraft.daemon.trees_common import Common, close_roots
from staqraft.daemon.troubles import TROUBLES
from staqraft.errors import ApplyError, JournalCorrupt, JournalError
from staqraft.index import IndexFull, SharedHistory
from staqraft.journal import segment, state
from staqraft.journal.cursor import Corrupt, Cursor, Frames, Trimmed
from staqraft.journal.record import Record, Remove
from staqraft.journal.record_codec import decode_checked
from staqraft.model import ORIGIN, EpochStart, Position

logger = logging.getLogger(__name__)

_READ_BYTES: Final = 256 << 10
_COMMIT_MS: Final = 250
_FORESEEN: Final = 256  # records whose places are looked up together
_NAMED: Final = 5  # objects that a refusal names


class JournalFollower:
    """Applies the journal to the trees. `reason` is why a comparison is needed first, or empty."""

    def __init__(self, common: Common, ring: Callable[[], None] = lambda: None) -> None:
        """`ring`: a step may have something to do; for any thread."""
        self._common = common
        self._ahead = WriteAhead(common.readers, ring)
        self._roots: dict[str, TreeRoot] = {}
        self.applier: Applier | None = None  # once the trees are open
        self._watermark = Watermark(common.directory / "applied", common.boot_id)
        self._cursor: Cursor | None = None
        self._todo: deque[Record] = deque()
        self._reached = common.index.position
        self._forgotten = common.index.forgotten
        self._lost_power = False
        self._only_durable = True  # of the journal, so that no effect is without its record
        self._committed_ms = common.clock_ms()
        self.reason = common.notes.needs_reconcile  # the note, for whoever asks from the loop
        self.settling = Settling(common.notes)
        self._settled = False  # something, since the last commit

    # --- what was before -----------------------------------------------------------------------

    def look_back(self, starts: tuple[EpochStart, ...]) -> None:
        """Finds out whether the trees are where the journal is."""
        common = self._common
        kind, _, boot = common.notes.role.partition("@")
        if kind == "active":
            self.needs("this node stopped without warning while it was active")
        elif kind == "standby" and boot != common.boot_id:
            self._lost_power = True
        elif kind == "joining" and boot != common.boot_id:
            self.needs("this node went down without warning before its trees were durable")
        if common.index.rebuilt:
            common.notes.set_has_own(own=True)
            self.needs(common.index.rebuilt)
        if common.index.position == ORIGIN and common.has_files():
            if not self.reason:  # else a comparison brought them, which a crash ended
                common.notes.set_has_own(own=True)
            self.needs("the trees are not empty and were never compared with the active's")
        if changed := common.note_patterns():
            common.notes.set_has_own(own=True)  # what was left out until now is nobody else's
            self.needs(f"what is left out of tree {', '.join(changed)} was changed")
        self.check_history(starts)
        if kind != "standby":
            common.notes.set_role(f"joining@{common.boot_id}")

    def check_history(self, starts: tuple[EpochStart, ...]) -> None:
        """A comparison is needed when this node has changes that the replicas do not share."""
        if not starts:
            return
        shared = SharedHistory.of(starts)
        known = max(start.epoch for start in starts)
        try:
            ends = (self._common.journal_end(), self._common.index.position)
        except JournalCorrupt as error:
            self.needs(str(error))
            return
        for end in ends:
            if end != ORIGIN and end.epoch <= known and not shared.has(end):
                self.needs(
                    f"this node has changes up to {end} that are not of the history which the "
                    "replicas share"
                )

    def _applier(self) -> Applier:
        common = self._common
        return Applier(self._roots, common.index, self._watermark, common.excluded())

    def needs(self, reason: str) -> None:
        """Nothing more is applied until the trees were compared with the active's."""
        self._common.notes.set_only_look_at(())  # whatever was wished: who knows what is wrong
        self._common.notes.set_needs_reconcile(reason)
        self.reason = self._common.notes.needs_reconcile

    def resync(self, reason: str, trees: Collection[str], *, from_scratch: bool) -> None:
        """An operator's wish: as `needs`, but only the files of these trees are looked at.

        `from_scratch`: what is recorded of them is forgotten. Raises CannotWrite, IndexFull.
        """
        common = self._common
        asked_before = bool(self.reason)
        if self.applier is not None and not asked_before:
            self.commit(self.applier)
        self.needs(reason)
        common.notes.set_has_own(own=True)  # why it was asked for, if not because of what is here
        if not asked_before:
            common.notes.set_only_look_at(trees)
        if from_scratch:
            for tree in trees:
                common.index.clear(tree)
            common.index.commit(common.index.position)
            common.index.sync()

    # --- following -----------------------------------------------------------------------------

    def step(self) -> bool:
        """Applies a portion of the journal. True: there may be more at once."""
        try:
            applier = self._ready()
            if not self._todo and not self._read():
                self._when_idle(applier)
                return False
            for root in self._roots.values():
                root.require_present()
            foreseen = 0
            while self._todo:
                if foreseen <= 0:
                    foreseen = _FORESEEN
                    foresee(self._common.index, self._roots, islice(self._todo, foreseen))
                done = applier.make_new(list(islice(self._todo, AT_ONCE)))
                if not done:
                    applier.apply(self._todo[0])
                foreseen -= done or 1
                for _ in range(done or 1):
                    self._reached = self._todo.popleft().position
            self.settling.look(self._reached, len(applier.unsettled))
            if self._is_due():
                self.commit(applier)
        except IndexFull:
            self._begin_again()
            raise
        except CannotWrite:
            self._free_what_was_replaced()
            raise
        except RootMissing:
            raise
        except (ApplyError, JournalError) as error:
            self.needs(str(error))
            return False
        for code in TROUBLES:
            self._common.problems.clear(code)
        return True

    def _ready(self) -> Applier:
        if self.applier is not None:
            return self.applier
        self._roots = self._common.open_roots()
        try:
            applier = self._applier()
            if self._lost_power:
                self._roll_back(applier)
            else:
                self._catch_up_index(applier)
            self._joined()
        except BaseException:
            close_roots(self._roots)
            self._roots = {}
            self._roll_back_index()
            raise
        self.applier = applier
        return applier

    def _joined(self) -> None:
        """From now on what is behind the index's position is durable, and what is not is known."""
        role = f"standby@{self._common.boot_id}"
        if self._common.notes.role != role:
            for root in self._roots.values():
                sync_filesystem(root.fd)
            self._common.notes.set_role(role)
        self._common.notes.set_has_own(own=False)
        self._lost_power = False

    def _roll_back(self, applier: Applier) -> None:
        """After a power cut: the trees to where the index is, to apply the rest of the journal."""
        applier.roll_back(self._behind())
        logger.warning(
            "this node lost its power while it was applying changes: its trees are as of %s again, "
            "and the rest of its journal is applied anew",
            self._common.index.position,
        )

    def _behind(self) -> Iterator[Record]:
        """All that the journal holds behind the index. Raises JournalError."""
        before = self._common.index.position
        with Cursor(self._common.journal_directory, before) as cursor:
            while (found := cursor.read(_READ_BYTES)) is not None:
                if not isinstance(found, Frames):
                    raise JournalError(f"the trees cannot be brought up: {found.reason}")
                if found.first.seq != before.seq + 1 or found.first.epoch < before.epoch:
                    return
                before = found.last
                yield from decode_checked(found.data)

    def _catch_up_index(self, applier: Applier) -> None:
        """What a killed process had applied and not committed."""
        after = self._common.index.position
        done = self._watermark.position
        if done <= after:
            return
        records: list[Record] = []
        with Cursor(self._common.journal_directory, after) as cursor:
            while not records or records[-1].position <= done:
                found = cursor.read(_READ_BYTES)
                if not isinstance(found, Frames) or not self._follows(found, records):
                    break
                records += decode_checked(found.data)
        applier.replay_index(records)
        if records:
            self._reached = min(done, records[-1].position)
            logger.info("the index caught up with the trees, from %s to %s", after, self._reached)
        self.commit(applier)

    def _follows(self, found: Frames, records: list[Record]) -> bool:
        before = records[-1].position if records else self._common.index.position
        return found.first.seq == before.seq + 1 and found.first.epoch >= before.epoch

    def _read(self) -> bool:
        """Takes the next records from the journal."""
        if self._cursor is None:
            self._cursor = Cursor(self._common.journal_directory, self._reached)
        match self._cursor.read(_READ_BYTES):
            case Frames() as found:
                follows = found.first.seq == self._reached.seq + 1
                if not follows or found.first.epoch < self._reached.epoch:
                    return False  # of another history; the stream process is about to replace it
                durable = self._durable_end()
                if durable is not None and found.last > durable:
                    self._cursor.close()
                    self._cursor = None  # what follows is looked at again when it is durable
                self._common.notes.set_journal_is_own(own=False)
                self._todo.extend(
                    record
                    for record in decode_checked(found.data)
                    if durable is None or record.position <= durable
                )
                return bool(self._todo)
            case Trimmed() as trimmed:
                self.needs(
                    f"the journal does not go on where this node's trees are: {trimmed.reason}"
                )
            case Corrupt() as corrupt:
                self.needs(corrupt.reason)
            case None:
                pass
        return False

    def _durable_end(self) -> Position | None:
        """How far a writer that lives has synced the journal; None: all there is counts.

        After a power cut a change must not be on the disk whose record is not.
        """
        noted = state.read(self._common.journal_directory) if self._only_durable else None
        living = noted is not None and not noted.clean and noted.boot_id == self._common.boot_id
        return noted.last if noted is not None and living else None

    def _when_idle(self, applier: Applier) -> None:
        if in_doubt := len(applier.unsettled):
            applier.settle()
            self._settled |= len(applier.unsettled) < in_doubt
        is_over = self.settling.look(self._reached, len(applier.unsettled))
        news = self._settled or is_over or self._reached != self._common.index.position
        if news and self._is_due():
            self.commit(applier)
        for code in TROUBLES:
            self._common.problems.clear(code)

    def _free_what_was_replaced(self) -> None:
        """Until a commit it stays on the volume, which may be full of it."""
        if self.applier is None or self._reached == self._common.index.position:
            return
        try:
            self.commit(self.applier)
        except CannotWrite as error:
            logger.debug("nothing could be freed: %s", error)
        except IndexFull:
            self._begin_again()
            raise

    def _is_due(self) -> bool:
        """Whether it is time for a commit, and most of it is written already."""
        due = self._common.clock_ms() - self._committed_ms >= _COMMIT_MS
        return due and self.is_written()

    def is_written(self) -> bool:
        """Whether a commit would be short now; if not, what is to be written is, from now on."""
        return self._ahead.is_done(self._roots.values())

    def commit(self, applier: Applier) -> None:
        """What was applied becomes durable. Raises CannotWrite, IndexFull."""
        if self._common.index.forgotten != self._forgotten:  # by whoever else used it
            self._begin_again()
            raise IndexFull("the index forgot what was applied, since its volume was full")
        if self.settling.look(self._reached, len(applier.unsettled)):
            self.settling.end()
        applier.commit(self._reached)
        self._settled = False
        self._committed_ms = self._common.clock_ms()

    def _begin_again(self) -> None:
        """The index forgot what was not committed; the trees did not: as after a kill."""
        self._close_files()
        self._roll_back_index()

    def _roll_back_index(self) -> None:
        self._common.index.rollback()
        self._reached = self._common.index.position
        self._forgotten = self._common.index.forgotten

    # --- the end -------------------------------------------------------------------------------

    def apply_the_rest(self, *, accept_loss: bool) -> Position:
        """Applies everything that the journal holds; ApplyError when it cannot, see `finish`."""
        missing = self._missing_at_the_end()
        if missing and not self._common.notes.journal_is_own:
            if not accept_loss:
                raise ApplyError(
                    f"{self._common.config.node} does not have all that its journal tells of, "
                    f"which may have been acknowledged: {missing}"
                )
            logger.warning("what the journal tells of is given up: %s", missing)
        if self._common.notes.journal_is_own:
            return self._common.journal_end()
        return self._common.index.position

    def _missing_at_the_end(self) -> str:
        """Applies all; why the trees are not what the journal says, or empty."""
        wrong: list[Record] = []
        try:
            self._sync_journal()
            while not self.reason and self.step():
                pass
            if self.applier is not None and not self.reason:
                wrong = self.applier.settle()
                self.commit(self.applier)
            if self.reason or wrong:
                return self.reason or _named(wrong)
            end = self._common.journal_end()
        except (ApplyError, JournalError, IndexFull, OSError) as error:
            return str(error)
        if end.seq > self._reached.seq and not self._common.notes.journal_is_own:
            return f"it ends at {end} and does not go on where the trees are, at {self._reached}"
        return ""

    def _sync_journal(self) -> None:
        """What was received and not synced when the stream process was killed counts, too."""
        for name in segment.listing(self._common.journal_directory)[-1:]:
            number = os.open(name.segment(self._common.journal_directory), os.O_RDONLY)
            try:
                os.fdatasync(number)
            finally:
                os.close(number)
        self._only_durable = False

    def _close_files(self) -> None:
        if self._cursor is not None:
            self._cursor.close()
            self._cursor = None
        self._todo.clear()
        self.applier = None
        close_roots(self._roots)
        self._roots = {}

    def close(self) -> None:
        """What was applied is durable, unless the volume refuses, which is said."""
        clean = True
        try:
            if self.applier is not None:
                self.commit(self.applier)
        except (CannotWrite, RootMissing, IndexFull, OSError) as error:
            logger.warning("the last changes applied are not known to be durable: %s", error)
            clean = False
        self._close_files()
        self._watermark.close()
        if clean and self._common.notes.role == f"standby@{self._common.boot_id}":
            self._common.notes.set_role("")

    # --- instead of the journal ------------------------------------------------------------------

    def take_over(self, applier: Applier, records: list[Record], position: Position) -> None:
        """What was fetched anew replaces what was not as expected."""
        for record in records:
            if isinstance(record.change, Remove):
                applier.doubtful.was_not_there(record.tree, record.path)
                continue
            newest = max(position, record.position)
            applier.heal(replace(record, position=newest))
        applier.healed += len({record.path for record in records})

    def fetched_until(self, applier: Applier, until: Position) -> None:
        """Objects were fetched anew, and these records were told until that was over."""
        applier.doubtful.fetched_until(until)
        self.settling.go_on(until)

    def index_is_true(self) -> bool:
        """Whether the trees are what the index says, but for what other hands did to them.

        They are on a standby that followed until now: what it applied is in the index, and is
        committed here. Not after a power cut, nor when anything is in doubt, nor as long as files
        of this node's own may be there, nor when more was applied than the index learnt of.
        """
        if self.reason or self._lost_power or self._common.notes.has_own:
            return False
        applier = self._ready()
        if applier.unsettled:
            return False
        self.commit(applier)
        return self._watermark.position <= self._common.index.position

    def ready_to_compare(self) -> Applier:
        """Opens the trees as they are. Raises RootMissing."""
        self._close_files()
        self._common.notes.set_journal_is_own(own=False)
        self._roots = self._common.open_roots()
        self._forgotten = self._common.index.forgotten
        self.applier = self._applier()
        return self.applier

    def compared(self, position: Position) -> None:
        """The trees are what the active had at `position`: the journal counts from there."""
        self._reached = position
        self._watermark.set(position)
        assert self.applier is not None, "who compared had it made ready"
        self.settling.end()  # one that began before was of what was before
        self.settling.begin(max(position, self.applier.doubtful.compared_until))
        if self.settling.look(position, len(self.applier.unsettled)):
            self.settling.end()
        self._common.notes.set_needs_reconcile("")
        self._common.index.rebuilt = ""
        self.reason = ""
        self._joined()


def _named(wrong: list[Record]) -> str:
    names = ", ".join(
        f"{os.fsdecode(record.path)!r} in tree {record.tree}" for record in wrong[:_NAMED]
    )
    more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
    return (
        f"{len(wrong)} objects are not what the journal says and nobody is there to fetch them "
        f"from: {names}{more}. Bring the other replica back"
    )
