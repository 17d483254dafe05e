"""Generations of a Raft group: how one of two replicas goes on alone, and takes the other in. PURE.

Raft among two needs both. When one is lost for good, or for long, the other may go on alone under
a new, recorded **generation**: number + 1, itself the only member. Members of different
generations carry no Raft messages between them; who is behind learns from the authenticated
opening of a session that there is a newer one, and waits until it is taken in, by generation + 2
with both. What makes this safe:

- **Only with proof.** Whoever opens a generation alone has proof that the other is off: a fence
  device turned it off, or an operator vouches for it. That ends the other's boot, and with it the
  right below; since both need this proof, and one that is off gives none, at most one of them can
  have opened a generation.
- **A right that a boot ends.** Only who had a quorum in this generation since its host started may
  go on alone (`decision.pair`). A host that was off comes back without the right: it cannot leave
  out the one that went on without it, even if a device says that this one is off.
- **No contact in between.** The proof counts only if the other was not heard since it was asked
  for: one that was off and came back has had its quorum, and its right, anew.
- **The whole log counts as committed.** With a quorum of two, everything that was ever committed is
  in both logs. What else is in the survivor's log may or may not have been committed (only the
  leader knew), so it must be kept; that it becomes committed now is one of the two things that
  could have become of it in any Raft, its proposer was told that its fate is unknown, and every
  command is checked again where it is applied. What only the lost one had was never committed.
- **Terms go on.** The survivor elects itself in a term above its own, so above the term of every
  entry of the lost one: to lead, that one had needed the survivor's vote in that term. So the
  returner keeps term, vote and log: it cannot be elected before it has the survivor's log, and
  what it has beyond that Raft cuts off, as of any member that was away. An entry that it *applied*
  and the survivor contradicts can only come from a wrong word of an operator, and is refused.
- **On disk before use.** A generation is written in one transaction before an opening names it. A
  crash before that leaves the old one, after it the new one; either goes on by itself.

- **By descent.** A generation knows those that it came from. Who is taken in, or joins, or is left
  out, is in one of them: what its log has is a beginning of the other's, or was never committed.
  The first is the beginning of all, also of who lost its log, or was made to lose it.

Two that are both alone can only come from an operator's word: a wrong one, or `force-active`, after
which the other came back. The two refuse each other, say so, and nothing is merged: see `conflict`.
Only one of them goes on serving: see `yields`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from enum import Enum
from typing import Final

from staqraft.model import FenceRung, Generation, NodeId

FIRST: Final = 1
_LINEAGE_KEPT: Final = 64  # so many who went on alone, one after the other, without the other back
FORCED: Final = 1000  # by so much a forced one is ahead of any that the other may have opened


class Relation(Enum):
    """What this member makes of the generation that a peer opened a session with."""

    EQUAL = "equal"  # Raft messages flow
    TAKE_IN = "take in"  # this member went on alone: the peer is to become a member again
    BEHIND = "behind"  # the peer is: it learns of ours from our opening
    JOIN = "join"  # the peer's is newer and names this member: adopt it
    LEFT_OUT = "left out"  # the peer's is newer without this member: wait to be taken in
    CONFLICT = "conflict"  # both went on alone, each from where the other was not


def first(members: Iterable[NodeId]) -> Generation:
    """Where every cluster begins: all configured members."""
    return Generation(number=FIRST, members=frozenset(members))


def alone(current: Generation, me: NodeId, rung: FenceRung, *, forced: bool = False) -> Generation:
    """The next generation, of `me` only; the others are off by `rung`.

    `forced`: another may have gone on alone before, and is given up for this.
    """
    number = current.number + (FORCED if forced else 1)
    members = frozenset({me})
    return Generation(
        number=number, members=members, founder=me, rung=rung, lineage=_descent(current)
    )


def taking_in(current: Generation, me: NodeId, peer: NodeId) -> Generation:
    """The next generation, in which `peer` is a member again."""
    return Generation(
        number=current.number + 1,
        members=current.members | {peer},
        founder=me,
        lineage=_descent(current),
    )


def _descent(parent: Generation) -> tuple[tuple[int, NodeId], ...]:
    if parent.founder is None:  # the first
        return ()
    return (*parent.lineage, (parent.number, parent.founder))[-_LINEAGE_KEPT:]


def _comes_from(later: Generation, earlier: Generation) -> bool:
    return earlier.number == FIRST or (earlier.number, earlier.founder) in later.lineage


def relate(me: NodeId, mine: Generation, peer: NodeId, theirs: Generation) -> Relation:
    """What is to be made of a session with `peer`."""
    if mine.members == {me} and theirs.members == {peer}:
        return Relation.CONFLICT
    if theirs.number == mine.number:
        same = (theirs.members, theirs.founder) == (mine.members, mine.founder)
        return Relation.EQUAL if same else Relation.CONFLICT
    later, earlier = (theirs, mine) if theirs.number > mine.number else (mine, theirs)
    if not _comes_from(later, earlier):
        return Relation.CONFLICT
    if later is theirs:
        return Relation.JOIN if me in theirs.members else Relation.LEFT_OUT
    return Relation.BEHIND if peer in mine.members else Relation.TAKE_IN


def yields(me: NodeId, mine: Generation, peer: NodeId, theirs: Generation) -> bool:
    """Of two that both went on alone, whether `me` is the one that stops serving.

    The one that an operator forced goes on, else the first by name.
    """
    return (theirs.number, me) > (mine.number, peer)


def conflict(me: NodeId, mine: Generation, peer: NodeId, theirs: Generation) -> str:
    """What to tell an operator when both went on alone."""
    silent = me if yields(me, mine, peer, theirs) else peer
    return (
        f"{me} and {peer} both went on alone, in {mine} and {theirs}: one of them was taken for"
        " off or for lost, and is back. Their histories parted and are never merged by themselves;"
        f" {silent} does not serve. Decide whose data is to stay; on the other node stop staqraftd,"
        " move its raft directory away and start it again: it learns everything from the one that"
        " stays, and what only it had goes into quarantine"
    )


# --- as text, for the log store -----------------------------------------------------------------

_KEYS: Final = {"number", "members", "founder", "rung", "lineage"}


def to_text(generation: Generation) -> str:
    """The generation as the log store keeps it."""
    return json.dumps(
        {
            "number": generation.number,
            "members": sorted(generation.members),
            "founder": generation.founder,
            "rung": generation.rung.value if generation.rung else None,
            "lineage": generation.lineage,
        },
        sort_keys=True,
    )


def from_text(text: str) -> Generation:
    """ValueError for anything that `to_text` does not make."""
    try:
        values = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(values, dict) or set(values) != _KEYS:
        raise ValueError("it is not a generation")
    number, members, founder = values["number"], values["members"], values["founder"]
    named = [*members] if isinstance(members, list) else [None]
    named += [founder] if founder is not None else []
    if not isinstance(number, int) or number < FIRST or not members:
        raise ValueError("it is not a generation")
    if not all(isinstance(name, str) and name for name in named):
        raise ValueError("it is not a generation")
    return Generation(
        number=number,
        members=frozenset(map(NodeId, members)),
        founder=None if founder is None else NodeId(founder),
        rung=None if values["rung"] is None else FenceRung(values["rung"]),
        lineage=_lineage(values["lineage"]),
    )


def _lineage(values: object) -> tuple[tuple[int, NodeId], ...]:
    found = []
    for value in values if isinstance(values, list) else [None]:
        match value:
            case [int(number), str(founder)] if number > FIRST and founder:
                found.append((number, NodeId(founder)))
            case _:
                raise ValueError("it is not a generation")
    return tuple(found)
