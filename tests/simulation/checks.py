"""What must be true, judged by true time and by those who see all hosts. Knows of no workload.

The numbers are those of the invariants in the design: 1 one lease, 2 one address, 3 epochs grow,
4 nothing acknowledged is lost, 5 promotion from the in-sync set, 6 fenced before the address is
taken, 7 a returning active overwrites nothing. R are Raft's own: one vote and one leader a term,
equal logs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from simulation.data_checks import DataChecks
from simulation.hardware import NONE
from simulation.health import judge
from simulation.moments import Moment, Moments
from simulation.pair_checks import Generations, Switches
from simulation.planned import PlannedChecks
from simulation.rest_checks import Rested
from simulation.schedule import MS, Action, Schedule
from simulation.service_checks import ServiceChecks
from simulation.upgrades import Releases
from simulation.violation import Violation
from simulation.words import in_words
from staqraft.consensus.codec import KIND_NO_OP, decode_proposal
from staqraft.consensus.member import RaftMember
from staqraft.decision import events as on
from staqraft.decision.invariants import violations
from staqraft.decision.phases import ADDRESSED, HOLDING, Phase
from staqraft.decision.state import GroupState
from staqraft.model import (
    NO_EPOCH,
    Acquire,
    Admission,
    ClusterRecord,
    Command,
    Epoch,
    GroupId,
    GroupRecord,
    NodeId,
    Position,
    Rest,
    SetInSync,
)
from staqraft.wire.v1 import raft_pb2 as pb

if TYPE_CHECKING:
    from simulation.daemon import Daemon
    from simulation.host import Host

_FIRST = GroupId("default")
_NONE = GroupRecord()
_RELIED_ON = HOLDING - {Phase.RELEASING}
_AWAKE_US = 2_600 * MS  # a kernel lifetime: its timers stood still while the machine slept
_ABLE_US = 5_000 * MS  # for so long nothing has kept it from letting go
_REACTS_US = 300 * MS  # so soon a daemon that runs removes what is over


OUTLIVED = "a paused machine outlived its lease"  # the known limit, where the plan allows it


class Checks:
    """Sees everything. Every method is a fact that somebody tells."""

    def __init__(self, schedule: Schedule, *, tracing: bool, group: GroupId = _FIRST) -> None:
        self._group = group
        self.second: Checks | None = None  # of another group on the same hosts
        self._schedule = schedule
        self.trace: list[str] = []
        self.tracing = tracing
        self.hosts: dict[NodeId, Host] = {}
        self.moments = Moments(schedule)
        self.notes: Counter[str] = Counter()
        self.transitions: Counter[tuple[Phase, Phase]] = Counter()
        self._log: dict[int, bytes] = {}
        self._term_of: dict[int, int] = {}  # in which term it was committed, at the latest
        self._newest = 0
        self._judged = 0  # the newest entry of which those were told who need it once
        self._records: dict[int, GroupRecord] = {}
        self._votes: dict[tuple[NodeId, int], NodeId] = {}
        self._leaders: dict[int, NodeId] = {}
        self._granted: dict[Epoch, int] = {}  # since when somebody knows of it
        self.releases = Releases()
        self._given_up: set[NodeId] = set()  # by an operator, and have not begun anew
        self.hardware = NONE
        self._could_not_act: dict[NodeId, int] = {}  # when it was last seen so
        self._exempt: dict[NodeId, int] = {}  # machines that slept, until when
        self._rests = Rested()
        self._stood_still: dict[NodeId, int] = {}  # those that are frozen or were, until when
        self._generations = Generations()
        self._switches = Switches()
        self.data = DataChecks(self.hosts, self.note)
        self.services = ServiceChecks(self.hosts)
        self.planned = PlannedChecks(self.hosts, self.services)
        self.acknowledgements = 0
        self.takeovers = 0

    @property
    def now(self) -> int:
        return self._schedule.now

    def later(self, delay_us: int, action: Action) -> None:
        self._schedule.after(delay_us, action)

    def say(self, text: str) -> None:
        if self.tracing:
            whose = "" if self._group == _FIRST else f"({self._group}) "
            self.trace.append(f"{self.now / 1_000_000:11.6f} {whose}{text}")

    def note(self, what: str) -> None:
        self.notes[what] += 1

    # --- Raft -------------------------------------------------------------------------------------

    def applied(
        self,
        me: NodeId,
        term: int,
        index: int,
        command: bytes,
        before: ClusterRecord,
        after: ClusterRecord,
    ) -> None:
        if me in self._given_up:
            return
        known = self._log.setdefault(index, command)
        self._newest = max(self._newest, index)
        self._term_of.setdefault(index, term)
        if known is not command and known != command:
            raise Violation("R equal logs", f"{me} applies another entry {index} than others did")
        if command == KIND_NO_OP:
            return
        self._changed(me, index, command, before, after)
        if self.second is not None:
            self.second._changed(me, index, command, before, after)

    def _changed(
        self, me: NodeId, index: int, command: bytes, before: ClusterRecord, after: ClusterRecord
    ) -> None:
        """Something was applied: what became of this group?"""
        old, new = before.groups.get(self._group, _NONE), after.groups.get(self._group, _NONE)
        seen = self._records.setdefault(index, new)
        if seen is not new and seen != new:
            raise Violation("R equal states", f"{me} has another record at entry {index}: {new}")
        if new.switchover is not None and new.switchover.forced:
            self.data.forced = True
        if old is not new:
            self._spoke(me, old, command)
            if index > self._judged:
                self._judged = index
                self.services.changed(self.now, old, new)
                self.planned.changed(self.now, old, new)
                self.data.admitted(new.in_sync - old.in_sync)
        if old is not new and old.epoch != new.epoch:
            self._promoted(me, old, new)
            if new.active == me:
                self.moments.reached(Moment.GRANTED, me)

    def _spoke(self, me: NodeId, old: GroupRecord, data: bytes) -> None:
        """Something took effect: was it said in the epoch that was under way?"""
        _, command = decode_proposal(data[1:])
        epoch = getattr(command, "epoch", old.epoch)
        if epoch != old.epoch or (hasattr(command, "epoch") and command.node != old.active):
            text = f"{type(command).__name__} of {command.node}, epoch {epoch}"
            raise Violation("3 epochs grow", f"on {me} {text} takes effect in {old.epoch}")

    def _promoted(self, me: NodeId, old: GroupRecord, new: GroupRecord) -> None:
        if new.epoch != old.epoch + 1:
            raise Violation("3 epochs grow", f"on {me} epoch {new.epoch} follows {old.epoch}")
        assert new.active is not None
        self._granted.setdefault(new.epoch, self.now)
        forced = old.switchover is not None and old.switchover.forced
        fine = old.epoch == NO_EPOCH or new.active in old.in_sync or new.active == old.active
        if not (fine or forced):
            members = ", ".join(sorted(old.in_sync))
            raise Violation("5 in-sync", f"{new.active} was promoted; in sync were {members}")

    def loaded(self, me: NodeId, record: ClusterRecord) -> None:
        new = record.groups.get(self._group, _NONE)
        known = self._records.get(record.log_index) if me not in self._given_up else None
        if known is not None and known != new:
            raise Violation("R equal states", f"the snapshot of {me} differs: {new}")

    def stepped(self, member: RaftMember) -> None:
        if member.me in self._given_up:
            return
        self._generations.stepped(member, self.hosts)
        if member.leads:
            term = member.term
            known = self._leaders.get(term)
            if known is None:
                known = self._leaders[term] = member.me
                self._complete(member)
                self.say(f"{member.me}: leads term {term}")
            if known != member.me:
                raise Violation("R one leader", f"{known} and {member.me} lead term {term}")

    def _complete(self, member: RaftMember) -> None:
        """A new leader has every entry that anybody applied."""
        log = member._log
        for index in range(log.first_index, self._newest + 1):
            at = index - log.first_index
            mine = log[at][0] if at < len(log) else None
            # One that was committed in a newer term is nothing that an older leader could know.
            if self._term_of.get(index, member.term) < member.term and mine != self._log[index]:
                raise Violation("R equal logs", f"{member.me} leads without entry {index}")

    def sent(self, me: NodeId, to: NodeId, envelope: pb.Envelope) -> None:
        match envelope.WhichOneof("message"):
            case "response_vote":
                self._voted(me, envelope.response_vote.term, to)
            case "request_vote":
                self._voted(me, envelope.request_vote.term, me)
                if envelope.request_vote.transfer:
                    self.moments.reached(Moment.STANDS, me)
                if self.tracing:
                    asked = envelope.request_vote
                    why = ", as its leader asked it to" if asked.transfer else ""
                    self.say(f"{me}: asks {to} for its vote in term {asked.term}{why}")
            case _:
                pass

    def _voted(self, me: NodeId, term: int, candidate: NodeId) -> None:
        if me in self._given_up:
            return
        if me != candidate:
            self.moments.reached(Moment.VOTED, me)
        known = self._votes.setdefault((me, term), candidate)
        if known != candidate:
            raise Violation("R one vote", f"{me} votes for {known} and {candidate} in term {term}")

    def offended(self, me: NodeId, by: NodeId, reason: str) -> None:
        self.note("offence")
        self.say(f"{me}: {by} offends: {reason}")
        if "contradicts entry" in reason:
            raise Violation("R equal logs", f"{me} of {by}: {reason}")

    # --- the decision core ------------------------------------------------------------------------

    def holds(self, daemon: Daemon | None) -> bool:
        """Whether this host relies on the lease at this instant, by its own clock."""
        if daemon is None:
            return False
        core = daemon.core
        if core.settings.pair and core.phase is Phase.FENCING:
            return False  # no lease proves anything there: it serves only with another proof
        # Releasing, it has let go of everything and uses the lease for nothing any more.
        return core.phase in _RELIED_ON and core.lease.held(daemon.clock.boot_ms())

    def decided(self, daemon: Daemon, before: GroupState, event: on.Event) -> None:
        after = daemon.core
        if isinstance(event, on.RecordObserved) and event.record.epoch < before.record.epoch:
            raise Violation("3 epochs grow", f"{daemon.me} sees {event.record.epoch} after newer")
        for broken in violations(after, daemon.clock.boot_ms()):
            raise Violation("core", f"{daemon.me}: {broken}")
        if after.phase is not before.phase:
            self._entered(daemon, before)
        if after.phase in HOLDING and (
            before.phase not in HOLDING or before.lease is not after.lease
        ):
            self._one_lease(daemon)

    def _entered(self, daemon: Daemon, before: GroupState) -> None:
        after = daemon.core
        self.transitions[before.phase, after.phase] += 1
        self.moments.entered(after.phase, daemon.me)
        judge(daemon, before, self.hosts)
        self.planned.entered(daemon, self.now)
        if self.tracing:
            why = f" ({after.reason})" if after.reason != before.reason else ""
            epoch = after.record.epoch
            self.say(f"{daemon.me}: {before.phase.value} -> {after.phase.value} e{epoch}{why}")
        if after.phase in {Phase.FINISHING, Phase.OPENING} and before.phase is not Phase.FINISHING:
            self._fenced(daemon)
        if after.phase is Phase.ACTIVE:
            if daemon.raft.member.outdated:
                raise Violation("12 releases", f"{daemon.me} serves, and cannot follow the others")
            self.takeovers += 1
            if self._believes(daemon.me) and after.record.epoch < max(self._granted):
                self.note(OUTLIVED)  # it was paused while it took over: see `thawed`
            else:
                self.data.serves(daemon.me)
        if before.phase is Phase.STARTUP and after.phase in HOLDING | {Phase.RESUMING}:
            self.moments.reached(Moment.RESUMES, daemon.me)

    def _one_lease(self, daemon: Daemon) -> None:
        if not self.holds(daemon):
            return
        for host in self.hosts.values():
            if host.daemon is daemon or self._may_believe(host.me) or self._may_believe(daemon.me):
                continue
            if self.holds(host.daemon):
                raise Violation("1 one lease", f"{daemon.me} and {host.me} hold it")

    def _fenced(self, daemon: Daemon) -> None:
        """It goes on as if the loser were fenced: is it?"""
        for host in self.hosts.values():
            if host.me == daemon.me or host.daemon is daemon:
                continue
            believes = self._believes(host.me)
            if self.holds(host.daemon) and not believes:
                raise Violation("6 fenced", f"{daemon.me} goes on, and {host.me} holds a lease")
            if host.kernel.answers and not self._may_linger(host.me):
                raise Violation("6 fenced", f"{daemon.me} goes on, and {host.me} has the address")

    def answered_fence(self, daemon: Daemon, *, let_go: bool) -> None:
        if not let_go:
            return
        host = self.hosts[daemon.me]
        if self.holds(daemon) or host.kernel.answers or daemon.core.phase in ADDRESSED:
            raise Violation("6 fenced", f"{daemon.me} says that it let go, and did not")
        self.services.nothing_runs(daemon.me, "says that it let go")

    def proposed(self, me: NodeId, command: Command) -> None:
        if isinstance(command, Acquire):
            self.moments.reached(Moment.ASKS, me)
        elif isinstance(command, Rest):
            self.moments.reached(Moment.RESTS, me)
        elif isinstance(command, SetInSync) and len(command.members) > len(command.expected):
            self.moments.reached(Moment.ADMITS, me)
        if self.tracing and type(command).__name__ not in {"Renew", "NoteEvent"}:
            self.say(f"{me}: proposes {in_words(command)}")

    # --- addresses --------------------------------------------------------------------------------

    def address_taken(self, me: NodeId) -> None:
        """It answers for the address from now on, or goes on to."""
        self._not_refused(self.hosts[me])
        for host in self.hosts.values():
            if host.me == me or not host.kernel.answers:
                continue
            if not self._may_linger(host.me) and not self._refreshes(me):
                raise Violation("2 one address", f"{me} takes it, and {host.me} has it")

    def _not_refused(self, host: Host) -> None:
        """Behind a gate nobody is let in before the services run, if they start at all."""
        opens = host.kernel.gated and host.kernel.admits is Admission.OPEN
        if opens and not host.services.running and not host.services.failed:
            raise Violation("9 refused", f"{host.me} lets clients in, and no service runs")

    def rested(self, daemon: Daemon) -> None:
        """It left the addresses to the kernel, and no watchdog watches over that."""
        self._rests.left(daemon)

    def address_set(self, daemon: Daemon) -> None:
        """Without another word the kernel takes it away before the lease is over."""
        if daemon.core.phase is not Phase.LEAVING:
            self._rests.back(daemon.me)
        host = self.hosts[daemon.me]
        deadline_ms = daemon.core.lease.deadline_ms
        if deadline_ms is None or not host.kernel.answers:
            return  # without a lease it is letting go; the call was under way
        if max(self._exempt.get(host.me, -1), self._stood_still.get(host.me, -1)) >= self.now:
            return  # its timers stood still
        left_ms = deadline_ms - host.clock.boot_ms()
        too_long = host.kernel.answers_until_us > self.now + host.clock.true_us(left_ms) + MS
        if not self._rests.is_kept(daemon, too_long=too_long) and too_long:
            raise Violation("2 one address", f"the kernel of {host.me} keeps it beyond the lease")

    def slept(self, me: NodeId, until_us: int) -> None:
        """A machine that slept may have an address for a moment after it woke.

        Without a watchdog or a device nothing can prevent that, and the documentation says so. It
        is a moment where a daemon runs and can act, and a kernel lifetime where none does.
        """
        self._exempt[me] = until_us + _AWAKE_US

    def _may_linger(self, me: NodeId) -> bool:
        if self.hardware.without_lease or (
            self.hardware.strict and not self._rests.is_unwatched(me)
        ):
            return False
        if self._may_believe(me):
            self.note(OUTLIVED)
            return True
        if self._exempt.get(me, -1) < self.now:
            return False
        host = self.hosts[me]
        runs = host.control.alive and not host.control.stopped
        refused = host.kernel.broken or "DropVips" in host.trouble.failing
        if refused or host.trouble.slow_ms:
            self._could_not_act[me] = self.now
        since_us = max(host.control.since_us, self._could_not_act.get(me, 0))
        return not (runs and self.now - since_us > _REACTS_US)

    def woke(self, me: NodeId) -> None:
        """It goes on, with the address that it had; who took it meanwhile was never asked."""
        self._could_not_act[me] = self.now  # also a process that was to start while it slept
        host = self.hosts.get(me)
        if host is None or not host.kernel.answers:
            return
        for other in self.hosts.values():
            if other.me != me and other.kernel.answers and not self._may_linger(me):
                raise Violation("2 one address", f"{me} wakes with it, and {other.me} has it")

    def _refreshes(self, me: NodeId) -> bool:
        """It was paused, and refreshes what it had, as its own clock allows."""
        return self._may_believe(me) and self._may_linger(me)

    def froze(self, me: NodeId) -> None:
        """A machine is paused with all its clocks: by them its lease lasts."""
        self._stood_still[me] = 1 << 60

    def thawed(self, me: NodeId) -> None:
        """It goes on, and may believe in a lease for as long as one can last.

        The known limit of the lease. No decision here is wrong; what may serve, is another rule.
        """
        self._stood_still[me] = self.now + self.hardware.ttl_ms * 1100

    def _may_believe(self, me: NodeId) -> bool:
        return self._stood_still.get(me, -1) >= self.now

    def _believes(self, me: NodeId) -> bool:
        """And those who took over went by the lease alone."""
        return self._may_believe(me) and not self.hardware.without_lease

    def was_reset(self, host: Host) -> None:
        """Its watchdog fired: an outage for whoever could have let go by itself."""
        able_us = self.now - max(host.impeded_us, host.control.since_us)
        if not host.impeded and able_us > _ABLE_US:
            raise Violation("11 no reset", f"{host.me} is reset, and could have let go")

    # --- two without a witness --------------------------------------------------------------------

    def turns_off(self, daemon: Daemon) -> None:
        self._switches.asked(self.now, daemon)

    def turned_off(self, by: NodeId, loser: NodeId) -> None:
        self._switches.struck(by, loser)

    def parted(self, survivor: RaftMember, gone: NodeId) -> None:
        """An operator gave `gone` up: what only it knows is no history of this cluster any more."""
        self._given_up.add(gone)
        self.data.forced = True
        last, term = survivor._log.last_index, survivor.term
        epoch = survivor.record.groups.get(self._group, _NONE).epoch
        self._newest, self._judged = min(self._newest, last), min(self._judged, last)
        self._log = {i: entry for i, entry in self._log.items() if i <= last}
        self._term_of = {i: t for i, t in self._term_of.items() if i <= last}
        self._records = {i: record for i, record in self._records.items() if i <= last}
        self._leaders = {t: node for t, node in self._leaders.items() if t <= term}
        self._votes = {at: node for at, node in self._votes.items() if at[1] <= term}
        self._granted = {e: us for e, us in self._granted.items() if e <= epoch}

    def is_given_up(self, node: NodeId) -> bool:
        return node in self._given_up

    def begins_anew(self, node: NodeId) -> None:
        """With an empty log."""
        self._given_up.discard(node)
        self._generations.forget(node)

    # --- data -------------------------------------------------------------------------------------

    def acknowledged(
        self, me: NodeId, position: Position, epoch: Epoch, asked_us: int, numbers: Iterable[int]
    ) -> None:
        """A barrier was acknowledged to an application: these are promised."""
        newer = [e for e, since_us in self._granted.items() if e > epoch and since_us < asked_us]
        if newer:
            text = f"in epoch {epoch} what was asked for after {max(newer)} had begun"
            raise Violation("4 nothing lost", f"{me} acknowledges {text}")
        self.acknowledgements += 1
        daemon = self.hosts[me].daemon
        if daemon is not None:
            self.data.counted_on(me, daemon.core.record.in_sync, position)
        self.data.promised(numbers)
        self.say(f"{me}: barrier at {position} acknowledged")
