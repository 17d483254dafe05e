"""What requests name: a group, a replica, a person. Checked alike for all services."""

from __future__ import annotations

from staqraft.config.schema import Config
from staqraft.errors import StaqraftError
from staqraft.model import GroupId, NodeId
from staqraft.wire import tls


class BadRequest(StaqraftError):
    """The request makes no sense; the message says what would."""

    exit_code = 2
    grpc_status = "INVALID_ARGUMENT"


def group_of(config: Config, name: str) -> GroupId:
    """The group of this name; empty: the only one. BadRequest says which there are."""
    groups = sorted(config.groups)
    if not name and len(groups) == 1:
        return groups[0]
    if GroupId(name) in config.groups:
        return GroupId(name)
    known = ", ".join(groups)
    raise BadRequest(
        f"there is no group {name!r}: it is one of {known}"
        if name
        else f"the cluster has several groups, so one must be named: {known}"
    )


def replica_of(config: Config, name: str) -> NodeId:
    """The replica of this name. BadRequest says which there are."""
    if NodeId(name) in config.replicas:
        return NodeId(name)
    if NodeId(name) in config.nodes:
        raise BadRequest(f"{name} is a witness: it holds no data and is never active")
    known = ", ".join(config.replicas)
    raise BadRequest(f"there is no replica {name!r}: it is one of {known}")


def who_asked(config: Config, claimed: str, context: tls.Context) -> str:
    """For the history. A certificate counts more than a claim; root and nodes are believed."""
    identity = tls.peer_identity(context)
    if identity is not None and identity.admin is not None:
        return f"administrator {identity.admin}"
    return claimed or f"root on {config.node}"
