"""What was promised to applications is where it has to be (invariants 3, 4, 5 and 7)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from simulation.violation import Violation
from staqraft.model import ORIGIN, DataRole, Epoch, NodeId, Position
from staqraft.replication.plan import Offer

if TYPE_CHECKING:
    from simulation.host import Host


class DataChecks:
    """Told of every acknowledgement, and of whoever serves, follows, or gives something up."""

    def __init__(self, hosts: Mapping[NodeId, Host], note: Callable[[str], None]) -> None:
        self.forced = False  # an operator has accepted a loss
        self._hosts = hosts
        self._note = note
        self._acknowledged: set[int] = set()
        self._could_give: dict[NodeId, Position] = {}  # the newest up to which each once could

    def promised(self, numbers: Iterable[int]) -> None:
        """A barrier behind these was acknowledged."""
        self._acknowledged.update(numbers)

    def lost_now(self, me: NodeId) -> set[int]:
        """Acknowledged records that this host lacks."""
        return self._acknowledged - self._hosts[me].journal.numbers()

    def admitted(self, members: Iterable[NodeId]) -> None:
        """Who is in sync from now on could take over this moment."""
        for node in () if self.forced else sorted(members):
            if lost := self.lost_now(node):
                text = f"{node} is counted in without {len(lost)} acknowledged records"
                raise Violation("5 in-sync", text)

    def looked_at(self, me: NodeId) -> None:
        """Something was written, applied, compared or fetched there."""
        journal = self._hosts[me].journal
        if not journal.needs_reconcile and not journal.lost_without_the_active:
            self._could_give[me] = max(self._could_give.get(me, ORIGIN), journal.durable)

    def counted_on(self, me: NodeId, members: Iterable[NodeId], position: Position) -> None:
        """`me` promised an application that what is before `position` survives the loss of a host.

        Each member could have given all of it alone, at some instant since then.
        """
        for node in () if self.forced else sorted(members):
            if node != me and self._could_give.get(node, ORIGIN) < position:
                text = f"{me} counts on {node}, which could not have given {position} alone"
                raise Violation("5 in-sync", text)

    def serves(self, me: NodeId) -> None:
        """It begins to."""
        lost = self.lost_now(me)
        if lost and self.forced:
            self._note("acknowledged and given up by force")
            self._acknowledged -= lost
        elif lost:
            raise Violation("4 nothing lost", f"{me} serves without {len(lost)} acknowledged")
        self.forced = False

    def received(self, me: NodeId, role: DataRole, epoch: Epoch, session: Epoch) -> None:
        """Records came in."""
        if role is not DataRole.STANDBY or session < epoch:
            raise Violation("3 epochs grow", f"{me} takes records of epoch {session} in {epoch}")

    def follows(self, me: NodeId, has: int, after: int) -> None:
        """They come behind what it has."""
        if after != has:
            raise Violation("4 nothing lost", f"{me} takes record {after + 1}, and has {has}")

    def accepted_session(self, me: NodeId, epoch: Epoch, offer: Offer) -> None:
        """A standby agreed to what an active offers."""
        if offer.epoch < epoch:
            raise Violation("3 epochs grow", f"{me} follows epoch {offer.epoch} in {epoch}")

    def overwritten(
        self, me: NodeId, old: list[tuple[int, int]], new: list[tuple[int, int]]
    ) -> None:
        """A comparison made the trees the active's; what only this replica had is in quarantine."""
        kept = {number for _, number in new}
        only_here = {number for _, number in old} - kept
        if only_here:
            self._note("quarantined")
        if only_here & self._acknowledged and not self.forced:
            raise Violation("7 nothing overwritten", f"{me} gives up what was acknowledged")
