"""PreVote, loyalty to a live leader, and leadership that goes where it serves best.

The Raft library holds an election whenever its timer runs out, and everyone who hears of a newer
term drops its leader. With one cut link and a witness that both replicas reach, leadership then
changes for ever. This stands between the library and the network and asks first:

- **PreVote** (Ongaro's thesis, 9.6): before a term is spent, a majority has to say that it would
  vote. A node that is cut off asks in vain and keeps its term.
- **Loyalty** (9.6, 4.2.3): who leads, or heard a leader within the shortest election timeout,
  neither grants nor votes, unless the leader itself asked for the election (a transfer).
- **Term notices**: a node whose term ran ahead (it won the PreVote and lost the election) tells a
  leader of an older term, which would otherwise talk to it in vain for ever (as etcd does).
- **The witness leads as a last resort**: its timer is longer, and when it leads nevertheless,
  because only it has the newest entry, it hands over to a replica that has caught up.
- **Leadership follows the active**: proposals go to the leader only. Where the active leads, its
  renewals take one round trip, and a cut link to the other replica costs it nothing as long as the
  witness is there. So a replica hands over, calmly, to the one that is active in most groups.
- **Who is about to stop hands over first**, so that nobody has to wait for an election timeout.

Who leads is a matter of speed only: no decision is ever taken from it.

Nothing here does input or output, and time is an argument: the simulator runs it as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

from staqraft.consensus.message_codec import RaftMessage
from staqraft.model import NodeId

NEVER: Final = float("-inf")
_HAND_OVER_EVERY_S: Final = 0.5
_CALM_S: Final = 2.0  # so long one has led, and the same replica been active
_FOLLOW_EVERY_S: Final = 10.0


class Candidate(Protocol):
    """What these rules see of a Raft member, and may do to it."""

    @property
    def term(self) -> int:
        """Its term."""

    @property
    def leads(self) -> bool:
        """Whether it believes that it leads."""

    @property
    def last_entry(self) -> tuple[int, int]:
        """Term and index of its last entry."""

    @property
    def election_due(self) -> bool:
        """Whether the library would hold an election at the next tick."""

    @property
    def asked_to_stand(self) -> bool:
        """Whether the leader asked it to stand for election."""

    def postpone_election(self, *, retry: bool) -> None:
        """Starts its election timer again; after a refusal (`retry`) a shorter one."""

    def hold_election(self) -> None:
        """Makes the library hold an election at the next tick."""

    def give_up_leader(self) -> None:
        """The leader it followed is not heard any more; forwarded commands are to be told."""

    def adopt_term(self, term: int) -> None:
        """Takes over a newer term as a follower without a leader."""

    def send(self, node: NodeId, message: RaftMessage) -> None:
        """Queues a message."""

    def caught_up(self) -> list[NodeId]:
        """As a leader whose term has committed: the connected members with its whole log."""

    @property
    def most_active(self) -> NodeId | None:
        """Who is active in more groups than this member; None: nobody is."""

    def hand_over(self, node: NodeId) -> None:
        """As a leader: asks `node` to stand for election at once."""


@dataclass(slots=True, kw_only=True)
class ElectionRules:
    """The rules' memory of one member. `receive` says whether the library is to see a message."""

    peers: frozenset[NodeId]
    heirs: frozenset[NodeId]  # to whom a witness hands over; empty on a replica
    loyalty_s: float  # the shortest election timeout
    _heard: float = NEVER  # when a leader was heard last
    _leader: NodeId | None = None
    _asking_for: int | None = None  # the term of the PreVote under way
    _granted: set[NodeId] = field(default_factory=set)
    _transfer: bool = False  # the election under way is one that the leader asked for
    _hand_over_at: float = NEVER  # not before
    _resigning: bool = False
    _calm_since: float | None = None  # since when it leads and `_active` is the same
    _active: NodeId | None = None

    def resign(self) -> None:
        """The member is about to stop: it hands over, and does not stand any more."""
        self._resigning = True
        self._hand_over_at = NEVER

    def before_tick(self, member: Candidate) -> None:
        """Replaces an election that is due by a PreVote, until a majority has granted it."""
        self._transfer = False
        if not member.election_due:
            return
        if self._resigning and self.peers:
            member.postpone_election(retry=False)
            return
        if member.asked_to_stand:
            self._transfer = True
            return
        if self._asking_for == member.term + 1 and self._majority():
            self._stop_asking()
            return
        retry = self._asking_for is not None
        self._asking_for, self._granted = member.term + 1, set()
        if self._majority():
            self._stop_asking()
            return
        member.give_up_leader()
        member.postpone_election(retry=retry)
        term, index = member.last_entry
        for peer in sorted(self.peers):
            member.send(
                peer,
                {
                    "type": "pre_vote_request",
                    "term": member.term + 1,
                    "last_log_index": index,
                    "last_log_term": term,
                },
            )

    def after_tick(self, member: Candidate, now: float) -> None:
        """A leader hands over as soon as another member is the better one, and can lead."""
        if not member.leads:
            self._calm_since = None
            return
        active = member.most_active
        if self._calm_since is None or active != self._active:
            self._calm_since, self._active = now, active
        if now < self._hand_over_at:
            return
        if self._resigning:
            heirs, pause_s = self.peers, _HAND_OVER_EVERY_S
        elif self.heirs:
            heirs, pause_s = self.heirs, _HAND_OVER_EVERY_S
        elif active in self.peers and now - self._calm_since >= _CALM_S:
            heirs, pause_s = frozenset({active}), _FOLLOW_EVERY_S
        else:
            return
        able = [node for node in member.caught_up() if node in heirs]
        if able:
            self._hand_over_at = now + pause_s
            member.hand_over(active if active in able else min(able))

    def outgoing(self, message: RaftMessage) -> RaftMessage:
        """Marks the requests of an election that the leader asked for."""
        if message["type"] == "request_vote" and self._transfer:
            return {**message, "transfer": True}
        return message

    def disconnected(self, node: NodeId) -> None:
        """Its connection is gone: if it was the leader, loyalty to it ends."""
        if node == self._leader:
            self._heard = NEVER

    def receive(self, member: Candidate, node: NodeId, message: RaftMessage, now: float) -> bool:
        """Whether the library is to see the message."""
        term = message.get("term", 0)
        match message["type"]:
            case "append_entries":
                if term < member.term:
                    member.send(node, {"type": "term_notice", "term": member.term})
                    return False
                self._heard, self._leader = now, node
                self._stop_asking()
                return True
            case "request_vote":
                return message["transfer"] or not self._loyal(member, now)
            case "pre_vote_request":
                self._answer(member, node, message, now)
                return False
            case "pre_vote_granted":
                if term == self._asking_for == member.term + 1 and not member.leads:
                    self._granted.add(node)
                    if self._majority():
                        member.hold_election()
                return False
            case "term_notice":
                if term > member.term:
                    member.adopt_term(term)
                return False
            case _:
                return True

    def _answer(self, member: Candidate, node: NodeId, message: RaftMessage, now: float) -> None:
        if message["term"] <= member.term:
            member.send(node, {"type": "term_notice", "term": member.term})
        elif not self._loyal(member, now) and (
            (message["last_log_term"], message["last_log_index"]) >= member.last_entry
        ):
            member.send(node, {"type": "pre_vote_granted", "term": message["term"]})

    def _loyal(self, member: Candidate, now: float) -> bool:
        return member.leads or now - self._heard < self.loyalty_s

    def _majority(self) -> bool:
        return 2 * (len(self._granted) + 1) > len(self.peers) + 1

    def _stop_asking(self) -> None:
        self._asking_for = None
        self._granted = set()
