"""The control process of a witness for many clusters.

    directory -> Clusters -> Membership, one a cluster   (config.clusters, membership)
    one port  -> Front    -> ClusterServer               (api.front, api.cluster_server)
    one Raft thread, one admin socket, one metrics port

What answers on the port and the admin socket needs gRPC, and is there as soon as somebody comes
(`witness_doors`): the witness itself dials its peers and speaks with them without it.

The clusters know nothing of each other. What is wrong with one of them is said in the log, by
'staqctl clusters' and in the metrics, and the others go on.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from staqraft import __version__
from staqraft.api.concerns import concerns
from staqraft.api.front import Front
from staqraft.api.late import LateSocket
from staqraft.api.sockets import private_directory
from staqraft.config.clusters import Clusters, nothing_in, read_clusters
from staqraft.config.schema import Config
from staqraft.consensus.ticker import RaftTicker
from staqraft.daemon.certificates import LOOK_S
from staqraft.daemon.figures import maintenance_ms
from staqraft.daemon.membership import Membership
from staqraft.daemon.witness_metrics import ClusterSample, WitnessMetrics
from staqraft.errors import ConfigError, StaqraftError
from staqraft.logs import Once, log_once
from staqraft.metrics import MetricsServer
from staqraft.names import cluster_of
from staqraft.sdnotify import Notifier
from staqraft.wire.v1 import admin_pb2

if TYPE_CHECKING:
    from staqraft.api.admin import AdminServicer
    from staqraft.api.cluster_server import ClusterServer
    from staqraft.api.many import ManySocket

logger = logging.getLogger(__name__)

RETRY_S: Final = 30.0
ALIVE_S: Final = 1.0
AT_ONCE: Final = 16  # logs that are synced side by side
TOGETHER_S: Final = 0.02  # far below any election timeout of a shared pair


class _Seat:
    """A membership with what runs for it."""

    def __init__(self, membership: Membership) -> None:
        self.membership = membership
        self.server: ClusterServer | None = None
        name = f"cluster {membership.config.cluster}"
        self.task = asyncio.create_task(membership.run(), name=name)

    async def socket(self) -> Path:
        if self.server is None:
            self.server = self.membership.server()
        return await self.server.socket()

    async def leave(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        if self.server is not None:
            await self.server.stop()


class SharedWitness:
    """Everything of one process, wired."""

    def __init__(self, directory: Path, clusters: Clusters) -> None:
        """`clusters`: what `directory` holds now, at least one of them usable."""
        assert clusters.shared is not None, "there is a usable cluster"
        self._directory = directory
        self._shared = clusters.shared
        self._sockets = self._shared.run_dir / "clusters"
        self._ticker = RaftTicker(together_s=TOGETHER_S, at_once=AT_ONCE)
        self._seats: dict[str, _Seat] = {}
        self._left_out: Mapping[Path, tuple[str, ...]] = {}
        self._said = Once(capacity=4096)
        self._first = clusters
        self._admin: ManySocket | None = None
        self._admin_starts = asyncio.Lock()
        self._front = Front(self._shared.control_port, self._route)
        self._notifier = Notifier()
        self.rescan = asyncio.Event()
        self._taken_up = asyncio.Event()
        self.metrics = WitnessMetrics(__version__, self._samples, lambda: self._ticker.lateness)

    async def run(self, stop: asyncio.Event) -> None:
        """Serves until `stop` is set."""
        private_directory(self._sockets.parent)
        private_directory(self._sockets)
        door = LateSocket(self._shared.admin_socket, self._admin_socket)
        await door.start()
        try:
            await self._take_up(self._first)
            async with asyncio.TaskGroup() as tasks:
                running = [
                    tasks.create_task(work)
                    for work in (
                        self._front.run(),
                        MetricsServer(
                            self.metrics, self._addresses, self._shared.metrics_port
                        ).run(),
                        self._rescan_when_asked(),
                        self._report_alive(),
                        self._watch_certificates(),
                    )
                ]
                who = f"the witness of {len(self._seats)} clusters"
                logger.info("staqraftd %s runs: %s", __version__, who)
                self._notifier.ready(who)
                await stop.wait()
                self._notifier.stopping()
                for task in running:
                    task.cancel()
        finally:
            await asyncio.gather(*(seat.leave() for seat in self._seats.values()))
            await door.stop()
            if self._admin is not None:
                await self._admin.stop()

    # --- what the directory says ----------------------------------------------------------------

    async def _rescan_when_asked(self) -> None:
        """On SIGHUP; and what was left out is tried again by and by, its cause may have passed."""
        while True:
            try:
                async with asyncio.timeout(RETRY_S if self._left_out else None):
                    await self.rescan.wait()
            except TimeoutError:
                pass  # those that were left out are tried again
            asked = self.rescan.is_set()
            self.rescan.clear()
            try:
                clusters = await asyncio.to_thread(
                    read_clusters, self._directory, shared=self._shared
                )
            except ConfigError as error:
                logger.error("the clusters stay as they are: %s", error)  # noqa: TRY400
                continue
            await self._take_up(clusters, asked=asked)

    async def _take_up(self, clusters: Clusters, *, asked: bool = True) -> None:
        """Makes the process serve `clusters`; those that did not change are not touched."""
        self._left_out = clusters.left_out
        running = {seat.membership.config.source: seat for seat in self._seats.values()}
        for source, problems in clusters.left_out.items():
            self._say_left_out(source, problems, running.get(source))
        kept = {n for n, s in self._seats.items() if s.membership.config.source in self._left_out}
        gone = set(self._seats) - set(clusters.usable) - kept
        changed = {
            name
            for name, config in clusters.usable.items()
            if name in self._seats and self._seats[name].membership.config != config
        }
        await asyncio.gather(*(self._seats.pop(name).leave() for name in gone | changed))
        for name in gone:
            logger.warning("cluster %s is served no more: its configuration is gone", name)
        for name, config in clusters.usable.items():
            if name not in self._seats:
                self._seats[name] = _Seat(Membership(config, self._ticker, self._sockets))
                logger.info("cluster %s is served", name, extra={"file": config.source})
            self._seats[name].membership.problems = ()
        if asked:
            for warning in clusters.warnings:
                log_once(self._said, warning, logger, logging.WARNING, warning)
        self._front.listen_on(self._ring_addresses())
        self._taken_up.set()

    def _say_left_out(self, source: Path, problems: tuple[str, ...], running: _Seat | None) -> None:
        what = f"{source} is not used"
        if running is not None:
            running.membership.problems = problems
            what = f"cluster {running.membership.config.cluster} stays as it was: {what}"
        text = f"{what}: {'; '.join(problems)}"
        log_once(self._said, text, logger, logging.ERROR, text)

    @property
    def _configs(self) -> list[Config]:
        return [seat.membership.config for seat in self._seats.values()]

    def _ring_addresses(self) -> set[str]:
        return {ring.address for config in self._configs for ring in config.me.rings}

    @property
    def _addresses(self) -> list[str]:
        return ["127.0.0.1", *sorted(self._ring_addresses())]

    @property
    def listening(self) -> bool:
        """Whether it answers wherever it is to."""
        return self._front.listening

    # --- what is asked of it --------------------------------------------------------------------

    async def _admin_socket(self) -> Path:
        """Where administrators are answered; started now if nobody has asked yet."""
        from staqraft.daemon import witness_doors as doors  # noqa: PLC0415 - it brings gRPC

        path = self._sockets / ".admin.sock"
        async with self._admin_starts:
            if self._admin is None:
                admin = doors.ManySocket(
                    path, doors.ManyAdmin(self._pick), doors.ClusterList(self.list)
                )
                await admin.start()
                self._admin = admin
        return path

    async def _route(self, host_name: str) -> Path | None:
        """Whoever asks for any node of a cluster of ours meets ours, and its certificate."""
        seat = self._seats.get(cluster_of(host_name))
        return await seat.socket() if seat is not None else None

    def _pick(self, name: str) -> AdminServicer:
        if not name and len(self._seats) == 1:
            name = next(iter(self._seats))
        seat = self._seats.get(name)
        if seat is not None:
            return seat.membership.admin
        from staqraft.api.asked import BadRequest  # noqa: PLC0415 - it brings gRPC

        raise BadRequest(
            f"this witness does not serve a cluster {name!r}: 'staqctl clusters' lists them"
            if name
            else f"this is the witness of {len(self._seats)} clusters: name one with --cluster"
            " ('staqctl clusters' lists them)"
        )

    def list(self) -> admin_pb2.ListClustersResponse:
        """All clusters, also those that are left out."""
        sources = {config.source for config in self._configs}
        left_out = [
            admin_pb2.ClusterStatus(source=str(source), problems=problems)
            for source, problems in sorted(self._left_out.items())
            if source not in sources
        ]
        served = [seat.membership.status() for _, seat in sorted(self._seats.items())]
        return admin_pb2.ListClustersResponse(
            clusters=[*served, *left_out], problems=self._front.problems
        )

    def _samples(self) -> Iterator[ClusterSample]:
        for status in self.list().clusters:
            seat = self._seats.get(status.cluster)
            if seat is None:
                yield ClusterSample(
                    cluster=status.cluster, node="", source=status.source, served=False
                )
                continue
            config, heard = seat.membership.config, set(status.reachable)
            look = seat.membership.look()
            yield ClusterSample(
                cluster=status.cluster,
                node=config.node,
                source=status.source,
                served=status.served and not status.raft.problem,
                quorum=status.raft.has_quorum,
                term=status.raft.term,
                commit_index=status.raft.commit_index,
                leads=status.raft.leader == config.node,
                late_ticks=status.raft.late_ticks,
                reachable={member: member in heard for member in config.replicas},
                groups=sorted(config.groups),
                told=seat.membership.told,
                outboxes=seat.membership.outboxes,
                problems={(one.group or "", one.code, one.severity.word) for one in concerns(look)},
                maintenance_ms={group.group: maintenance_ms(group) for group in look.groups},
                certificates=seat.membership.certificates,
            )

    async def _watch_certificates(self) -> None:
        """Of all clusters one after the other, now and then: the files may be replaced."""
        while True:
            self._taken_up.clear()
            for seat in list(self._seats.values()):
                await seat.membership.read_certificates()
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._taken_up.wait()
            except TimeoutError:
                continue

    async def _report_alive(self) -> None:
        period_s = min(ALIVE_S, self._notifier.watchdog_interval_s or ALIVE_S)
        while True:
            self._notifier.alive()
            await asyncio.sleep(period_s)


async def _serve(directory: Path, clusters: Clusters) -> None:
    stop = asyncio.Event()
    witness = SharedWitness(directory, clusters)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, witness.rescan.set)
    await witness.run(stop)


def main(directory: Path) -> int:
    """Runs the witness of all clusters in `directory` until it is told to stop; the exit code."""
    try:
        clusters = read_clusters(directory)
        if not clusters.usable:
            problems = [line for lines in clusters.left_out.values() for line in lines]
            raise ConfigError(problems or [nothing_in(directory)])
        asyncio.run(_serve(directory, clusters))
    except StaqraftError as error:
        logger.critical("%s", error)
        return error.exit_code
    return 0
