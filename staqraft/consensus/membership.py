"""Which generation a member is in, whom of it can be reached, and what others say of theirs."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace

from staqraft.consensus import generations
from staqraft.consensus.generations import Relation
from staqraft.errors import ConsensusError
from staqraft.model import FenceRung, Generation, NodeId

logger = logging.getLogger(__name__)


class Membership:
    """The memory of one member. `entered` once a generation is on disk, and not before.

    `reachable` are the members with a session in this generation, `contacts` counts how often one
    was opened. `newer` is a generation that went on without this member, which is not to serve;
    `conflict` a sentence, or "", when both went on alone.
    """

    def __init__(self, me: NodeId, configured: Iterable[NodeId], stored: Generation | None) -> None:
        self.me = me
        self.configured = frozenset(configured) | {me}
        self.generation = _effective(me, self.configured, stored)
        self.reachable: frozenset[NodeId] = frozenset()
        self.contacts = 0
        self.newer: Generation | None = None
        self.conflict = ""

    @property
    def peers(self) -> frozenset[NodeId]:
        """The other members of this generation."""
        return self.generation.members - {self.me}

    def connected(self, peer: NodeId, told: Generation, heard: Generation) -> Generation | None:
        """A session is open: the peer is reachable, or a generation is to be entered, or neither.

        `told` is what this side's opening named. The session is of use only if that still holds.
        """
        self.reachable -= {peer}
        if told != self.generation:
            return None
        match generations.relate(self.me, self.generation, peer, heard):
            case Relation.EQUAL:
                self.reachable |= {peer}
                self.contacts += 1
                self.conflict = ""
            case Relation.TAKE_IN if peer in self.configured:
                return generations.taking_in(self.generation, self.me, peer)
            case Relation.JOIN:
                return heard
            case Relation.LEFT_OUT:
                self._say_once(heard)
            case Relation.CONFLICT:
                self._conflicts(peer, heard)
            case Relation.BEHIND | Relation.TAKE_IN:
                pass
        return None

    def _conflicts(self, peer: NodeId, heard: Generation) -> None:
        said = generations.conflict(self.me, self.generation, peer, heard)
        if said != self.conflict:
            logger.critical("%s", said)
        self.conflict = said
        if generations.yields(self.me, self.generation, peer, heard):
            self.newer = heard

    def _say_once(self, newer: Generation) -> None:
        if newer != self.newer:
            logger.warning(
                "%s went on without %s, as %s: this node waits until it is taken in again",
                newer.founder,
                self.me,
                newer,
            )
        self.newer = newer

    def disconnected(self, peer: NodeId) -> None:
        """The session is gone."""
        self.reachable -= {peer}

    def alone(self, rung: FenceRung, contacts: int, *, forced: bool = False) -> Generation | str:
        """The generation in which this member is alone, or why it cannot be opened."""
        if len(self.configured) != 2:  # noqa: PLR2004 - a pair
            return "only one of two replicas without a witness goes on alone"
        if not self.peers:
            return f"{self.me} is alone already, in {self.generation}"
        if self.newer is not None:
            return f"{self.newer.founder} went on already, as {self.newer}"
        if self.reachable or contacts != self.contacts:
            return f"{', '.join(sorted(self.peers))} was heard meanwhile"
        return generations.alone(self.generation, self.me, rung, forced=forced)

    def entered(self, generation: Generation) -> None:
        """The generation is on disk."""
        logger.warning("%s is in %s now, after %s", self.me, generation, self.generation)
        self.generation = generation
        self.reachable = frozenset()
        self.newer = None
        self.conflict = ""


def _effective(me: NodeId, configured: frozenset[NodeId], stored: Generation | None) -> Generation:
    """The stored generation; the members of the first are whoever is configured.

    A witness that was configured later belongs to a generation that has both replicas.
    """
    if stored is None or stored.number == generations.FIRST:
        return generations.first(configured)
    later = configured - stored.members
    if len(configured) > 2 and later:  # noqa: PLR2004 - with a witness
        if len(later) > 1:
            raise ConsensusError(
                f"a witness was configured while {me} goes on alone, as {stored}: take the witness"
                " out of the configurations again, wait until both replicas are in sync, then add"
                " it"
            )
        return replace(stored, members=configured)
    return stored


__all__ = ["Membership"]
