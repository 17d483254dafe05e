"""A witness's seat in one of its clusters, apart from the others in all but the thread."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from staqraft.config.clusters import own_state
from staqraft.config.loader import fingerprint
from staqraft.config.schema import Config
from staqraft.config.tls import expiries
from staqraft.consensus.endpoint import RaftEndpoint
from staqraft.consensus.group import Group as RaftGroup
from staqraft.consensus.manners import SHARED
from staqraft.consensus.ticker import RaftTicker
from staqraft.daemon.announcing import announce
from staqraft.daemon.clock import boottime_ms
from staqraft.daemon.raft_status import raft_status
from staqraft.daemon.witness_admin import WitnessAdmin
from staqraft.errors import StaqraftError
from staqraft.wire.v1 import admin_pb2

if TYPE_CHECKING:
    from staqraft.api.admin import AdminServicer
    from staqraft.api.cluster_server import ClusterServer
    from staqraft.daemon.telling import Telling
    from staqraft.notify.outbox import Backlog

logger = logging.getLogger(__name__)

RETRY_S: Final = 30.0
_LOOK_S: Final = 5.0  # for trouble: many clusters share the processor


class Membership:
    """Takes part in one cluster as long as `run` runs; whatever goes wrong stays in here."""

    def __init__(self, config: Config, ticker: RaftTicker, sockets: Path) -> None:
        """`sockets`: where the server of this cluster may have its unix socket."""
        self.config = config
        self.problems: tuple[str, ...] = ()  # why its file, as it is now, is not used
        self._ticker = ticker
        self._fingerprint = fingerprint(config)
        self._endpoint = RaftEndpoint()
        self.certificates: Mapping[str, datetime] = {}  # until when, by name
        self.told: Counter[tuple[str, str]] = Counter()  # tries to tell, by receiver and result
        self._telling: Telling | None = None
        self._begin()
        self._socket = sockets / f"{config.cluster}.sock"
        self._failure = "it is being started"

    def _begin(self) -> None:
        """Everything anew: what has failed is not used again."""
        self.raft = RaftGroup(own_state(self.config), self._ticker, self._endpoint, manners=SHARED)
        self._admin: AdminServicer | None = None
        self._node = WitnessAdmin(
            self.config,
            self.raft,
            self._fingerprint,
            test_notifications=self._test_notifications,
            now_ms=boottime_ms,
        )

    @property
    def admin(self) -> AdminServicer:
        """What administrators ask."""
        if self._admin is None:
            from staqraft.daemon import witness_doors  # noqa: PLC0415 - it brings gRPC

            self._admin = witness_doors.admin(self.config, self._node)
        return self._admin

    def server(self) -> ClusterServer:
        """Its TLS server, for those who connect to the witness."""
        from staqraft.daemon import witness_doors  # noqa: PLC0415 - it brings gRPC

        return witness_doors.cluster_server(
            self.config, self._socket, self.admin, self._endpoint.add_to_server
        )

    @property
    def failure(self) -> str:
        """Why it does not take part now, or ""."""
        return self._failure or self.raft.status().problem

    async def run(self) -> None:
        """Takes part, and tells of trouble, until cancelled."""
        telling = asyncio.create_task(self._tell()) if self.config.notify else None
        try:
            await self._take_part_again_and_again()
        finally:
            if telling is not None:
                telling.cancel()
                await asyncio.gather(telling, return_exceptions=True)

    async def _take_part_again_and_again(self) -> None:
        """After a failure it is tried again every `RETRY_S`."""
        cluster = self.config.cluster
        while True:
            try:
                await self._take_part()
            except StaqraftError as error:
                self._failure = str(error)
                logger.error(  # noqa: TRY400 - a sentence, not a trace
                    "cluster %s has no witness here: %s; tried again every %d s",
                    cluster,
                    error,
                    RETRY_S,
                )
            except Exception as error:
                self._failure = f"{type(error).__name__}: {error}"
                logger.exception("cluster %s has no witness here; report this", cluster)
            await asyncio.sleep(RETRY_S)
            self._begin()

    async def _take_part(self) -> None:
        try:
            await self.raft.start()
            self._failure = ""
            await announce(self.raft, self.config.node, self._fingerprint)
            raise await self.raft.outdated()
        finally:
            await self.raft.stop()

    # --- telling --------------------------------------------------------------------------------

    async def _tell(self) -> None:
        """Whom the cluster's file names here: who watches both replicas sees them both fail."""
        from staqraft.daemon.telling import Telling  # noqa: PLC0415 - it brings SMTP and HTTP

        while True:
            self._telling = Telling(
                own_state(self.config),
                lambda: self.raft.state.events,
                self._status_now,
                count=lambda *what: self.told.update([what]),
                now_ms=boottime_ms,
                look_s=_LOOK_S,
            )
            try:
                await self._telling.run()
            except Exception:
                logger.exception(
                    "cluster %s: nobody is told anything; report this", self.config.cluster
                )
            await asyncio.sleep(RETRY_S)

    async def _status_now(self) -> admin_pb2.GetStatusResponse:
        return self.look()

    def look(self) -> admin_pb2.GetStatusResponse:
        """What 'staqctl status' shows here, by the Raft that there is now: after a failure it is
        another.
        """
        return self._node.look()

    async def read_certificates(self) -> None:
        """Notes until when they are valid, for the metrics."""
        self.certificates = await asyncio.to_thread(expiries, self.config.tls)

    async def _test_notifications(self, requested_by: str) -> list[tuple[str, str]]:
        return [] if self._telling is None else await self._telling.test(requested_by)

    @property
    def outboxes(self) -> Mapping[str, Backlog]:
        """For each receiver: what has not arrived."""
        return {} if self._telling is None else self._telling.outboxes()

    def status(self) -> admin_pb2.ClusterStatus:
        """How it is, for people."""
        view = self.raft.status()
        problems = [*([self.failure] if self.failure else []), *self.problems]
        return admin_pb2.ClusterStatus(
            cluster=self.config.cluster,
            source=str(self.config.source),
            served=not self._failure,
            reachable=sorted(view.reachable),
            raft=raft_status(view),
            problems=problems,
        )
