"""A witness's seat in one of its clusters, apart from the others in all but the thread."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

from staqraft.config.clusters import own_state
from staqraft.config.loader import fingerprint
from staqraft.config.schema import Config
from staqraft.consensus.endpoint import RaftEndpoint
from staqraft.consensus.group import Group as RaftGroup
from staqraft.consensus.manners import SHARED
from staqraft.consensus.ticker import RaftTicker
from staqraft.daemon.announcing import announce
from staqraft.daemon.raft_status import raft_status
from staqraft.daemon.witness_admin import WitnessAdmin
from staqraft.errors import StaqraftError
from staqraft.wire.v1 import admin_pb2

if TYPE_CHECKING:
    from staqraft.api.admin import AdminServicer
    from staqraft.api.cluster_server import ClusterServer

logger = logging.getLogger(__name__)

RETRY_S: Final = 30.0


class Membership:
    """Takes part in one cluster as long as `run` runs; whatever goes wrong stays in here."""

    def __init__(self, config: Config, ticker: RaftTicker, sockets: Path) -> None:
        """`sockets`: where the server of this cluster may have its unix socket."""
        self.config = config
        self.problems: tuple[str, ...] = ()  # why its file, as it is now, is not used
        self._ticker = ticker
        self._fingerprint = fingerprint(config)
        self._endpoint = RaftEndpoint()
        self._begin()
        self._socket = sockets / f"{config.cluster}.sock"
        self._failure = "it is being started"

    def _begin(self) -> None:
        """Everything anew: what has failed is not used again."""
        self.raft = RaftGroup(own_state(self.config), self._ticker, self._endpoint, manners=SHARED)
        self._admin: AdminServicer | None = None

    @property
    def admin(self) -> AdminServicer:
        """What administrators ask."""
        if self._admin is None:
            from staqraft.daemon import witness_doors  # noqa: PLC0415 - it brings gRPC

            node = WitnessAdmin(self.config, self.raft, self._fingerprint)
            self._admin = witness_doors.admin(self.config, node)
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
        """Takes part until cancelled; after a failure it is tried again every `RETRY_S`."""
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
