"""What one replica has on its disks: its journal, and trees that are what that says, mostly.

A comparison reads trees that go on changing: what moves meanwhile is met at neither place. Records
that are told meanwhile put some of it right; the rest is in doubt, and is fetched anew from the
active. Whether the trees are whole without it says `Settling`, which is the product's.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

from staqraft.daemon.settling import Settling
from staqraft.model import ORIGIN, Epoch, Position

if TYPE_CHECKING:
    from staqraft.daemon.trees_common import Notes

_MOVED: Final = 0.05  # of the objects: where they were they are gone, where they go not yet there
_IN_DOUBT: Final = 0.3  # of those that moved: no record of that time puts them right
_MOVED_AGAIN: Final = 0.3  # of those that are fetched anew, while they are

Record = tuple[int, int]  # epoch, and a number that no other record ever has


@dataclass(slots=True)
class Journal:
    """What one replica has: record `seq` is at `seq - 1`. `synced` survive the loss of power.

    What the index notes is on disk with its next commit.
    """

    records: list[Record] = field(default_factory=list)
    synced: int = 0
    kept_from: int = 1  # older ones were trimmed: a standby that needs them is compared
    epoch: int = 0  # the newest that ever wrote here
    lost_epoch: int = 0
    needs_reconcile: str = ""
    # In the journal and not in the trees, until this record is applied; None: until fetched anew.
    lacking: dict[int, Position | None] = field(default_factory=dict)
    given_up: set[int] = field(default_factory=set)  # by force: no replica has them any more
    settling_until: Position | None = None  # as noted
    _settling_on_disk: Position | None = None

    @property
    def last(self) -> Position:
        return self._at(len(self.records))

    @property
    def durable(self) -> Position:
        return self._at(self.synced)

    def _at(self, seq: int) -> Position:
        return Position(Epoch(self.records[seq - 1][0]), seq) if seq else ORIGIN

    def sync(self) -> None:
        self.synced = len(self.records)

    @property
    def lost_without_the_active(self) -> set[int]:
        """What is in the journal, and applying all of that would not bring into the trees."""
        last = self.last
        return {n for n, until in self.lacking.items() if until is None or until > last}

    def numbers(self) -> set[int]:
        """Whose change the trees show, once all that is in the journal is applied."""
        shown = {number for _, number in self.records}
        return shown - self.lost_without_the_active - self.given_up

    def power_off(self, keep: float) -> None:
        """A part of what was not synced may be there all the same."""
        if self.epoch and len(self.records) > self.synced:
            left = self.synced + int(keep * (len(self.records) - self.synced + 1))
            del self.records[left:]
        if self.epoch:
            self.lost_epoch = self.epoch
        self.synced = len(self.records)

    # --- what the index notes (`Notes`) -----------------------------------------------------------

    def set_settling_until(self, until: Position | None) -> None:
        self.settling_until = until

    def commit(self) -> None:
        self._settling_on_disk = self.settling_until

    def roll_back(self) -> None:
        """The process is killed, or the power fails."""
        self.settling_until = self._settling_on_disk


class Trees:
    """One life of the process that applies: `JournalFollower`, as far as others count on it."""

    def __init__(self, journal: Journal, rng: random.Random) -> None:
        journal.roll_back()
        self.settling = Settling(cast("Notes", journal))
        self._journal = journal
        self._rng = rng
        self._applied = ORIGIN  # by this life
        self._heal_behind: Position | None = None

    def apply(self, position: Position) -> None:
        """Everything up to here, which is durable."""
        journal = self._journal
        self._applied = max(self._applied, position)
        lacking = journal.lacking.items()
        journal.lacking = {n: u for n, u in lacking if u is None or u > self._applied}
        self._is_whole()

    def _is_whole(self) -> bool:
        """Just now; it was not before."""
        in_doubt = sum(until is None for until in self._journal.lacking.values())
        return self.settling.look(self._applied, in_doubt)

    def commit(self) -> None:
        if self._is_whole():
            self.settling.end()
        self._journal.commit()

    # --- comparing --------------------------------------------------------------------------------

    def begin_to_compare(self, reason: str) -> None:
        """From now on objects that move are at neither place."""
        journal, rng = self._journal, self._rng
        journal.needs_reconcile = reason
        journal.lacking = {n: None for _, n in journal.records if rng.random() < _MOVED}

    def compared(self, active: Journal, position: Position, until: Position) -> None:
        """The trees are the active's at `position`, but for what moved `until` this was over."""
        journal, rng = self._journal, self._rng
        journal.records = active.records[: position.seq]
        journal.given_up = set(active.given_up)
        journal.lacking = {}
        meanwhile = active.records[position.seq : until.seq]
        for _, number in journal.records if meanwhile else ():
            if rng.random() >= _MOVED:
                continue
            told = position.seq + rng.randint(1, len(meanwhile))
            by = Position(Epoch(active.records[told - 1][0]), told)
            journal.lacking[number] = None if rng.random() < _IN_DOUBT else by
        journal.sync()
        journal.lost_epoch = 0
        self._applied, self._heal_behind = position, None
        self.settling.end()
        self.settling.begin(until)
        journal.needs_reconcile = ""
        self.commit()

    # --- healing ----------------------------------------------------------------------------------

    def heal(self, active: Journal) -> None:
        """Now and then, while the active can be asked: what is in doubt is fetched from it.

        Not before all is applied that was told until now: that may put it right.
        """
        if None not in self._journal.lacking.values():
            self._heal_behind = None
            return
        active.sync()  # a barrier
        if self._heal_behind is None:
            self._heal_behind = active.last
        elif self._applied >= self._heal_behind:
            self._heal_behind = None
            self._fetched(active.last)

    def _fetched(self, until: Position) -> None:
        lacking, rng = self._journal.lacking, self._rng
        for number in [number for number, by in lacking.items() if by is None]:
            if until > self._applied and rng.random() < _MOVED_AGAIN:
                lacking[number] = until
            else:
                del lacking[number]
        self.settling.go_on(until)
        self._is_whole()

    # --- the end ----------------------------------------------------------------------------------

    def apply_the_rest(self) -> None:
        """Everything that the journal holds, also what was received and not synced."""
        self._journal.sync()
        self.apply(self._journal.last)
        self.commit()

    def make_own(self) -> None:
        """The active's: what is lacking is nobody's any more."""
        journal = self._journal
        journal.needs_reconcile = ""
        journal.given_up |= journal.lacking.keys()
        journal.lacking = {}
        self.settling.end()
        journal.commit()
