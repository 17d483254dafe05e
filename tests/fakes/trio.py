"""The configuration of a cluster of two replicas and a witness on loopback addresses."""

from __future__ import annotations

from ipaddress import ip_interface
from pathlib import Path

from fakes.pki import Pki
from staqraft.config.schema import Config, Group, Node, Ports, Ring, Tree, Vip
from staqraft.config.services import Service
from staqraft.model import GroupId, NodeId, NodeRole

A, B, W = NodeId("a"), NodeId("b"), NodeId("w")
DEFAULT = GroupId("default")

SERVICE_LAN = {A: "127.0.1.1", B: "127.0.1.2", W: "127.0.1.3"}
SYNC_LINK = {A: "127.0.2.1", B: "127.0.2.2"}


def trio_config(node: NodeId, pki: Pki, directory: Path, *, control_port: int) -> Config:
    """The configuration of `node`; equal for all but for what must differ."""
    return Config(
        cluster=pki.cluster,
        node=node,
        nodes={name: _member(name) for name in (A, B, W)},
        tls=pki.node(node),
        groups={
            DEFAULT: Group(
                id=DEFAULT,
                initial_active=A,
                trees=(Tree(name="web", path=directory / node / "web"),),
                vips=(Vip(address=ip_interface("192.0.2.10/24"), interface="lan0"),),
                services=(Service(name="nginx", start=("true",), stop=("true",)),),
            )
        },
        ports=Ports(control=control_port),
        state_dir=directory / node / "state",
        run_dir=directory / node / "run",
        admin_socket=directory / node / "run" / "admin.sock",
        source=directory / node / "staqraft.yaml",
    )


def _member(name: NodeId) -> Node:
    rings = [Ring(name="service", address=SERVICE_LAN[name])]
    if name in SYNC_LINK:
        rings.append(Ring(name="sync", address=SYNC_LINK[name]))
    role = NodeRole.WITNESS if name == W else NodeRole.REPLICA
    return Node(id=name, role=role, rings=tuple(rings))
