"""The control process of a replica or a witness."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from staqraft import __version__
from staqraft.actions.announce import Announcer
from staqraft.actions.fence import FenceClient, FenceServicer
from staqraft.actions.fence_agent import FenceDevices
from staqraft.actions.note import LeaseNote
from staqraft.actions.services import ServiceManager
from staqraft.actions.vip import VipHolder
from staqraft.actions.watchdog import KernelDevice, Watchdog
from staqraft.api.admin import AdminServicer
from staqraft.api.data_admin import DataAdminServicer
from staqraft.api.forward import over_any_ring
from staqraft.api.server import AddToServer, ApiServers
from staqraft.config.loader import fingerprint
from staqraft.config.schema import Config
from staqraft.consensus.endpoint import RaftEndpoint
from staqraft.consensus.group import Group as RaftGroup
from staqraft.consensus.manners import SERVER_OPTIONS, keepalive
from staqraft.consensus.ticker import RaftTicker
from staqraft.daemon.absences import Absences
from staqraft.daemon.admin import NodeAdmin
from staqraft.daemon.announcing import announce
from staqraft.daemon.certificates import watch_certificates
from staqraft.daemon.clock import boottime_ms, wall_ms
from staqraft.daemon.conflicts import Conflicts
from staqraft.daemon.data_admin import NodeData
from staqraft.daemon.executor import Hands
from staqraft.daemon.feed import Feed, open_counters
from staqraft.daemon.fence_watch import FenceWatch
from staqraft.daemon.gates import open_gates, remove_stale_gates
from staqraft.daemon.health import Health
from staqraft.daemon.history import note, report_quarantine, report_scrub
from staqraft.daemon.loop import GroupLoop
from staqraft.daemon.maintaining import remind
from staqraft.daemon.telling import Telling
from staqraft.daemon.workers import DataWorker
from staqraft.errors import ActionError, Outdated, StaqraftError
from staqraft.metrics import Metrics, MetricsServer
from staqraft.model import Epoch, GroupId, NodeRole
from staqraft.sdnotify import Notifier
from staqraft.wire import tls
from staqraft.wire.v1.data_worker_pb2 import WorkerProblem

logger = logging.getLogger(__name__)

_HAND_OVER_MS = 15_000


class ControlNode:
    """Everything of one control process, wired."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._fingerprint = fingerprint(config)
        self._endpoint = RaftEndpoint()
        self.raft = RaftGroup(config, RaftTicker(), self._endpoint)
        self._fence = FenceClient(config)
        self._devices = FenceDevices(config.fencing)
        self._watchdog = _watchdog(config)
        is_replica = config.me.role is NodeRole.REPLICA
        self._gates = open_gates(config) if is_replica else {}
        self.loops = {g: self._loop(g) for g in sorted(config.groups)} if is_replica else {}
        self._metrics = Metrics(config.cluster, config.node, __version__)
        open_counters(self._metrics, config)
        self._fence_watch = FenceWatch(
            config.node,
            config.fencing if is_replica else {},
            self._devices,
            show=self._metrics.node.fence_device,
            note=partial(note, self.raft, config.node, "fence-device"),
        )
        self._health = self._looks() if is_replica else None
        self._admin = NodeAdmin(
            config,
            self.raft,
            self.loops,
            self._devices,
            fingerprint=self._fingerprint,
            forward=over_any_ring(config),
            problems=self._problems,
            add_health=self._health.add_to if self._health is not None else None,
            test_notifications=self._test_notifications,
            count_barrier=self._metrics.groups.barrier,
            now_ms=boottime_ms,
        )
        self._telling = Telling(
            config,
            lambda: self.raft.state.events,
            self._admin.status,
            count=self._metrics.node.notified,
            now_ms=boottime_ms,
        )
        self._servers = ApiServers(
            config,
            AdminServicer(config, self._admin, over_any_ring(config)),
            FenceServicer(config, self._let_go, self._fence),
            peers=[self._endpoint.add_to_server, *self._health_servicers()],
            data=DataAdminServicer(
                config,
                NodeData(config, self.raft, self.loops, verified=self._verified),
                over_any_ring(config),
            ),
            options=(*SERVER_OPTIONS, *keepalive(config.consensus.election_min_ms)),
        )
        self._notifier = Notifier()

    def _verified(self, group: GroupId, found: int, left: int) -> None:
        self._metrics.data.verified(group, found=found, unrepaired=left, ended_s=wall_ms() / 1000)

    def _looks(self) -> Health:
        return Health(
            self._config, self.raft, self.loops, fingerprint=self._fingerprint, now_ms=boottime_ms
        )

    def _health_servicers(self) -> list[AddToServer]:
        return [self._health.monitor.servicer.add_to_server] if self._health is not None else []

    async def _test_notifications(self, requested_by: str) -> list[tuple[str, str]]:
        return await self._telling.test(requested_by)

    def _problems(self) -> list[WorkerProblem]:
        """Whatever is wrong with this node apart from its groups."""
        return [
            *(WorkerProblem(code="listen", text=text) for text in self._servers.problems),
            *(WorkerProblem(code="fence-device", text=t) for t in self._fence_watch.problems),
        ]

    def _loop(self, group: GroupId) -> GroupLoop:
        settings = self._config.groups[group]
        # The announcer asks before each repetition whether the lease still runs: a loser that
        # announces would pull the clients' traffic to itself.
        loop: GroupLoop
        services = ServiceManager(
            group, settings.services, vips=[str(vip.address.ip) for vip in settings.vips]
        )

        def lease_runs() -> bool:
            return loop.state.lease.held(boottime_ms())

        loop = GroupLoop(
            self._config,
            group,
            Hands(
                raft=self.raft,
                data=DataWorker(self._config, group, now_ms=boottime_ms),
                vips=VipHolder(
                    group,
                    settings.vips,
                    gate=self._gates.get(group),
                    note=LeaseNote(self._config.run_dir / f"{group}.lease"),
                ),
                announcer=Announcer(lease_runs, refresh_s=settings.announce_every_ms / 1000),
                services=services,
                fence=self._fence,
                devices=self._devices,
                watchdog=self._watchdog,
                conflicts=Conflicts(group, settings.vips),
                absences=Absences(self._config.node, services.missing),
                stop_ms=sum(service.stop_timeout_ms for service in settings.services),
            ),
            now_ms=boottime_ms,
        )
        return loop

    async def _let_go(self, group: GroupId, epoch: Epoch) -> tuple[bool, str]:
        loop = self.loops.get(group)
        if loop is None:
            return False, f"{self._config.node} does not serve group {group}"
        return await loop.let_go(epoch)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then hand over what this node is active in, and end."""
        config = self._config
        tls.plain_ports.add(config.ports.metrics)  # a scraper is no stranger
        tls.expect_members(config.addresses)
        addresses = ["127.0.0.1", *(ring.address for ring in config.me.rings)]
        feed = Feed(
            self._metrics,
            self._notifier,
            self.raft,
            self.loops,
            status=self._admin.status,
            outboxes=self._telling.outboxes,
            show_health=self._health.show if self._health is not None else None,
            config=config,
        )
        work: list[Callable[[], Coroutine[Any, Any, None]]] = [
            feed.run,
            partial(watch_certificates, config.tls, self._metrics.node),
            MetricsServer(self._metrics, addresses, config.ports.metrics).run,
            self._fence_watch.run,
            partial(remind, self.raft, config),
            self._telling.run,
            *([self._health.run] if self._health is not None else []),
            partial(announce, self.raft, config.node, self._fingerprint),
            *(loop.hands.data.run for loop in self.loops.values()),
            *(loop.run for loop in self.loops.values()),
            *(partial(report_quarantine, self.raft, loop) for loop in self.loops.values()),
            *(partial(report_scrub, self.raft, loop) for loop in self.loops.values()),
            *(partial(self._watch_conflicts, loop) for loop in self.loops.values()),
            *(a.run for loop in self.loops.values() if (a := loop.hands.absences) is not None),
        ]
        outdated: Outdated | None = None
        try:
            holders = {group: loop.hands.vips for group, loop in self.loops.items()}
            await remove_stale_gates(config, self._gates, holders)
            await self._start_raft()
            await self._servers.start()
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(part()) for part in work]
                who = f"{config.me.role.value} {config.node} of {config.cluster}"
                logger.info("staqraftd %s runs: %s", __version__, who)
                self._notifier.ready(who)
                outdated = await self._end(stop)
                self._notifier.stopping()
                if outdated is None:
                    work_left = [loop.hand_over_before_stop for loop in self.loops.values()]
                    await asyncio.gather(*(hand_over(_HAND_OVER_MS) for hand_over in work_left))
                    await self._say_farewell()
                else:
                    logger.error("%s", outdated)
                    await asyncio.gather(*(loop.let_go_for_good() for loop in self.loops.values()))
                for task in running:
                    task.cancel()
        finally:
            await self.raft.stop()
            await self._servers.stop()
            for loop in self.loops.values():
                await loop.hands.vips.aclose()
                if loop.hands.conflicts is not None:
                    loop.hands.conflicts.close()
        if outdated is not None:
            raise outdated

    async def _watch_conflicts(self, loop: GroupLoop) -> None:
        if (conflicts := loop.hands.conflicts) is not None:
            found = partial(note, self.raft, self._config.node, "address-conflict")
            await conflicts.run(lambda: loop.state, found)

    async def _say_farewell(self) -> None:
        """Of two replicas without a witness: the other is not to turn this one off for its stop.

        Only when no group holds anything, and first of all no group has its right any more: the
        other may go on alone on the word of any.
        """
        loops = list(self.loops.values())
        if not loops or not all(loop.may_leave() for loop in loops):
            return
        try:
            for loop in loops:
                loop.give_up_right()
        except ActionError as error:
            logger.error("no farewell is said: %s", error)  # noqa: TRY400 - a sentence
            return
        await asyncio.gather(*(loop.say_farewell() for loop in loops))

    async def _start_raft(self) -> None:
        """Starts it; when this software is too old for it, nothing of an earlier life goes on."""
        try:
            await self.raft.start()
        except Outdated:
            for loop in self.loops.values():
                try:
                    await loop.hands.vips.drop()
                    await loop.hands.services.stop_all()
                except ActionError as error:
                    logger.error("group %s: %s", loop.group, error)  # noqa: TRY400 - a sentence
            raise

    async def _end(self, stop: asyncio.Event) -> Outdated | None:
        """Waits until the daemon is to end; why, if it has to."""
        asked = asyncio.create_task(stop.wait())
        forced = asyncio.create_task(self.raft.outdated())
        try:
            await asyncio.wait({asked, forced}, return_when=asyncio.FIRST_COMPLETED)
            return forced.result() if forced.done() else None
        finally:
            asked.cancel()
            forced.cancel()


def _watchdog(config: Config) -> Watchdog | None:
    dog = config.watchdog
    if dog is None:
        return None
    return Watchdog(KernelDevice(dog.device), dog.timeout_ms // 1000, config.groups)


async def _serve(config: Config) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await ControlNode(config).run(stop)


def main(config: Config) -> int:
    """Run the control process until it is told to stop; the exit code."""
    try:
        asyncio.run(_serve(config))
    except StaqraftError as error:
        return _failed(error)
    except BaseExceptionGroup as group:
        ours, rest = group.split(StaqraftError)
        if ours is None or rest is not None:
            raise
        return max(_failed(error) for error in _leaves(ours))
    return 0


def _failed(error: StaqraftError) -> int:
    logger.critical("%s", error)
    return error.exit_code


def _leaves(group: BaseExceptionGroup[StaqraftError]) -> list[StaqraftError]:
    found: list[StaqraftError] = []
    for error in group.exceptions:
        found.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found
