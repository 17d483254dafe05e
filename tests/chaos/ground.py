"""What faults are done to: a lab with a cluster, and who is who in it at the moment."""

from __future__ import annotations

import os
import signal
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import grpc

from chaos import clocks, setting
from chaos.history import Op, Said, Violation
from chaos.users import Delivered
from lab import linux, strip
from lab.cluster import DAEMON, Cluster
from lab.errors import LabError
from lab.lab import Lab
from lab.layout import REPLICAS, other
from lab.linux import boottime
from lab.processes import command_line, descendants, wait_until
from lab.views import View, Views, admin
from staqraft.api.concerns import concerns
from staqraft.wire.v1 import admin_pb2

SWITCHOVER_MS = 6_000
ANSWER_S = 3.0
FORGET_S = 10.0
STEADY_S = 30.0  # `health.steady`, unless a run is told another
FORGOTTEN = 3.2  # times that: then what was is forgotten
MAY_STAY = frozenset({"service-failed"})
LOOK_EVERY_S = 10.0  # whether a host is off
FILLER = "chaos.filler"  # at the top of a disk, which no host mounts for its users


def send(pids: Sequence[int], number: signal.Signals) -> int:
    """The signal to each that is still there; to how many."""
    sent = 0
    for pid in pids:
        with suppress(ProcessLookupError):  # it ended by itself, or by what else is going on
            os.kill(pid, number)
            sent += 1
    return sent


def _runs(worker: str, words: Sequence[str]) -> bool:
    """Whether a process of a daemon is the one of this name (PURE)."""
    return worker in words or any(word.endswith(f"/{worker}.py") for word in words)


def told(node: str, status: admin_pb2.GetStatusResponse) -> list[str]:
    """What a member's status says is wrong (PURE)."""
    return [f"{node} says: {one.text}" for one in concerns(status) if one.code not in MAY_STAY]


@dataclass(slots=True, kw_only=True)
class Ground:
    """`active` is who was when all was well for the last time."""

    lab: Lab
    cluster: Cluster
    views: Views
    active: str = "a"
    changes: list[Op] = field(default_factory=list)  # switchovers that were reported as done
    _operators: ThreadPoolExecutor = field(default_factory=ThreadPoolExecutor)
    _asking: list[Future[None]] = field(default_factory=list)
    _frozen: set[tuple[str, str]] = field(default_factory=set)
    shifts: dict[str, clocks.Shifts] = field(default_factory=lambda: defaultdict(list))
    refused: list[tuple[float, str]] = field(default_factory=list)  # switchovers: when, why
    found: list[Violation] = field(default_factory=list)  # by faults that wait for an effect
    delivered: list[Delivered] = field(default_factory=list)  # by users who were busy
    boots: list[tuple[str, float]] = field(default_factory=list)  # who got power again, and when
    calm_since: float = 0.0  # when the last fault was healed (CLOCK_BOOTTIME)
    steady_s: float = STEADY_S

    def host(self, role: str) -> str:
        """Roles are drawn, hosts are hit."""
        return {"active": self.active, "standby": other(self.active)}.get(role, role)

    def processes(self, host: str, what: str) -> list[int]:
        """The pids, as seen from here: of the host, the daemon (with its workers), staqraftd
        (alone), trees, stream, disk_probe, nginx, or mailer.
        """
        if not self.lab.has_power(host):
            return []
        with suppress(LabError, OSError):  # its power went while it was asked
            return self._processes(host, what)
        return []

    def _processes(self, host: str, what: str) -> list[int]:
        if what == "host":
            return descendants(self.lab.init(host).pid)
        if what in setting.PROCESSES:
            return [
                pid
                for pid in descendants(self.lab.init(host).pid)
                if setting.PROCESSES[what] in " ".join(command_line(pid))
            ]
        unit = self.lab.unit_processes(host, DAEMON)
        match what:
            case "staqraftd":
                return unit[:1]
            case "daemon":
                return unit
            case worker:
                return [pid for pid in unit if _runs(worker, command_line(pid))]

    # --- what faults do to it -----------------------------------------------------------------

    def require_power(self, host: str) -> None:
        """LabError if there is nothing that a fault could strike."""
        if not self.lab.has_power(host):
            raise LabError(f"{host} has no power")

    def power_off(self, host: str) -> None:
        """LabError if it has no power: the other replica's device may have been quicker."""
        self.require_power(host)
        try:
            self.lab.power_off(host)
        except (LabError, OSError):
            if self.lab.has_power(host):
                raise

    def power_on(self, host: str) -> None:
        """If it has none."""
        if not self.lab.has_power(host):
            self.boots.append((host, boottime()))
            self.lab.power_on(host)

    def remove_filler(self, host: str, volume: str) -> None:
        """The volume has room again; after a reboot, too. LabError if it hangs."""
        self.check_answers(host, volume)
        if self.lab.has_power(host):
            (self.lab.volume(host, volume) / FILLER).unlink(missing_ok=True)

    def set_stubborn(self, host: str, mood: str) -> None:
        """Whether nginx of a host can be stopped: see `stop_service`."""
        setting.set_stubborn(self.lab, host, mood)

    def set_fence_mood(self, host: str, mood: str) -> None:
        """What the strip does when it is to turn this host off: see `lab.strip`."""
        strip.set_mood(self.lab.directory, host, mood)

    def step_clock(self, host: str, offset_s: float) -> None:
        """The host's wall clock is so far from the machine's from now on."""
        self.shifts[host].append((boottime(), offset_s))
        clocks.set_offset(self.lab, host, offset_s)

    def calm(self) -> None:
        """Undoes whatever faults left behind that healed while others went on; all hosts run."""
        for host in self.lab.hosts:
            if self.lab.has_power(host):
                for volume in self.lab.volumes(host):
                    self.thaw(host, volume)
                    self.remove_filler(host, volume)
                send(self.processes(host, "host"), signal.SIGCONT)
                if host in self.lab.members:  # who was told to stop while it could not hear
                    self.lab.ask_init(host, op="start", unit=DAEMON)
            if host in REPLICAS and self.lab.has_power(host):
                self.lab.run(host, ["mount", "-o", "remount,rw", "/srv"], check=False)
        self.lab.network.restore()
        self.power_all_on()
        self.calm_since = boottime()

    def power_all_on(self) -> None:
        """As people do who find a host off: a fault cut its power, or the other's device did."""
        for host in self.lab.hosts:
            self.power_on(host)

    def wait_well(self, within_s: float) -> View:
        """Until all is well, however it got there; the view of who serves. LabError if never."""
        deadline = boottime() + within_s
        while True:
            self.power_all_on()
            left_s = deadline - boottime()
            try:
                return self.views.wait_protected(timeout_s=min(LOOK_EVERY_S, left_s))
            except LabError as error:
                if left_s <= LOOK_EVERY_S:
                    raise LabError(f"not well within {within_s:.0f} s: {error}") from error

    def complaints(self) -> list[str]:
        """All that any member says is wrong, as in `staqctl status`, but for services.

        A program that looks at disks is started again 5 s after it ended: until then nothing can
        strike it, and a status has no reason yet to complain.
        """
        found = [
            f"{host} has no program that looks at its disks"
            for host in REPLICAS
            if not self.processes(host, "disk_probe")
        ]
        for node in self.lab.members:
            try:
                with admin(self.lab, node) as daemon:
                    status = daemon.GetStatus(admin_pb2.GetStatusRequest(), timeout=ANSWER_S)
            except (grpc.RpcError, LabError):
                found.append(f"{node} does not answer")
                continue
            found += told(node, status)
        return found

    def forget_failures(self) -> None:
        """As if hours had passed, or as an operator does: `staqctl service clear`.

        A group that failed services moved three times within an hour stays where it is, and a
        service is restarted three times in ten minutes: a run would meet both limits only because
        its faults are so near to each other. LabError if the active does not do it.
        """
        try:
            with admin(self.lab, self.active) as daemon:
                daemon.ClearServiceFailures(
                    admin_pb2.ClearServiceFailuresRequest(requested_by="chaos"), timeout=FORGET_S
                )
        except grpc.RpcError as error:
            why = f"{error.code().name}: {error.details()}"
            raise LabError(f"service failures of {self.active} are not cleared: {why}") from error

    def wait_content(self, within_s: float) -> None:
        """Until nobody complains any more. LabError with what is still said to be wrong."""
        found: list[str] = []

        def content() -> bool:
            found[:] = self.complaints()
            return not found

        try:
            wait_until(content, within_s, "no status complains", every_s=0.25)
        except LabError as error:
            raise LabError(f"{error}: {'; '.join(found)}") from None

    def freeze(self, host: str, volume: str) -> None:
        """Whoever writes to the volume waits from now on. OSError if it is frozen already."""
        with self._opened(host, volume) as descriptor:
            self._frozen.add((host, volume))
            linux.freeze(descriptor)

    def thaw(self, host: str, volume: str) -> None:
        """Undoes it; without power there is nothing to undo."""
        if self.lab.has_power(host):
            with self._opened(host, volume) as descriptor:
                linux.thaw(descriptor)
        self._frozen.discard((host, volume))

    def check_answers(self, host: str, volume: str) -> None:
        """LabError if the volume hangs: whoever touches it would, too, and that would be us."""
        if (host, volume) in self._frozen:
            raise LabError(f"the {volume} disk of {host} hangs at the moment")

    @contextmanager
    def _opened(self, host: str, volume: str) -> Iterator[int]:
        """Not for long: what is open keeps the disk of a host that lost its power."""
        descriptor = os.open(self.lab.volume(host, volume), os.O_RDONLY)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def hold(self, seconds: float) -> None:
        """A fault lasts; nothing is waited for."""
        threading.Event().wait(seconds)

    def wait_steady(self) -> None:
        """Until no replica is held to be worse for what was wrong with it a while ago.

        Who had a bad disk or no uplink is not chosen before it has been well for `health.steady`
        (30 s by default), and for twice as long if it comes again within three times that.
        """
        self.hold(max(0.0, self.calm_since + FORGOTTEN * self.steady_s - boottime()))

    def ask_switchover(self) -> None:
        """As an operator at a bad moment; what comes of it is for the checks to judge."""
        self._asking.append(self._operators.submit(self._switch_over, self.active))

    def join_operators(self) -> None:
        """Until each has got an answer, or given up."""
        asking, self._asking = self._asking, []
        for one in asking:
            one.result()

    def _switch_over(self, asked: str) -> None:
        begun = boottime()
        request = admin_pb2.SwitchOverRequest(
            target=other(asked), reason="chaos", timeout_ms=SWITCHOVER_MS
        )
        try:
            with admin(self.lab, asked) as daemon:
                steps = list(daemon.SwitchOver(request, timeout=2 * SWITCHOVER_MS / 1000))
        except LabError as error:
            self.refused.append((boottime(), str(error)))
            return
        except grpc.RpcError as error:  # refused, or cut off in the middle: nothing was promised
            self.refused.append((boottime(), f"{error.code().name}: {error.details()}"))
            return
        if not steps or not steps[-1].succeeded:
            self.refused.append((boottime(), steps[-1].step if steps else "no word"))
        else:
            target = other(asked)
            self.changes.append(
                Op(
                    said=Said.CHANGE,
                    node=target,
                    active=target,
                    epoch=steps[-1].epoch,
                    begun=begun,
                    ended=boottime(),
                    how="switchover",
                )
            )
