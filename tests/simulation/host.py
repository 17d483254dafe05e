"""A machine with everything on it: power, clocks, volumes, kernel, processes."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulation.daemon import GROUP, OTHER, Daemon
from simulation.disks import Crash, MemoryLog, MemorySnapshots, Volume
from simulation.hardware import Agents, Hardware, SimulatedDog, reset, switch_of
from simulation.health import Probes, probe
from simulation.kernel import FakeKernel
from simulation.lanes import Services, Trouble
from simulation.machine import Clock, Process
from simulation.network import Network
from simulation.pair import Memory, PairDaemon, PairOff
from simulation.raft import RaftNode
from simulation.schedule import MS, Schedule
from simulation.services import ServicePlan, Units
from simulation.trees import Journal
from simulation.upgrades import OLD, cannot_follow
from simulation.worker import Worker
from staqraft.actions.fence_plan import Verdict
from staqraft.actions.watchdog import Watchdog
from staqraft.consensus.log_store import LogStore
from staqraft.consensus.ready import Ready, Timing
from staqraft.consensus.snapshot_store import SnapshotStore
from staqraft.decision.state import Settings
from staqraft.errors import ActionError, Outdated, StoreFull
from staqraft.model import Admission, Epoch, NodeId

if TYPE_CHECKING:
    from simulation.checks import Checks
    from simulation.groups import Side

TurnOff = Callable[[NodeId, NodeId, Callable[[Verdict], None]], int]
Ask = Callable[[NodeId, NodeId, Epoch, Callable[[bool], None]], None]


class Host:
    """One machine. A witness has no settings, and neither daemon nor worker of a group."""

    def __init__(
        self,
        *,
        me: NodeId,
        members: tuple[NodeId, ...],
        heirs: Iterable[NodeId],
        settings: Settings | None,
        raft_timing: Timing,
        schedule: Schedule,
        clock: Clock,
        network: Network,
        rng: random.Random,
        checks: Checks,
        real_files: Path | None,
        worker_of_other: Callable[[NodeId], Worker | None],
        ask_loser: Ask,
        turn_off: TurnOff,
        hardware: Hardware,
        services: ServicePlan | None,
        pair_off: PairOff,
    ) -> None:
        self.me = me
        self.clock = clock
        gated = settings is not None and settings.gate
        self.kernel = FakeKernel(
            schedule, clock, rng, lambda: checks.address_taken(me), gated=gated
        )
        self.volume = Volume(rng)
        self.memory = Memory()
        self.journal = Journal()
        self.services = self._services_of(services)
        self.probes = Probes()
        self.trouble = Trouble(failing=set())
        self.impeded_us = -(10**12)  # when it was seen so last
        self.sync_ms = 1.0  # of the data volume
        self.format = OLD  # of the release that is installed
        self.outdated = False  # its release is too old for what the others say
        self.powered = False
        self.broken = False  # cannot be powered on
        self.raft: RaftNode | None = None
        self.daemon: Daemon | None = None
        self.worker: Worker | None = None
        self.control = Process(schedule)
        self.data = Process(schedule)
        self.control.kill()
        self.data.kill()
        self._lives = 0
        self._asleep_since: int | None = None
        self._members = members
        self._heirs = tuple(heirs)
        self._settings = settings
        self._timing = raft_timing
        self._schedule = schedule
        self._network = network
        self._rng = rng
        self._checks = checks
        self.side: Side | None = None  # of a second group
        self._real_files = real_files
        self._worker_of_other = worker_of_other
        self._ask_loser = ask_loser
        self.hardware = hardware
        self.dog = SimulatedDog(schedule, clock, lambda: reset(self))
        self.switch = switch_of(self)
        self.machine = Process(schedule)  # what runs on it besides the daemons
        self.agents = Agents(self)
        self._frozen = False
        self._pair_off = pair_off
        self._turn_off = turn_off
        network.dark.add(me)

    def _services_of(self, plan: ServicePlan | None) -> Services:
        if plan is None:
            return Services()

        def took_ms(usual_ms: float) -> float:
            slow_ms = self.trouble.slow_ms
            return usual_ms * (0.5 + self._rng.random()) + slow_ms * self._rng.random()

        return Units(plan, lambda: self.machine, took_ms)

    def say(self, text: str) -> None:
        self._checks.say(f"{self.me}: {text}")

    def later(self, delay_us: int, action: Callable[[], None]) -> None:
        """By somebody else: it happens whatever becomes of this host."""
        self._schedule.after(delay_us, action)

    # --- power ------------------------------------------------------------------------------------

    def power_on(self) -> None:
        if not self.powered and not self.broken:
            self.powered = True
            self.machine = Process(self._schedule)
            self._network.dark.discard(self.me)
            self._network.healed()
            self.start()

    def power_off(self) -> None:
        """Everything that was not synced is gone, and nobody is told."""
        if not self.powered:
            return
        self._checks.say(f"{self.me}: no power")
        self.powered = False
        self._network.dark.add(self.me)
        self._end()
        self._end_data()
        self.machine.kill()
        self.dog.close()
        if self._frozen:
            self._frozen = False
            self.clock.thaw()
            self._tell_judges(lambda checks: checks.thawed(self.me))
        self._asleep_since = None
        self.volume.power_off()
        self.volume.crash_in = None
        self.journal.power_off(self._rng.random())
        self.kernel.power_off()
        self.services.stop()
        self.memory.right = None
        if self.side is not None:
            self.side.power_off(self._rng.random())

    def sleep(self) -> None:
        """The whole machine stands still; CLOCK_BOOTTIME goes on."""
        if self.powered and self._asleep_since is None:
            self._checks.say(f"{self.me}: sleeps")
            self._asleep_since = self._schedule.now
            self._tell_judges(lambda checks: checks.slept(self.me, 1 << 60))
            self._network.dark.add(self.me)
            self.dog.stands = not self.hardware.outside
            self._stop_both()

    def freeze(self) -> None:
        """A hypervisor pauses it: as asleep, and all its clocks stand still."""
        if self.powered and self._asleep_since is None:
            self.sleep()
            self._frozen = True
            self.clock.freeze()
            self._tell_judges(lambda checks: checks.froze(self.me))

    @property
    def impeded(self) -> bool:
        """It cannot let go as it should."""
        return self.hampered or self.services.cling

    @property
    def hampered(self) -> bool:
        """Something but its services keeps it from doing what it is told."""
        trouble, kernel = self.trouble, self.kernel
        refuses = kernel.broken or kernel.stuck or kernel.held_up_us or trouble.failing
        return bool(refuses or trouble.slow_ms or not self.control.runs)

    def _tell_judges(self, fact: Callable[[Checks], None]) -> None:
        fact(self._checks)
        if self.side is not None:
            fact(self.side.checks)

    def judge_reset(self) -> None:
        self._checks.was_reset(self)

    def _stop_both(self) -> None:
        for process in (self.control, self.data, self.machine):
            process.stop()
        self.suspect_sessions()

    def wake(self) -> None:
        if self._asleep_since is None:
            return
        self._checks.say(f"{self.me}: wakes")
        slept, self._asleep_since = self._schedule.now - self._asleep_since, None
        self._network.dark.discard(self.me)
        if self._frozen:
            self._frozen = False
            self.clock.thaw()
            self._tell_judges(lambda checks: checks.thawed(self.me))
        else:
            self.clock.slept(slept)
        self.kernel.slept(slept)
        if self.side is not None:
            self.side.kernel.slept(slept)
        if not self.hardware.outside:
            self.dog.stood_still(slept)
        self._tell_judges(lambda checks: checks.slept(self.me, self._schedule.now))
        self._tell_judges(lambda checks: checks.woke(self.me))
        self._network.healed()
        self.machine.resume()
        self.data.resume()
        self.control.resume()

    @property
    def hindered(self) -> bool:
        """Its Raft member cannot do what it should."""
        slow = self.volume.slow_us > 0
        cannot = self._cannot_write or self.outdated
        return slow or cannot or not self.control.alive or self.control.stopped

    @property
    def _cannot_write(self) -> bool:
        return self.volume.full and self._real_files is None  # real files know nothing of it

    @property
    def leads(self) -> bool:
        """Its Raft member leads, and is able to, if slowly."""
        able = self.control.alive and not self.control.stopped and not self._cannot_write
        return able and self.raft is not None and self.raft.member.leads

    def suspect_sessions(self) -> None:
        """Who talks to it will find it silent."""
        sessions = list(self.raft.sessions.values()) if self.raft else []
        if self.worker is not None and self.worker.session is not None:
            sessions.append(self.worker.session)
        if self.side is not None:
            sessions += self.side.sessions()
        for session in sessions:
            session.suspect()

    # --- the control process ----------------------------------------------------------------------

    def start(self) -> None:
        """systemd starts staqraftd."""
        if not self.powered or self.control.alive or self.outdated:
            return
        self._checks.say(f"{self.me}: staqraftd starts")
        self._lives += 1
        self.control = Process(self._schedule)
        if self._asleep_since is not None:
            self.control.stop()
        if self._settings is not None and not self.data.alive:
            self.start_data()
        self.volume.waited_us = 0
        try:
            self._start_raft()
        except Crash:
            self._torn()
            return
        except Outdated as error:
            self._too_old(str(error))
            return
        except StoreFull:  # it waits for space, and tries again
            self.control.kill()
            self._schedule.after(1000 * MS, self.start)
            return
        if self._settings is not None:
            self._start_daemon(self._settings)

    def _too_old(self, why: str) -> None:
        """Nothing of an earlier life goes on, and nobody starts it again before it is upgraded."""
        self._checks.say(f"{self.me}: {why}")
        self.outdated = True
        self.judge_outdated()
        self.raft = None
        with suppress(ActionError):  # it ends by itself
            if self.kernel.gated:
                self.kernel.admit(Admission.CLOSED, 0)
            for address in self.kernel.addresses():
                self.kernel.remove(address)
        self.services.stop()
        self.kill()

    def judge_outdated(self) -> None:
        self._checks.note("stopped, being of an older release")
        self._checks.releases.outdated(self.me)

    def _start_raft(self) -> None:
        self.raft = RaftNode(
            me=self.me,
            members=self._members,
            heirs=self._heirs,
            timing=self._timing,
            stores=self._stores,
            volume=self.volume,
            clock=self.clock,
            process=self.control,
            schedule=self._schedule,
            rng=self._rng,
            checks=self._checks,
            deliver=self._deliver,
            crash=self._torn,
            format_=self.format,
            cannot_follow=lambda: cannot_follow(self),
        )

    def _start_daemon(self, settings: Settings) -> None:
        assert self.raft is not None
        kind: Any = Daemon
        if settings.pair:
            kind = partial(PairDaemon, memory=self.memory, pair_off=self._pair_off)
        watchdog = self._watchdog()
        self.daemon = kind(
            settings=settings,
            process=self.control,
            clock=self.clock,
            kernel=self.kernel,
            raft=self.raft,
            worker_of=lambda: self.worker,
            rng=self._rng,
            checks=self._checks,
            trouble=self.trouble,
            services=self.services,
            ask_loser=lambda loser, epoch, answer: self._ask_loser(self.me, loser, epoch, answer),
            turn_off=lambda loser, done: self._turn_off(self.me, loser, done),
            stop_agent=self.agents.stop,
            watchdog=watchdog,
        )
        other = self._checks.hosts[settings.peers[0]]
        self.daemon.probe = lambda: probe(
            self, other, lambda: self._network.ring_between(self.me, other.me)
        )
        if self.side is not None:
            self.side.start(watchdog)

    def _watchdog(self) -> Watchdog | None:
        if not self.hardware.watchdog_s:
            return None
        groups = [GROUP] if self.side is None else [GROUP, OTHER]
        return Watchdog(self.dog, self.hardware.watchdog_s, groups, clock=self.kernel.clock_ms)

    def _stores(self) -> tuple[LogStore, SnapshotStore]:
        if self._real_files is None:
            return MemoryLog(self.volume, self.me), MemorySnapshots(self.volume)
        home = self._real_files / self.me
        log = LogStore.open(home / "log", cluster="simulated", node=self.me)
        return log, SnapshotStore(home / "snapshot", cluster="simulated")

    def _deliver(self, ready: Ready) -> None:
        if self.daemon is not None:
            self.daemon.raft_said(ready)
        if self.side is not None:
            self.side.deliver(ready)

    def _torn(self) -> None:
        """The power fails in the middle of a write."""
        self.power_off()
        self._schedule.after(int((0.3 + 3 * self._rng.random()) * 1000 * MS), self.power_on)

    def forget_raft(self) -> None:
        """Somebody moved its Raft directory away."""
        self.volume.forget()
        if self._real_files is not None:
            shutil.rmtree(self._real_files / self.me, ignore_errors=True)

    def kill(self) -> None:
        """The control process is gone, and with it the worker's; the kernel goes on."""
        if self.control.alive:
            self._checks.say(f"{self.me}: staqraftd is killed")
            self._end()
            self._end_data()

    def _end(self) -> None:
        self.control.kill()
        if self.daemon is not None:
            self.daemon.close()
        self.dog.left_behind()
        if self.raft is not None:
            for session in list(self.raft.sessions.values()):
                session.end(self.me, tell=False)
            if self._real_files is not None:
                self.raft.member._log.close()
        self.raft = None
        self.daemon = None
        if self.side is not None:
            self.side.end()

    # --- the data worker --------------------------------------------------------------------------

    def start_data(self) -> None:
        if self._settings is None or self.data.alive or not self.powered:
            return
        self.data = Process(self._schedule)
        if self._asleep_since is not None:
            self.data.stop()
        peer = self._settings.peers[0]
        self.worker = Worker(
            me=self.me,
            group=GROUP,
            journal=self.journal,
            process=self.data,
            network=self._network,
            checks=self._checks,
            peer_of=lambda: self._worker_of_other(peer),
            sync_us=lambda: int(self.sync_ms * MS * (0.5 + self._rng.random())),
        )
        if self.side is not None:
            self.side.start_data()

    def kill_data(self) -> None:
        """The worker's processes are killed; the control process starts them and tells the role."""
        before = self.worker
        if before is None:
            return
        role = before.assignment
        of_side = self.side.role() if self.side is not None else None
        self._checks.say(f"{self.me}: the data worker is killed")
        self._end_data()

        def again() -> None:
            if self.data.alive:
                return
            self.start_data()
            if self.worker is not None and not self.worker.assign(role):
                self.daemon.capture_broken = True  # type: ignore[union-attr]  # its process runs this
            if self.side is not None:
                self.side.assign(of_side)

        self.control.after(int((0.2 + self._rng.random()) * 1000 * MS), again)

    def _end_data(self) -> None:
        self.data.kill()
        if self.side is not None:
            self.side.end_data()
        if self.worker is not None and self.worker.session is not None:
            self.worker.session.end(self.me, tell=False)
        self.worker = None
