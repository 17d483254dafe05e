"""The cluster of a plan: two replicas, a witness, two networks. Run it, heal it, wait for peace."""

from __future__ import annotations

import gc
import logging
import random
import shutil
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import combinations
from operator import attrgetter
from pathlib import Path
from typing import Final

from fakes.fence_device import device
from simulation.checks import Checks
from simulation.configured import failback_of, settings_of
from simulation.daemon import GROUP, Daemon
from simulation.fault import NODES, REPLICAS, A, B, Fault, W
from simulation.faults import APPLY, RAFT_DOES_NOT_CARE
from simulation.groups import Second
from simulation.host import Host
from simulation.machine import Clock, Process
from simulation.moments import Moments
from simulation.network import Network
from simulation.operators import asked
from simulation.options import Plan
from simulation.pair import Devices
from simulation.peace_checks import equal_journals, equal_members
from simulation.planned import unschedule
from simulation.raft import RaftLink
from simulation.result import RAISED, Result
from simulation.schedule import MS, Action, S, Schedule
from simulation.service_faults import mended, unrest
from simulation.violation import Violation
from simulation.workload import Workload
from staqraft.actions.fence_plan import Verdict, turn_off
from staqraft.consensus import snapshot_transfer, syncobj
from staqraft.consensus.errors import StoreCorrupt
from staqraft.consensus.ready import Timing as RaftTiming
from staqraft.decision.phases import Phase
from staqraft.model import (
    Epoch,
    GroupRecord,
    NodeId,
)

_RAFT: Final = RaftTiming(election_min_s=0.3, election_max_s=0.6, heartbeat_s=0.095)
_RAFT_FAST: Final = RaftTiming(election_min_s=0.15, election_max_s=0.3, heartbeat_s=0.049)
_PEACE_WITHIN_US: Final = 60 * S
_AGENT_HANGS_US: Final = 60 * S  # one that hung before the peace may be waited for so long
_TERMS_ALLOWED: Final = 2  # a witness that led hands over
_FAILOVER_WITHIN_US: Final = 30 * S
_LAG_ALLOWED: Final = 15  # entries
_FEW_ENTRIES: Final = 20  # between snapshots: one takes as long as they do, and so the next
_SNAPSHOTS_ALLOWED: Final = 3
_CALM_US: Final = 6 * S  # so long after the last fault of a network, a disk or a process
_SAME_ENTRY_WITHIN_US: Final = 5 * S
_LOOK_EVERY_US: Final = 250 * MS
_HANDS_OVER_US: Final = 1 * S  # from one leader to the next, on a word
_RINGS: Final = {"sync": (A, B), "lan": NODES}


class World:
    """One run of a plan."""

    def __init__(self, plan: Plan, *, tracing: bool, directory: Path | None) -> None:
        self.plan = plan
        self.schedule = Schedule()
        self.rng = random.Random(f"world {plan.seed}")
        self.checks = Checks(self.schedule, tracing=tracing)
        self.moments = self.checks.moments = Moments(self.schedule)
        self.checks.hardware = plan.hardware
        self.nodes = REPLICAS if plan.pair else NODES
        self.devices = Devices(self, plan.seed)
        rings: dict[str, tuple[NodeId, ...]] = (
            dict.fromkeys(_RINGS, REPLICAS) if plan.pair else _RINGS
        )
        self.network = Network(self.schedule, self.rng, rings)
        self.replicas = REPLICAS
        self.hosts = {node: self._host(node, directory) for node in self.nodes}
        self.checks.hosts.update({node: self.hosts[node] for node in REPLICAS})
        for one, other in combinations(self.nodes, 2):
            RaftLink(self.network, one, other, lambda node: self.hosts[node].raft)
        self.workload = Workload(
            self.schedule,
            self.rng,
            [self.hosts[node] for node in REPLICAS],
            lambda host, *barrier: self.checks.acknowledged(host.me, *barrier),
            write_ms=plan.write_ms,
            barrier_ms=plan.barrier_ms,
        )
        self.second: Second | None = None
        if plan.two_groups:
            self.second = Second(self, lambda node: settings_of(plan, node))
        self._calm_since = 0
        self._led_at = 0
        self._lives: list[tuple[Process, bool, int]] = []  # and how often they were stopped
        self._undo: dict[int, Action] = {}
        self._undone = 0

    def _host(self, node: NodeId, directory: Path | None) -> Host:
        plan = self.plan
        settings = settings_of(plan, node) if node in REPLICAS else None
        return Host(
            me=node,
            members=self.nodes,
            heirs=REPLICAS if node == W else (),
            settings=settings,
            raft_timing=_RAFT_FAST if plan.fast else _RAFT,
            schedule=self.schedule,
            clock=Clock(
                self.schedule, drift_ppm=plan.drift_ppm[node], offset_us=plan.offset_us[node]
            ),
            network=self.network,
            rng=self.rng,
            checks=self.checks,
            real_files=directory,
            worker_of_other=lambda other: self.hosts[other].worker,
            ask_loser=self.ask_loser,
            turn_off=self.turn_off,
            hardware=plan.hardware,
            services=plan.services,
            pair_off=lambda loser, done: self.devices.turn_off(self.hosts[node], loser, done),
        )

    # --- what faults use --------------------------------------------------------------------------

    def undo_after(self, delay_us: int, action: Callable[[], object]) -> None:
        """The fault ends then, or when everything is healed."""
        self._undone += 1
        key = self._undone

        def undo() -> None:
            if self._undo.pop(key, None) is not None:
                self.disturbed()  # a cut may begin and end between two looks
                self._look_who_is_impeded()
                action()

        self._undo[key] = undo
        self.schedule.after(delay_us, undo)

    def suspect_all(self) -> None:
        for host in self.hosts.values():
            host.suspect_sessions()

    def record(self, host: Host) -> GroupRecord:
        known = host.raft.member.record if host.raft is not None else None
        return known.groups.get(GROUP, GroupRecord()) if known is not None else GroupRecord()

    def operator(self, host: Host, what: str, target: NodeId, *, at_ms: int = 0) -> None:
        """An operator's command on a node: accepted, refused or unanswered, as it comes."""
        daemon = host.daemon
        if daemon is None or daemon.process.stopped:
            return
        command = asked(host.me, what, target, self.record(host), at_ms=at_ms)
        self.checks.say(f"operator on {host.me}: {what} {target}")
        daemon.propose(command, lambda _: None)

    def ask_loser(
        self,
        me: NodeId,
        loser: NodeId,
        epoch: Epoch,
        answer: Callable[[bool], None],
        of: Callable[[Host], Daemon | None] = attrgetter("daemon"),
    ) -> None:
        """The Fence call, on every way, also through the witness; tried again until answered."""
        daemon = of(self.hosts[me])
        tries = [0]

        def way() -> bool:
            if self.network.ring_between(me, loser):
                return True
            return W not in self.network.dark and bool(
                self.network.ring_between(me, W) and self.network.ring_between(W, loser)
            )

        def back(let_go: bool) -> None:
            if way():
                asker = self.hosts[me]
                if of(asker) is daemon:
                    asker.control.after(500, lambda: answer(let_go))

        def ask() -> None:
            target = self.hosts[loser]
            tries[0] += 1
            if tries[0] > 20 or of(self.hosts[me]) is not daemon:
                return
            if way() and (there := of(target)) is not None:
                target.control.do(lambda: there.fence.let_go(epoch, back))
            else:
                self.schedule.after(100 * MS, ask)

        self.schedule.after(500, ask)

    def turn_off(self, me: NodeId, loser: NodeId, done: Callable[[Verdict], None]) -> int:
        """An agent program on `me`, for the switch of `loser`."""
        plan = turn_off([device()])
        return self.hosts[me].agents.start(plan, self.hosts[loser].switch, done)

    # --- a run ------------------------------------------------------------------------------------

    def run(self) -> None:
        """Violation if anything that must be true is not."""
        if self.plan.pair:
            self.devices.begin()
        for node in self.nodes:
            self.schedule.after(int(self.rng.random() * 400) * MS, self.hosts[node].power_on)
        for fault in self.plan.faults:
            self.schedule.after(fault.at_us, lambda f=fault: self._strike(f))  # type: ignore[misc]
        self._watch_members()
        self.schedule.run_until(self.plan.storm_us)
        self._heal()
        self._wait_for_peace()
        if self.plan.parted_in_the_end:
            self._part_the_pair()
            self._wait_for_peace()
        if self.plan.active_lost_in_the_end:
            self._lose_the_active()
            self._wait_for_peace()
        self._equal_in_the_end()

    def _watch_members(self) -> None:
        """Also within the storm: two members to which nothing happens lead and follow."""
        self.schedule.after(_LOOK_EVERY_US, self._watch_members)
        well = [host for host in self.hosts.values() if not host.hindered]
        hosts = self.hosts.values()
        lives = [(host.control, host.control.alive, host.control.interruptions) for host in hosts]
        if any(host.leads for host in hosts):  # one with a slow disk may
            self._led_at = self.schedule.now
        if not self.network.faultless or lives != self._lives:
            self._lives, self._calm_since = lives, self.schedule.now
        calm = self.schedule.now - self._calm_since > _CALM_US
        self.checks.services.look(self.schedule.now, calm=calm)
        if calm and len(well) > 1:
            names = ", ".join(host.me for host in well)
            if self.schedule.now - self._led_at > _HANDS_OVER_US:  # it may be handed over
                raise Violation("R progress", f"of {names} nobody leads, and nothing is wrong")
            if behind := self._left_behind(well):
                raise Violation("R progress", f"{behind}, and nothing is wrong with {names}")

    def disturbed(self) -> None:
        """Something happened that costs a session, and perhaps the leader for a moment."""
        self._calm_since = self.schedule.now

    def _left_behind(self, hosts: Iterable[Host]) -> str:
        indexes = [host.raft.member.applied_index for host in hosts if host.raft is not None]
        allowed = _LAG_ALLOWED * (2 if self.second is not None else 1)
        if self.plan.snapshot_after <= _FEW_ENTRIES:
            allowed += _SNAPSHOTS_ALLOWED * self.plan.snapshot_after
        if max(indexes) - min(indexes) > allowed:
            return f"a member lags: {indexes}"
        return ""

    def _wait_for_peace(self) -> None:
        end_us = self.schedule.now + _PEACE_WITHIN_US
        if self.plan.hardware.devices:
            end_us += _AGENT_HANGS_US
        calm = 0
        while calm < 4:
            if self.schedule.now >= end_us:
                raise Violation("8 peace", f"after all faults healed: {self._unrest()}")
            self.schedule.run_until(self.schedule.now + _LOOK_EVERY_US)
            calm = calm + 1 if not self._unrest() else 0

    def _part_the_pair(self) -> None:
        """One cut link, and a witness that both reach: nothing is to change.

        In peace the active leads Raft, so its renewals need nobody but the witness.
        """
        if (
            failback_of(self.plan).get("prefer", active := self.record(self.hosts[A]).active)
            != active
        ):
            self.checks.note("not parted: a failback may begin in that moment")
            return
        self.checks.say("*** the replicas are parted, the witness reaches both")
        before = self._term(), self.record(self.hosts[A]).epoch
        ways = [(ring, *pair) for ring in _RINGS for pair in ((A, B), (B, A))]
        for way in ways:
            self.network.cut(*way)
        self.suspect_all()
        self.schedule.run_until(self.schedule.now + 6 * S)
        for way in ways:
            self.network.heal(*way)
        self.schedule.run_until(self.schedule.now + 2 * S)
        after = self._term(), self.record(self.hosts[A]).epoch
        if after[0] > before[0] + _TERMS_ALLOWED or after[1] != before[1]:
            raise Violation("R stable", f"a cut link: term and epoch {before} became {after}")

    def _lose_the_active(self) -> None:
        """A standby in sync is cut off for a moment, then the active loses power for good.

        What was committed meanwhile only the witness has, besides the active: it has to lead.
        """
        self.checks.say("*** the active loses power")
        of = self.second or self  # whose active may be standby in the first group
        active = of.record(self.hosts[A]).active
        assert active is not None
        standby = next(node for node in self.replicas if node != active)
        ways = [
            (ring, *pair)
            for ring, nodes in _RINGS.items()
            for node in nodes
            if standby in nodes and node != standby
            for pair in ((node, standby), (standby, node))
        ]
        for way in ways:
            self.network.cut(*way)
        self.schedule.run_until(self.schedule.now + 700 * MS)
        self.hosts[active].broken = True
        self.hosts[active].power_off()
        for way in ways:
            self.network.heal(*way)
        end_us = self.schedule.now + _FAILOVER_WITHIN_US
        while not self._serves(standby):
            if self.schedule.now >= end_us:
                raise Violation("8 peace", f"{standby} does not take over from {active}")
            self.schedule.run_until(self.schedule.now + _LOOK_EVERY_US)
        self.hosts[active].broken = False
        self.hosts[active].power_on()

    def _serves(self, node: NodeId) -> bool:
        """With all of its groups."""
        host = self.hosts[node]
        for one in (host,) if host.side is None else (host, host.side):
            if one.daemon is None or one.daemon.core.phase is not Phase.ACTIVE:
                return False
            if not one.kernel.answers:
                return False
        return True

    def _term(self) -> int:
        return max(host.raft.member.term for host in self.hosts.values() if host.raft is not None)

    def _strike(self, fault: Fault) -> None:
        there = {fault.who, fault.other} <= {*self.nodes}
        if there and self.schedule.now < self.plan.storm_us:
            self.checks.say(f"*** {fault}")
            if fault.kind not in RAFT_DOES_NOT_CARE:
                self.disturbed()
            APPLY[fault.kind](self, fault)
            self._look_who_is_impeded()

    def _look_who_is_impeded(self) -> None:
        for host in self.hosts.values():
            if host.impeded:
                host.impeded_us = self.schedule.now

    def _heal(self) -> None:
        self.checks.say("*** everything heals")
        for undo in list(self._undo.values()):
            undo()
        self.moments.forget()
        self.devices.storm = False
        self.network.heal_all()
        newest = max(host.format for host in self.hosts.values())
        for host in self.hosts.values():
            if host.outdated:  # somebody installs what the others run
                host.format, host.outdated = newest, False
                host.kill()
            host.volume.crash_in = None
            host.kernel.held_up_us = 0
            host.trouble.failing.clear()
            host.wake()
            host.power_on()
            if host.daemon is not None and host.daemon.core.shutting_down:
                host.kill()
            host.start()
        for delay_s in (0, 1, 3, 10):  # whatever an operator or a reboot left under way
            self.schedule.after(delay_s * S, self._calm_down)
        if self.plan.services is not None:
            mended(self)

    def _calm_down(self) -> None:
        for host in self.hosts.values():
            host.power_on()
            host.start()
            if host.daemon is not None and host.daemon.core.shutting_down:
                host.kill()
                host.start()
        for host in self.hosts.values():  # whoever can be asked
            if self.second is not None and host.me in self.replicas:
                self.second.operator(host.me, "maintenance off", host.me)
            if self.plan.planned:
                unschedule(self, host.me)
            for node in self.replicas:
                self.operator(host, "maintenance off", node)

    def _unrest(self) -> str:
        """What is not as it should be when nothing is wrong any more."""
        daemons = [self.hosts[node].daemon for node in self.replicas]
        phases = [daemon.core.phase if daemon else None for daemon in daemons]
        if sorted(str(phase) for phase in phases) != sorted(
            map(str, (Phase.ACTIVE, Phase.STANDBY))
        ):
            return f"the replicas are {phases}"
        records = [self.record(host) for host in self.hosts.values()]
        if records[0].in_sync != frozenset(self.replicas):
            return f"in sync: {sorted(records[0].in_sync)}"
        if len({record.epoch for record in records}) > 1:
            return "the members know different epochs"
        if behind := self._left_behind(self.hosts.values()):
            return behind
        active = records[0].active
        if active is None or not self.hosts[active].kernel.answers:
            return "the active has no address"
        if self.second is None and not self.hosts[active].leads:
            return "the active does not lead Raft"
        wished = records[0].switchover is not None or records[0].maintenance
        if wished or records[0].resting_ms:
            return "an operator's wish, or a rest, is pending"
        of_second = self.second.unrest() if self.second is not None else ""
        return of_second or unrest(self.hosts[active], self.hosts.values())

    def _equal_in_the_end(self) -> None:
        """Nobody writes any more, and there is one history: of data, of Raft, of the record."""
        self.workload.running = False
        if self.second is not None:
            self.second.workload.running = False
        self.schedule.run_until(self.schedule.now + 2 * S)
        equal_journals(*(self.hosts[node].journal for node in self.replicas))
        if lost := self.checks.data.lost_now(self.replicas[0]):
            raise Violation("4 nothing lost", f"{len(lost)} acknowledged are nowhere")
        if self.second is not None:
            self.second.equal_in_the_end()
        members = [host.raft.member for host in self.hosts.values() if host.raft is not None]
        end_us = self.schedule.now + _SAME_ENTRY_WITHIN_US
        while len({member.applied_index for member in members}) > 1:
            if self.schedule.now >= end_us:
                raise Violation("8 peace", "the members never have applied the same entries")
            self.schedule.run_until(self.schedule.now + 1 * MS)
        equal_members(members)


def run(plan: Plan, *, tracing: bool = False) -> Result:
    """Runs a plan, and says what became of it. Leaves nothing behind."""
    result = Result(seed=plan.seed)
    begun = time.process_time()
    scratch = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
    directory = Path(tempfile.mkdtemp(prefix="simulate-", dir=scratch)) if plan.real_files else None
    before = (
        syncobj.SNAPSHOT_AFTER_ENTRIES,
        snapshot_transfer.CHUNK_BYTES,
        logging.root.manager.disable,
    )
    logging.disable(logging.CRITICAL)
    syncobj.SNAPSHOT_AFTER_ENTRIES = plan.snapshot_after  # type: ignore[misc]
    snapshot_transfer.CHUNK_BYTES = plan.chunk_bytes  # type: ignore[misc]
    gc.disable()
    world = World(plan, tracing=tracing, directory=directory)
    try:
        world.run()
    except Violation as error:
        result.violation, result.rule = str(error), error.rule
    except StoreCorrupt as error:  # no simulated disk damages anything: its own writer did
        result.violation, result.rule = f"R sound stores: {error}", "R sound stores"
    except Exception as error:  # noqa: BLE001 - whatever the code under test raises is a finding
        result.violation = f"{type(error).__name__}: {error}"
        result.rule = f"{RAISED}{type(error).__name__}"
        if tracing:
            world.checks.trace += traceback.format_exc().splitlines()
    finally:
        syncobj.SNAPSHOT_AFTER_ENTRIES, snapshot_transfer.CHUNK_BYTES = before[:2]  # type: ignore[misc]
        logging.disable(before[2])
        world.checks.tracing = False  # what follows is no part of the run
        for host in world.hosts.values():
            with suppress(Exception):
                host.kill()
        if directory is not None:
            shutil.rmtree(directory, ignore_errors=True)
        gc.enable()
    result.virtual_us = world.schedule.now
    result.events = world.schedule.events
    result.cpu_s = time.process_time() - begun
    result.takeovers = world.checks.takeovers
    result.acknowledgements = world.checks.acknowledgements
    result.faults = Counter(fault.kind for fault in plan.faults)
    result.notes = world.checks.notes
    result.transitions = world.checks.transitions
    result.trace = world.checks.trace
    if result.violation:
        result.trace.append(f"{world.schedule.now / S:11.6f} VIOLATION {result.violation}")
    return result
