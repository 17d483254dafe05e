"""What must be equal when nothing is wrong any more and nobody writes: there is one history."""

from __future__ import annotations

from collections.abc import Sequence

from simulation.trees import Journal
from simulation.violation import Violation
from staqraft.consensus.member import RaftMember


def equal_journals(one: Journal, other: Journal) -> None:
    """What both replicas have in peace, on disk, and in their trees."""
    if one.records != other.records:
        raise Violation("8 peace", "the replicas' journals differ")
    for journal in (one, other):
        if journal.synced < len(journal.records):
            raise Violation("8 peace", f"not all of a journal is durable: {journal.synced}")
        if journal.lacking or journal.settling_until is not None:
            text = f"{len(journal.lacking)} objects are not in a replica's trees, which settle"
            raise Violation("8 peace", f"{text} until {journal.settling_until}")
        if journal.needs_reconcile:
            raise Violation("8 peace", f"a replica has to compare: {journal.needs_reconcile}")


def equal_members(members: Sequence[RaftMember]) -> None:
    """Those who have applied the same entries: the whole record, and every entry they keep."""
    first = members[0]
    for member in members[1:]:
        if member.record != first.record:
            raise Violation("R equal states", f"{first.me} and {member.me} differ in the end")
        kept = {entry[1]: entry for entry in first._log[:] if entry[1] <= first.applied_index}
        for entry in member._log[:]:
            if kept.get(entry[1], entry) != entry:
                text = f"{first.me} and {member.me} differ at {entry[1]}"
                raise Violation("R equal logs", text)
