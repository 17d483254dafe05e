"""What must be true of services, besides what is true of every group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from simulation.schedule import MS, S
from simulation.services import Units
from simulation.violation import Violation
from staqraft.decision.phases import Phase
from staqraft.model import FenceRung, GroupRecord, NodeId

if TYPE_CHECKING:
    from simulation.host import Host

_TOGETHER_US: Final = 10 * S  # two run a service at once, and both could act
_OVERDUE_US: Final = 8 * S  # a machine whose watchdog stood still with it has that left
_DOWN_US: Final = 25 * S  # nothing else is wrong, and another could run it
_DRIFT: Final = 0.95  # of a window, by the fastest clock
_WAITS: Final = frozenset({Phase.STARTUP, Phase.RESUMING})  # it does not know yet what it is


class ServiceChecks:
    """Told once of each change of the record, and looks at the hosts now and then."""

    def __init__(self, hosts: Mapping[NodeId, Host]) -> None:
        self._hosts = hosts
        self._moves: dict[int, int] = {}  # log index: when it was asked for
        self._together_us: int | None = None  # since when
        self._down_us: int | None = None
        self._overdue_us: dict[NodeId, int | None] = {}

    def changed(self, now: int, old: GroupRecord, new: GroupRecord) -> None:
        """A command took effect."""
        if new.released and not old.released and new.active is not None:
            self.nothing_runs(new.active, "says that it released")
        if new.moves != old.moves:
            self._moved(now, old, new)
        if new.cleared_index != old.cleared_index:
            self._moves.clear()

    def nothing_runs(self, node: NodeId, says: str) -> None:
        """It says that it let go."""
        if self._hosts[node].services.any_runs:
            raise Violation("15 services", f"{node} {says}, and its services run")

    def _moved(self, now: int, old: GroupRecord, new: GroupRecord) -> None:
        pending = old.switchover
        if pending is not None and new.switchover is None and new.epoch == old.epoch:
            self._moves.pop(pending.log_index, None)  # what did not come about is no move
        for move in new.moves:
            if move not in old.moves:
                self._moves[move] = now
        recent, most = self._recent(now)
        if recent > most:
            raise Violation("15 services", f"the group moves to and fro, {recent} times so soon")

    def _recent(self, now: int) -> tuple[int, int]:
        """How many moves still count, and how many may."""
        services = next(iter(self._hosts.values())).services
        if not isinstance(services, Units):
            return 0, 0
        window_us = services.plan.moves_window_ms * MS * _DRIFT
        recent = sum(now - at < window_us for at in self._moves.values())
        return recent, services.plan.moves_most

    def moved_lately(self, now: int) -> bool:
        """The group moved because of a failed service, and that still counts."""
        return self._recent(now)[0] > 0

    def look(self, now: int, *, calm: bool) -> None:
        """`calm`: no link, no disk and no process had anything for a while."""
        hosts = list(self._hosts.values())
        self._resets(now)
        together = all(host.services.any_runs and _acts(host) for host in hosts)
        together = together and not any(host.impeded for host in hosts)
        self._together_us = _since(self._together_us, now, holds=together)
        if self._together_us is not None and now - self._together_us > _TOGETHER_US:
            names = " and ".join(self._hosts)
            raise Violation("15 services", f"they run on {names} at once, and stay so")
        down = calm and self._should_be_served(now) and not any(map(_serves, hosts))
        self._down_us = _since(self._down_us, now, holds=down)
        if self._down_us is not None and now - self._down_us > _DOWN_US:
            raise Violation("15 services", "one does not run, and the group does not move")

    def _resets(self, now: int) -> None:
        """Whose services do not stop in their time is reset, whatever else is well there."""
        for node, host in self._hosts.items():
            daemon = host.daemon
            dog = daemon._watchdog if daemon is not None else None
            late = False
            if daemon is not None and dog is not None and host.control.runs:
                late = any(dog._until[group] < daemon.now_ms for group in dog._leaving)
            since_us = self._overdue_us[node] = _since(self._overdue_us.get(node), now, holds=late)
            if since_us is not None and now - since_us > _OVERDUE_US:
                raise Violation("11 reset", f"{node} cannot stop its services, and is not reset")

    def _should_be_served(self, now: int) -> bool:
        """Nothing is wrong but services, and those of one host are well."""
        flawless = 0
        for host in self._hosts.values():
            units, daemon = host.services, host.daemon
            if daemon is None or not isinstance(units, Units) or not _acts(host):
                return False
            if host.trouble.claimed_us is not None:
                return False
            if (
                host.hampered
                or host.probes.disk_us is not None
                or host.probes.uplink_us is not None
            ):
                return False
            record, settings = daemon.core.record, daemon.core.settings
            if FenceRung.LEASE not in settings.fenced_by:
                return False  # a device that fails keeps what cannot let go
            if record.maintenance or len(record.in_sync) < len(self._hosts):
                return False
            if not all(service.failover for service in units.plan.services):
                return False
            flawless += units.flawless
        recent, most = self._recent(now)
        return flawless > 0 and recent < most


def _acts(host: Host) -> bool:
    """Its daemon runs, and knows what it is."""
    daemon = host.daemon
    return daemon is not None and host.control.runs and daemon.core.phase not in _WAITS


def _serves(host: Host) -> bool:
    """Clients of all services are answered here."""
    units, daemon = host.services, host.daemon
    active = daemon is not None and daemon.core.phase is Phase.ACTIVE
    return active and isinstance(units, Units) and units.well and host.kernel.answers


def _since(known: int | None, now: int, *, holds: bool) -> int | None:
    if not holds:
        return None
    return now if known is None else known
