"""What must be true of two replicas without a witness, besides what is true of every cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from simulation.schedule import MS, S
from simulation.violation import Violation
from staqraft.consensus.member import RaftMember
from staqraft.model import Epoch, NodeId

if TYPE_CHECKING:
    from simulation.daemon import Daemon
    from simulation.host import Host

_TOGETHER_US: Final = 1 * S  # two noticed within this that they lost each other
_AT_ONCE_US: Final = 2_500 * MS  # the favoured one had no reason to wait


class Generations:
    """A generation is on disk before it is used, and Raft messages do not pass between two."""

    def __init__(self) -> None:
        self._newest: dict[NodeId, int] = {}

    def forget(self, node: NodeId) -> None:
        """Its log is gone: it begins in the first one."""
        self._newest.pop(node, None)

    def stepped(self, member: RaftMember, hosts: Mapping[NodeId, Host]) -> None:
        """A member did something."""
        if len(member.membership.configured) > 2:
            return
        me, mine = member.me, member.generation
        known = self._newest.get(me, 0)
        if mine.number < known:
            text = f"{me} was in generation {known}, and is in {mine.number} again"
            raise Violation("R generations", text)
        self._newest[me] = mine.number
        for peer in member.reachable:
            raft = hosts[peer].raft
            if raft is None or me not in raft.member.reachable:
                continue
            theirs = raft.member.generation
            if (theirs.number, theirs.members) != (mine.number, mine.members):
                raise Violation("R generations", f"{me} in {mine} and {peer} in {theirs} speak")


@dataclass(frozen=True, slots=True)
class _Order:
    """Somebody has the other turned off."""

    asked_us: int
    lost_us: int  # since when it does not reach the other
    first: bool  # not tried again after a failure
    epoch: Epoch


class Switches:
    """Of two that lose each other, and whose devices work, one goes on."""

    def __init__(self) -> None:
        self._asked: dict[NodeId, _Order] = {}
        self._done: dict[NodeId, _Order] = {}

    def asked(self, now_us: int, daemon: Daemon) -> None:
        """`daemon` has the other turned off."""
        pair = daemon.core.pair
        assert pair is not None, "only a pair does"
        lost_us = now_us - daemon.clock.true_us(daemon.now_ms - pair.lost_ms)
        first = pair.again_ms <= pair.lost_ms
        self._asked[daemon.me] = _Order(now_us, lost_us, first, daemon.core.record.epoch)

    def struck(self, by: NodeId, loser: NodeId) -> None:
        """The device turned it off."""
        mine, theirs = self._asked[by], self._done.get(loser)
        self._done[by] = mine
        if theirs is None or not (mine.first and theirs.first) or mine.epoch != theirs.epoch:
            return
        together = abs(mine.lost_us - theirs.lost_us) <= _TOGETHER_US
        if together and min(o.asked_us - o.lost_us for o in (mine, theirs)) <= _AT_ONCE_US:
            raise Violation("10 one goes on", f"{by} and {loser} turned each other off")
