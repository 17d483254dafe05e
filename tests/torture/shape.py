"""How the ground of a round is: file systems, sizes, bounds; the same for all its processes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fakes.records import MAIL
from fakes.stream_pair import A, B, lab_config
from staqraft.config.schema import Config, Journal, Node, Ring, Tls
from staqraft.model import NodeId

_NUMBER = {A: 1, B: 2}
_RINGS = {"service": 1, "sync": 2}


def address(node: NodeId, ring: str) -> str:
    """Where a node listens."""
    return f"127.77.{_RINGS[ring]}.{_NUMBER[node]}"


def relayed(node: NodeId, ring: str) -> str:
    """Where its peer reaches it: a relay that may be cut."""
    return f"127.78.{_RINGS[ring]}.{_NUMBER[node]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Drawn from the round's seed."""

    grounds: tuple[str, str]
    segment_bytes: int
    max_bytes: int
    barrier_syncfs: bool
    backends: dict[str, str]  # by which a node watches its trees

    @classmethod
    def draw(cls, dice: random.Random, inotify: frozenset[str]) -> Shape:
        return cls(
            grounds=(dice.choice(("ext4", "tmpfs")), dice.choice(("ext4", "tmpfs"))),
            segment_bytes=dice.choice((64 << 10, 1 << 20)),
            max_bytes=dice.choice((512 << 10, 8 << 20)),
            barrier_syncfs=dice.random() < 0.5,
            backends={node: "inotify" if node in inotify else "fanotify" for node in (A, B)},
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Shape:
        return cls(**{**values, "grounds": tuple(values["grounds"])})

    def config(self, base: Path, node: str, port: int, keys: Sequence[str]) -> Config:
        """A node's configuration. Its tree has a file system of its own, and so has its state."""
        ca, certificate, key = map(Path, keys)
        config = lab_config(
            base, NodeId(node), port, files=Tls(ca=ca, certificate=certificate, key=key)
        )
        (tree,) = config.groups[MAIL].trees
        group = replace(
            config.groups[MAIL],
            trees=(replace(tree, path=base / node / "disk" / "tree"),),
            journal=Journal(segment_bytes=self.segment_bytes, max_bytes=self.max_bytes),
            barrier_syncfs=self.barrier_syncfs,
        )
        nodes = {
            name: config.nodes[name] if name == node else _behind_relays(config.nodes[name])
            for name in config.nodes
        }
        return replace(config, nodes=nodes, groups={MAIL: group}, state_dir=base / node / "state")


def _behind_relays(peer: Node) -> Node:
    rings = tuple(Ring(name=ring.name, address=relayed(peer.id, ring.name)) for ring in peer.rings)
    return replace(peer, rings=rings)
