"""All that a witness of many clusters needs gRPC for: whoever comes to it, and asks.

Imported when the first one comes. A witness dials its peers and speaks with them by itself
(`wire.stream`), so until then it does without a dozen MiB of library.
"""

from __future__ import annotations

from pathlib import Path

from staqraft.actions.fence import FenceClient, FenceServicer
from staqraft.api.admin import AdminServicer
from staqraft.api.cluster_server import ClusterServer
from staqraft.api.forward import over_any_ring
from staqraft.api.many import ClusterList, ManyAdmin, ManySocket
from staqraft.api.server import AddToServer
from staqraft.config.schema import Config
from staqraft.consensus.manners import SHARED_SERVER_OPTIONS
from staqraft.daemon.witness_admin import WitnessAdmin
from staqraft.model import Epoch, GroupId

__all__ = ["ClusterList", "ManyAdmin", "ManySocket", "admin", "cluster_server"]


def admin(config: Config, node: WitnessAdmin) -> AdminServicer:
    """What administrators ask of one cluster."""
    return AdminServicer(config, node, over_any_ring(config))


def cluster_server(
    config: Config, path: Path, servicer: AdminServicer, add_raft: AddToServer
) -> ClusterServer:
    """The TLS server of one cluster, on the unix socket `path`."""

    async def let_go(group: GroupId, epoch: Epoch) -> tuple[bool, str]:
        del epoch
        return False, f"{config.node} is a witness and does not serve group {group}"

    return ClusterServer(
        config,
        path,
        servicer,
        FenceServicer(config, let_go, FenceClient(config)),
        peers=[add_raft],
        options=SHARED_SERVER_OPTIONS,
    )
