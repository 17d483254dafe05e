"""The world of the scenarios without a witness: Raft is both hosts, or one that went on alone.

What a generation is, and who takes whom in, is decided by the real `consensus.generations`; what is
committed is modelled as in `World`. Scripts for it begin with `pair`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from scenarios.host import Host
from scenarios.world import ENDS_MS, OBSERVE_MS, PROPOSE_MS, World

from fakes.decision import GROUP, A, B
from staqraft.consensus import generations
from staqraft.consensus.generations import Relation
from staqraft.decision import commands as do
from staqraft.decision import events as on
from staqraft.decision import pair
from staqraft.decision.phases import HOLDING, Phase
from staqraft.decision.state import Settings
from staqraft.model import Epoch, Farewell, FenceRung, Generation, GroupRecord, NodeId

BOTH = (A, B)
LOOK_MS = 50
RESTARTED_MS = 300  # so long a daemon that was restarted waits for the other


@dataclass
class Member:
    """A host's Raft member. `right` is what is kept in memory of the host, over a daemon's end."""

    generation: Generation
    contacts: int = 0
    linked: bool = False
    newer: str = ""
    seen: GroupRecord = field(default_factory=GroupRecord)
    confirmed: Generation | None = None  # the generation in which the record is current
    started: int = 0
    right: tuple[int, Epoch] | None = None
    leaves: bool = False  # it gave its right up, and says farewell


class PairWorld(World):
    """Two hosts and nobody else."""

    def __init__(self) -> None:
        super().__init__()
        self.members = {name: Member(generations.first(BOTH)) for name in BOTH}
        self.after(LOOK_MS, self._look)

    def _settings(self, name: NodeId) -> Settings:
        plain = super()._settings(name)
        return replace(plain, pair=True, fenced_by=plain.fenced_by - {FenceRung.LEASE})

    # --- hosts ------------------------------------------------------------------------------------

    def start(self, name: NodeId) -> None:
        member = self.members[name]
        member.started, member.confirmed, member.leaves = self.now, None, False
        member.contacts = 0
        super().start(name)

    def crash(self, name: NodeId) -> None:
        super().crash(name)
        for member in self.members.values():
            member.linked = False

    def power_off(self, name: NodeId) -> None:
        super().power_off(name)
        self.members[name].right = None

    def tell(self, host: Host, event: on.Event) -> None:
        super().tell(host, event)
        member = self.members[host.name]
        core = host.core
        if core is None or host.stopped:
            return
        if core.shutting_down and core.phase is Phase.STANDBY and not member.leaves:
            self._leave(host)
        if core.phase is not Phase.STARTUP and not member.leaves:
            member.right = (member.generation.number, pair.epoch_kept(core))

    def _leave(self, host: Host) -> None:
        """The daemon holds nothing and ends: it gives its right up, then says farewell."""
        member = self.members[host.name]
        member.leaves, member.right = True, None
        core = host.core
        farewell = Farewell(node=host.name, group=GROUP, gone=True)

        def say() -> None:
            if host.core is None or not member.leaves:
                return
            if self.can_commit(host):
                self.propose(farewell)
            self.after(ENDS_MS, end)

        def end() -> None:
            if host.core is not None and core is not None and member.leaves:
                self._end(host, host.core.phase)

        self.after(PROPOSE_MS, say)

    def _one_lease(self) -> None:
        """Who fences relies on its lease for nothing yet."""
        holders = [
            host.name
            for host in self.hosts.values()
            if host.core
            and host.core.phase in HOLDING - {Phase.FENCING}
            and host.core.lease.held(self.now)
        ]
        assert len(holders) <= 1, f"at {self.now} the lease is held by {holders}"

    # --- Raft -------------------------------------------------------------------------------------

    def can_commit(self, host: Host) -> bool:
        member = self.members[host.name]
        return member.generation.members == {host.name} or (
            member.linked and self.members[_other(host.name)].linked
        )

    def arrives(self, host: Host) -> bool:
        return self.can_commit(host)

    def _observe(self, host: Host) -> None:
        record, core = self.group(), host.core

        def arrive() -> None:
            same = host.core is not None and core is not None
            if same and self.can_commit(host) and record == self.group():
                self._current(host)

        self.after(OBSERVE_MS, arrive)

    def _current(self, host: Host) -> None:
        """Its record is as new as this instant, in this generation."""
        member = self.members[host.name]
        if member.confirmed is None and host.name in self.group().away:
            self.propose(Farewell(node=host.name, group=GROUP, gone=False))
        if member.seen != self.group() or member.confirmed is None:
            member.seen = self.group()
            self.tell(host, on.RecordObserved(now_ms=self.now, record=member.seen))
        member.confirmed = member.generation

    def _look(self) -> None:
        self.after(LOOK_MS, self._look)
        hosts = self.hosts.values()
        there = all(h.raft and h.core is not None and not h.stopped for h in hosts)
        for host in hosts:
            member = self.members[host.name]
            if not there:
                member.linked = False
            elif not member.linked:
                self._meet(host)
        for host in hosts:
            self._say_how(host)

    def _meet(self, host: Host) -> None:
        """A session: what it makes of the other's generation."""
        me, other = host.name, _other(host.name)
        member, theirs = self.members[me], self.members[other].generation
        match generations.relate(me, member.generation, other, theirs):
            case Relation.EQUAL:
                member.linked, member.newer = True, ""
                member.contacts += 1
            case Relation.TAKE_IN:
                self._enter(host, generations.taking_in(member.generation, me, other))
            case Relation.JOIN:
                self._enter(host, theirs)
            case Relation.LEFT_OUT:
                member.newer = str(theirs)
            case Relation.BEHIND:
                pass
            case Relation.CONFLICT:
                raise AssertionError(generations.conflict(me, member.generation, other, theirs))

    def _enter(self, host: Host, generation: Generation) -> None:
        self.say(f"{host.name}: {generation}")
        member = self.members[host.name]
        member.generation, member.newer, member.linked = generation, "", False
        if generation.founder == host.name and member.confirmed is not None:
            member.confirmed = generation

    def _say_how(self, host: Host) -> None:
        member = self.members[host.name]
        if host.core is None or host.stopped:
            return
        if self.can_commit(host) and member.confirmed != member.generation:
            self._current(host)
        started = host.core.phase is Phase.STARTUP
        if started and self.now - member.started >= RESTARTED_MS and member.right is not None:
            number, served = member.right
            if number == member.generation.number:
                member.confirmed = member.generation
                event = on.RecordObserved(now_ms=self.now, record=member.seen, served=served)
                self._report_raft(host, member.generation)
                self.tell(host, event)
        self._report_raft(host, member.confirmed or member.generation)

    def _report_raft(self, host: Host, generation: Generation) -> None:
        member = self.members[host.name]
        report = on.RaftReported(
            now_ms=self.now,
            generation=generation,
            reached=member.linked and generation == member.generation,
            contacts=member.contacts,
            newer=member.newer,
            favoured=(member.seen.active or A) == host.name,
        )
        self.tell(host, report)

    # --- actions ----------------------------------------------------------------------------------

    def _carry_out(self, host: Host, command: do.Command) -> None:
        if not isinstance(command, do.GoAlone):
            super()._carry_out(host, command)
            return
        member = self.members[host.name]
        if member.linked or member.contacts != command.contacts:
            answer: on.Event = on.ActionFailed(
                now_ms=self.now, token=command.token, detail="it was heard meanwhile"
            )
        else:
            generation = generations.alone(member.generation, host.name, command.rung)
            self._enter(host, generation)
            answer = on.ActionDone(now_ms=self.now, token=command.token)
        self.after(1, lambda: self.tell(host, answer))

    # --- what scripts say -------------------------------------------------------------------------

    def obey(self, line: str) -> None:
        match line.split():
            case ["cut"]:
                self.say("--- cut")
                for host in self.hosts.values():
                    host.raft = host.stream = False
            case ["heal"]:
                self.say("--- heal")
                for host in self.hosts.values():
                    host.raft = host.stream = True
            case ["story", name]:
                core = self.hosts[NodeId(name)].core
                assert core is not None
                self.say(f"{name} says: {pair.story(core, self.now)}")
            case ["expect", "generation", name, number]:
                assert self.members[NodeId(name)].generation.number == int(number)
            case ["expect", name, "off"]:
                assert not self.hosts[NodeId(name)].powered
            case ["expect", name, "on"]:
                assert self.hosts[NodeId(name)].powered
            case _:
                super().obey(line)


def _other(name: NodeId) -> NodeId:
    return B if name == A else A
