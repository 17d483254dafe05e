"""Whether a standby's trees are whole without the active.

A comparison reads trees that go on changing: what it fetched is made whole by the records that were
written meanwhile, and some of it has to be fetched again. Until these are applied and nothing is in
doubt, a standby that loses its active cannot say that its trees are what its journal tells. So the
comparison is over, for whoever counts on this standby, only then.

What gets into doubt later, while records are followed from trees that were whole, does not begin it
again. Most of that is put right here, by the next records or by looking: a link told before its
file, what a kill or a power cut left. The rest needs another hand in the tree, or a bad disk, and
is fetched anew within seconds. A standby that left and joined the in-sync set each time would
protect less than one that is told to be healing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from staqraft.model import Position

if TYPE_CHECKING:
    from staqraft.daemon.trees_common import Notes


class Settling:
    """Kept in the notes, so that a restart does not end it. From the disk thread, but `lasts`."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._until = notes.settling_until
        self.lasts = self._until is not None  # for any thread

    def begin(self, until: Position) -> None:
        """It lasts at least until this is applied. Kept with the index's next commit."""
        self._until = until if self._until is None else max(self._until, until)
        self._notes.set_settling_until(self._until)
        self.lasts = True

    def go_on(self, until: Position) -> None:
        """Objects were fetched anew up to here: if it lasts, it lasts so long."""
        if self.lasts:
            self.begin(until)

    def look(self, applied: Position, in_doubt: int) -> bool:
        """Looks whether its end is applied, and no object is in doubt any more.

        The trees are whole then; after a crash before the next commit they have to be so again.
        """
        over = self._until is not None and applied >= self._until and not in_doubt
        if over:
            self.lasts = False
        return over

    def end(self) -> None:
        """Kept with the index's next commit: that of the records which ended it."""
        self._until = None
        self._notes.set_settling_until(None)
        self.lasts = False
