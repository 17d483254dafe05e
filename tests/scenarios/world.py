"""A pair in virtual time: real decision cores over the real state machine, with models around them.

Raft is modelled as what it promises: a node that reaches a majority gets its proposals applied in
one order, and one that does not gets no answer. Addresses have the kernel's lifetimes. Actions take
fixed times unless a script says that they fail. Everything is deterministic.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import replace

from scenarios import script
from scenarios.host import TOOK_MS, Host

from fakes.decision import GROUP, TIMING, A, B, settings
from fakes.fence_device import FakeDevice, device
from staqraft.actions.fence_plan import Call, Plan, turn_off
from staqraft.consensus.statemachine import apply
from staqraft.decision import commands as do
from staqraft.decision import events as on
from staqraft.decision.conflict import OnConflict
from staqraft.decision.eligibility import refusals
from staqraft.decision.following import Following
from staqraft.decision.invariants import violations
from staqraft.decision.phases import HOLDING, Phase
from staqraft.decision.state import GroupState, ServicePolicy, Settings
from staqraft.decision.step import step
from staqraft.decision.wake import wake_ms
from staqraft.model import (
    Accepted,
    Admission,
    ClusterRecord,
    Command,
    Epoch,
    FenceRung,
    GroupRecord,
    NodeId,
    Position,
)

MOVES_MOST, MOVES_WINDOW_MS = 2, 60_000
ENDS_MS = 10  # a daemon that is done
GRACE_MS = 5000  # for services to stop when the addresses are gone
PROPOSE_MS, OBSERVE_MS, UNKNOWN_MS, FENCE_TIMEOUT_MS = 3, 1, 2000, 2000


class World:
    """Runs events in the order of their instants and keeps a trace that people can read."""

    def __init__(self) -> None:
        self.now = 0
        self.record = ClusterRecord()
        self.hosts = {name: Host(name) for name in (A, B)}
        self.trace: list[str] = []
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._order = 0
        self.timing = TIMING
        self.gate = False
        self.all_services_start = True  # so whoever is let in is not refused
        self.fenced_by: frozenset[FenceRung] | None = None
        self.services: dict[str, ServicePolicy] = {}
        self.devices: dict[NodeId, tuple[FakeDevice, int]] = {}
        self.watchdog_ms = 0
        self.prefer: NodeId | None = None
        self.failback_ms = 0
        self.on_conflict = OnConflict.IGNORE
        self.check_ms = 30
        self.claims: dict[str, str] = {}  # who else says to have the address: others or former
        self._asked: dict[int, Callable[[], None]] = {}
        self._turning_off: set[tuple[NodeId, int]] = set()
        self.holder: NodeId | None = None
        self._index = 0

    # --- time -------------------------------------------------------------------------------------

    def after(self, delay_ms: int, do_it: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._queue, (self.now + delay_ms, self._order, do_it))

    def run(self, duration_ms: int) -> None:
        end = self.now + duration_ms
        while self._queue and self._queue[0][0] <= end:
            self.now, _, do_it = heapq.heappop(self._queue)
            self._watch_addresses()
            do_it()
            self._watch_addresses()
        self.now = end
        self._watch_addresses()

    def say(self, text: str) -> None:
        self.trace.append(f"{self.now:>6} {text}")

    def _watch_addresses(self) -> None:
        holders = [host.name for host in self.hosts.values() if self._answers(host)]
        assert len(holders) <= 1, f"at {self.now} the address is on {holders}"
        holder = holders[0] if holders else None
        if holder != self.holder:
            self.holder = holder
            self.say(f"address on {holder or 'nobody'}")
        for host in self.hosts.values():
            admitted = self.gate and self._answers(host) and host.admits is Admission.OPEN
            if admitted and self.all_services_start:
                assert host.serves, f"at {self.now} clients are refused on {host.name}"

    def _answers(self, host: Host) -> bool:
        """Packets for the address, and questions who has it, are answered."""
        behind = host.gate_until_ms > self.now and host.admits is not Admission.CLOSED
        return host.vip_until_ms > self.now and (behind or not self.gate)

    # --- hosts ------------------------------------------------------------------------------------

    def start(self, name: NodeId) -> None:
        host = self.hosts[name]
        host.powered = True
        host.core = GroupState(settings=self._settings(name))
        host.wake_ms = 0
        core = host.core
        self.after(5, lambda: self._tick(host, core))
        self._observe(host)

    def _settings(self, name: NodeId) -> Settings:
        plain = settings(name)
        delays = {node: delay_ms for node, (_, delay_ms) in self.devices.items()}
        return replace(
            plain,
            fenced_by=self.fenced_by or plain.fenced_by,
            devices=delays,
            watchdog_ms=self.watchdog_ms,
            timing=self.timing,
            gate=self.gate,
            prefer=self.prefer,
            failback_ms=self.failback_ms,
            on_conflict=self.on_conflict,
            services=self.services,
            moves_most=MOVES_MOST,
            moves_window_ms=MOVES_WINDOW_MS,
        )

    def crash(self, name: NodeId) -> None:
        """The daemon is gone, and what it runs; the kernel goes on."""
        self._turning_off = {key for key in self._turning_off if key[0] != name}
        self.hosts[name].core = None
        self.hosts[name].inbox.clear()

    def power_off(self, name: NodeId) -> None:
        self.crash(name)
        self.hosts[name].powered = False
        self.hosts[name].dog_fires_ms = None
        self.hosts[name].vip_until_ms = 0
        self.hosts[name].admits = Admission.CLOSED
        self.hosts[name].serves = False

    def resume(self, name: NodeId) -> None:
        host = self.hosts[name]
        host.stopped = False
        waiting, host.inbox = host.inbox, []
        for event in waiting:
            self.tell(host, event)

    def tell(self, host: Host, event: on.Event) -> None:
        if host.core is None:
            return
        if host.stopped:
            host.inbox.append(event)
            return
        self._slept_through_nothing(host, host.core)
        event = replace(event, now_ms=self.now)
        before = host.core
        host.core, commands = step(before, event)
        host.wake_ms = wake_ms(host.core, self.now)
        if host.core.phase is not before.phase:
            reason = f" ({host.core.reason})" if host.core.reason != before.reason else ""
            self.say(f"{host.name}: {before.phase.value} -> {host.core.phase.value}{reason}")
        for broken in violations(host.core, self.now):
            raise AssertionError(f"at {self.now} on {host.name}: {broken}")
        for command in commands:
            self._carry_out(host, command)
        if host.core.phase is Phase.RESTED is not before.phase:
            self.after(ENDS_MS, lambda: self._end(host, Phase.RESTED))
        self._one_lease()

    def _end(self, host: Host, phase: Phase) -> None:
        """The daemon has done what it had to before its end, if it still is where it was."""
        if host.core is not None and host.core.phase is phase:
            self.say(f"{host.name}: the daemon ends")
            self.crash(host.name)

    def _slept_through_nothing(self, host: Host, core: GroupState) -> None:
        """Before the instant for which the core asked to be woken, waking it changes nothing."""
        if core.phase in {Phase.STANDBY, Phase.ACTIVE} and self.now < host.wake_ms:
            after, commands = step(core, on.Tick(now_ms=self.now))
            assert after == core, f"at {self.now} {host.name} sleeps until {host.wake_ms}"
            assert not commands, f"at {self.now} {host.name} sleeps until {host.wake_ms}"

    def _one_lease(self) -> None:
        holders = [
            host.name
            for host in self.hosts.values()
            if host.core and host.core.phase in HOLDING and host.core.lease.held(self.now)
        ]
        assert len(holders) <= 1, f"at {self.now} the lease is held by {holders}"

    def _tick(self, host: Host, core: GroupState) -> None:
        if host.core is None or host.core.settings is not core.settings:
            return  # that daemon is gone
        self.tell(host, on.Tick(now_ms=self.now))
        self._report(host)
        self._timetable(host)
        self._report_health(host)
        self.after(50, lambda: self._tick(host, core))

    def _report(self, host: Host) -> None:
        """What the stream process would say."""
        other = self.hosts[B if host.name == A else A]
        record = self.group()
        if host.core is None or record.active != host.name or not record.epoch_starts:
            return
        if host.silent:
            return
        follows = other.core is not None and not other.stopped
        linked = host.stream and other.stream and follows
        self.tell(
            host,
            on.PeerReported(
                now_ms=self.now,
                peer=other.name,
                following=other.following if linked else Following.LOST,
                durable=Position(record.epoch, host.seq) if linked else Position(),
                silent_ms=0 if linked else 100_000,
            ),
        )

    def _timetable(self, host: Host) -> None:
        """What the daemon says when its wall clock, here the true time, reaches a schedule."""
        entry = self.group().scheduled
        if entry is not None and entry.at_ms <= self.now and host.raft:
            late_ms = self.now - entry.at_ms
            self.tell(
                host, on.ScheduleDue(now_ms=self.now, schedule=entry.log_index, late_ms=late_ms)
            )

    def _report_health(self, host: Host) -> None:
        """What its own probes say, and what the other says of itself."""
        defects = tuple(host.defects.values())
        self.tell(host, on.HealthReported(now_ms=self.now, node=host.name, defects=defects))
        other = self.hosts[B if host.name == A else A]
        if other.core is None or other.stopped or not (host.stream and other.stream):
            return
        event = on.HealthReported(
            now_ms=self.now,
            node=other.name,
            defects=tuple(other.defects.values()),
            ready=not refusals(other.core, self.now),
        )
        self.tell(host, event)

    # --- Raft -------------------------------------------------------------------------------------

    def group(self) -> GroupRecord:
        return self.record.groups.get(GROUP, GroupRecord())

    def propose(self, command: Command) -> Accepted | object:
        self._index += 1
        self.record, outcome = apply(self.record, self._index, command)
        for host in self.hosts.values():
            self._observe(host)
        return outcome

    def _observe(self, host: Host) -> None:
        record = self.group()
        core = host.core

        def arrive() -> None:
            same = host.core is not None and core is not None
            if same and host.raft and record == self.group():
                self.tell(host, on.RecordObserved(now_ms=self.now, record=record))

        self.after(OBSERVE_MS, arrive)

    def reconnect(self, host: Host) -> None:
        host.raft = True
        self._observe(host)

    # --- actions ----------------------------------------------------------------------------------

    def _carry_out(  # noqa: C901, PLR0912 - a case a command
        self, host: Host, command: do.Command
    ) -> None:
        match command:
            case do.Propose():
                self._propose_later(host, command)
            case do.KickWatchdog():
                if self.now + self.watchdog_ms <= command.deadline_ms:
                    self._dog(host, self.watchdog_ms)
            case do.LeaveWatchdog():
                if host.dog_fires_ms is not None:
                    self._dog(host, GRACE_MS)
            case do.DisarmWatchdog():
                host.dog_fires_ms = None
            case do.HoldVips():
                if not command.only_if_held or host.vip_until_ms > self.now:
                    host.keep_addresses(self.now, command.deadline_ms, gate=self.gate)
            case do.FollowActive():
                self.say(f"{host.name}: follows {command.active or 'nobody'}")
            case do.TurnOff():
                self._turn_off(host, command)
            case do.StopTurnOff():
                self._turning_off.discard((host.name, command.token))
                self.say(f"{host.name}: nobody is to be turned off any more")
            case do.CheckVips():
                self._check_later(host, command.token)
            case do.AnswerFence():
                self.say(f"{host.name}: let go" if command.let_go else f"{host.name}: did not")
                if command.let_go and (answer := self._asked.pop(command.token, None)) is not None:
                    self.after(TOOK_MS["FenceLoser"], answer)
            case _:
                self._act_later(host, command)

    def can_commit(self, host: Host) -> bool:
        """Whether what this host proposes now reaches the majority."""
        return host.raft

    def arrives(self, host: Host) -> bool:
        """Whether what was on its way when this host was cut off gets there."""
        del host
        return True

    def _propose_later(self, host: Host, command: do.Propose) -> None:
        core_settings = host.core.settings if host.core else None

        def arrive() -> None:
            if host.core is None or host.core.settings is not core_settings:
                return
            if not self.arrives(host):
                self.after(UNKNOWN_MS, give_up)
                return
            outcome = self.propose(command.proposal)
            if isinstance(outcome, Accepted):
                self.tell(host, on.ProposalAccepted(now_ms=self.now, token=command.token))
            else:
                reason = getattr(outcome, "reason", "")
                self.tell(
                    host, on.ProposalRefused(now_ms=self.now, token=command.token, reason=reason)
                )

        def give_up() -> None:
            self.tell(
                host,
                on.ProposalUnknown(now_ms=self.now, token=command.token, detail="no majority"),
            )

        if self.can_commit(host):
            self.after(PROPOSE_MS, arrive)
        else:
            self.after(UNKNOWN_MS, give_up)

    def _act_later(self, host: Host, command: do.Command) -> None:
        name = type(command).__name__
        token = command.token  # type: ignore[union-attr]
        core = host.core
        if name in host.fail:
            self.say(f"{host.name}: {name} fails")
            detail = host.fail.pop(name)
            event: on.Event = on.ActionFailed(now_ms=self.now, token=token, detail=detail)
            self.after(TOOK_MS[name], lambda: self.tell(host, event))
            return
        if isinstance(command, do.FenceLoser):
            self._ask_loser(host, command)
            return

        def finish() -> None:
            if host.core is None or core is None or host.core.settings is not core.settings:
                return
            if isinstance(command, do.TakeVips):
                host.admits = command.admit or host.admits
                host.keep_addresses(self.now, command.deadline_ms, gate=self.gate)
            elif isinstance(command, do.ArmWatchdog):
                self._dog(host, self.watchdog_ms)
            elif isinstance(command, do.DropVips):
                host.vip_until_ms = 0
                host.admits = Admission.CLOSED
            elif isinstance(command, do.StartServices):
                host.serves = True
                for name in host.broken:
                    self.report_service(host, name, f"{name} does not start")
            elif isinstance(command, do.RestartService) and command.service in host.broken:
                detail = f"{command.service} does not start"
                self.tell(host, on.ActionFailed(now_ms=self.now, token=token, detail=detail))
                return
            elif isinstance(command, do.StartCapture) and host.epoch_broken:
                host.epoch_broken = False
                self.tell(host, on.EpochNotContinuable(now_ms=self.now, token=token))
                return
            position = Position(Epoch(self.group().epoch), host.seq)
            self.tell(host, on.ActionDone(now_ms=self.now, token=token, position=position))

        admit = getattr(command, "admit", None)
        what = getattr(command, "service", "") or (admit.value if admit else "")
        self.say(f"{host.name}: {name} {what}".rstrip())
        if isinstance(command, do.StopServices):
            host.serves = False
        self.after(host.slow.get(name, TOOK_MS[name]), finish)

    def _check_later(self, host: Host, token: int) -> None:
        life = host.core.settings if host.core else None
        others, former = (
            tuple(f"{who} has the address" for who, kind in self.claims.items() if kind == wanted)
            for wanted in ("other", "former")
        )

        def answer() -> None:
            if host.core is not None and host.core.settings is life:
                self.say(f"{host.name}: the network was asked who has the address")
                event = on.VipsChecked(now_ms=self.now, token=token, others=others, former=former)
                self.tell(host, event)

        self.after(self.check_ms, answer)

    def report_service(self, host: Host, name: str, problem: str, *, stuck: bool = False) -> None:
        report = on.ServiceReported(now_ms=self.now, service=name, problem=problem, stuck=stuck)
        self.tell(host, report)

    def _ask_loser(self, host: Host, command: do.FenceLoser) -> None:
        loser = self.hosts[command.loser]
        reached = loser.core is not None and not loser.stopped and loser.stream and host.stream
        self.say(f"{host.name}: asks {loser.name} to let go of epochs before {command.epoch}")
        answered: list[NodeId] = []
        if reached:

            def answer() -> None:
                answered.append(loser.name)
                detail = f"{loser.name} confirmed that it let go"
                event = on.ActionDone(now_ms=self.now, token=command.token, detail=detail)
                self.tell(host, event)

            token = -1 - len(self._asked)
            self._asked[token] = answer
            request = on.FenceRequested(now_ms=self.now, epoch=command.epoch, token=token)
            self.after(TOOK_MS["FenceLoser"], lambda: self.tell(loser, request))
        failed = on.ActionFailed(now_ms=self.now, token=command.token, detail="no answer")
        life = host.core.settings if host.core else None

        def over() -> None:
            if not answered and host.core is not None and host.core.settings is life:
                self.tell(host, failed)

        self.after(FENCE_TIMEOUT_MS, over)

    def _turn_off(self, host: Host, command: do.TurnOff) -> None:
        """Runs the real sequence of agent calls over a device that is not."""
        key = host.name, command.token
        self._turning_off.add(key)
        self.say(f"{host.name}: turns {command.loser} off")
        plan, (switch, _) = turn_off([device()]), self.devices[command.loser]
        self._call(host, key, plan, switch, next(plan))

    def _call(
        self, host: Host, key: tuple[NodeId, int], plan: Plan, switch: FakeDevice, call: Call
    ) -> None:
        def ended() -> None:
            if key not in self._turning_off:
                return  # killed before it did anything
            try:
                self._call(host, key, plan, switch, plan.send(switch.end(call)))
            except StopIteration as end:
                self._turning_off.discard(key)
                self.say(f"{host.name}: {end.value.text}")
                make = on.ActionDone if end.value.proved else on.ActionFailed
                self.tell(host, make(now_ms=self.now, token=key[1], detail=end.value.text))

        self.after(switch.took_ms(call), ended)

    def _dog(self, host: Host, in_ms: int) -> None:
        host.dog_fires_ms = fires_ms = self.now + in_ms

        def fire() -> None:
            if host.dog_fires_ms == fires_ms:
                self.say(f"{host.name}: the watchdog resets it")
                self.power_off(host.name)

        self.after(in_ms, fire)

    def obey(self, line: str) -> None:
        """One line of a scenario's script."""
        script.obey(self, line)
