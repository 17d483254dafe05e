"""Many small clusters that share a witness, all on loopback addresses of this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fakes.pki import Pki, new_pki
from staqraft.config.loader import read
from staqraft.config.schema import Config
from staqraft.model import NodeId

WITNESS_ADDRESS = "127.0.3.1"

TEXT = """\
cluster: {cluster}
node: {node}
nodes:
  a: {{role: replica, rings: {{service: {a}}}}}
  b: {{role: replica, rings: {{service: {b}}}}}
  w: {{role: witness, rings: {{service: {w}}}}}
tls: {{ca: {tls.ca}, certificate: {tls.certificate}, key: {tls.key}}}
ports: {{control: {control}, metrics: {metrics}}}
consensus: {{{consensus}}}
lease: {{{lease}}}
state_dir: {state}
run_dir: {run}
admin_socket: {run}/admin.sock
groups:
  default:
    initial_active: a
    trees:
      web: {{path: /srv/web}}
"""

QUICK = (
    "election_min: 300ms, election_max: 600ms, heartbeat: 95ms, tick: 15ms",
    "ttl: 3s, renew: 300ms",
)
SLOW = (
    "election_min: 2s, election_max: 3s, heartbeat: 660ms, tick: 50ms",
    "ttl: 9s, renew: 600ms",
)
CALM = (
    "election_min: 1s, election_max: 1500ms, heartbeat: 330ms, tick: 50ms",
    "ttl: 5s, renew: 300ms",
)


@dataclass(frozen=True)
class Town:
    """Where everything is: `directory` for the witness's clusters, ports, and whose timing."""

    directory: Path
    control_port: int
    metrics_port: int
    timing: tuple[str, str] = CALM

    @property
    def clusters(self) -> Path:
        """What `staqraftd --clusters` is given."""
        return self.directory / "clusters"

    @property
    def socket(self) -> Path:
        """The witness's admin socket."""
        return self.directory / "run" / "admin.sock"

    def pki(self, number: int) -> Pki:
        """The authority of cluster `number`, made now if it is new."""
        place = self.directory / "pki" / name(number)
        if not place.exists():
            return new_pki(place, name(number))
        return Pki(place, name(number))

    def text(self, number: int, node: str, files: Pki | None = None) -> str:
        """The configuration of one node of cluster `number`."""
        base = self.directory if node == "w" else self.directory / "hosts" / f"{number}{node}"
        return TEXT.format(
            cluster=name(number),
            node=node,
            a=address(number, "a"),
            b=address(number, "b"),
            w=WITNESS_ADDRESS,
            tls=(files or self.pki(number)).node(node),
            control=self.control_port,
            metrics=self.metrics_port,
            consensus=self.timing[0],
            lease=self.timing[1],
            state=base / "state",
            run=base / "run",
        )

    def add(self, number: int, text: str | None = None) -> Path:
        """Gives the witness the configuration of cluster `number`."""
        path = self.clusters / name(number) / "staqraft.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if text is not None else self.text(number, "w"))
        return path

    def config(self, number: int, node: str, files: Pki | None = None) -> Config:
        """The same as a replica of cluster `number` reads it."""
        path = self.directory / f"{name(number)}.{node}.yaml"
        path.write_text(self.text(number, node, files))
        return read(path, NodeId(node)).config


def name(number: int) -> str:
    """Of cluster `number`."""
    return f"c{number}"


def address(number: int, node: str) -> str:
    """Of a replica of cluster `number`; every replica of this machine has its own."""
    return f"127.{100 + number // 100}.{number % 100}.{1 if node == 'a' else 2}"
