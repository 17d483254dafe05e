"""Who is in the lab, which addresses they have, and where their things are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SERVICE: Final = "service"
SYNC: Final = "sync"
NETWORKS: Final = {SERVICE: 0, SYNC: 1}
PREFIX: Final = "10.77"
VIP: Final = f"{PREFIX}.0.100"
VIP_INTERFACE: Final = "eth0"
PROBE_SENDERS: Final = tuple(f"{PREFIX}.0.{n}" for n in range(240, 248))  # asked from by arpwatch
HOST_STATE: Final = "/run/lab"  # inside a host: its init's socket and mounts
POWER: Final = "power"  # below the lab's directory and below HOST_STATE: the power strip's socket


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A host of the lab. `number` is the last byte of its addresses."""

    name: str
    number: int
    role: str  # replica, witness, client
    networks: tuple[str, ...]
    disks: tuple[str, ...] = ()  # data, state

    def address(self, network: str = SERVICE) -> str:
        """Its address on a network."""
        return f"{PREFIX}.{NETWORKS[network]}.{self.number}"

    def mac(self, network: str = SERVICE) -> str:
        """Its fixed MAC on a network, so that an ARP answer names its host, boot after boot."""
        return f"02:5a:00:00:{NETWORKS[network]:02x}:{self.number:02x}"

    def interface(self, network: str) -> str:
        """The name of its interface, inside the host."""
        return f"eth{NETWORKS[network]}"

    def volumes(self, *, apart: bool) -> tuple[str, ...]:
        """Its disks; with `apart` the journal and Raft have volumes of their own, too."""
        more = {"replica": ("journal", "raft"), "witness": ("raft",), "client": ()}
        return (*self.disks, *(more[self.role] if apart else ()))

    def port(self, network: str) -> str:
        """The name of the other end, in the switch."""
        return f"{self.name}-{network}"


HOSTS: Final = {
    host.name: host
    for host in (
        Host(
            name="a", number=11, role="replica", networks=(SERVICE, SYNC), disks=("data", "state")
        ),
        Host(
            name="b", number=12, role="replica", networks=(SERVICE, SYNC), disks=("data", "state")
        ),
        Host(name="w", number=13, role="witness", networks=(SERVICE,), disks=("state",)),
        Host(name="client", number=20, role="client", networks=(SERVICE,)),
    )
}
REPLICAS: Final = ("a", "b")
MEMBERS: Final = ("a", "b", "w")
TREES: Final = {  # name -> (path, profile), as in the lab's staqraft.yaml
    "web": ("/srv/www", "web"),
    "mail": ("/srv/mail", "maildir"),
    "spool": ("/var/mail", "mbox"),
    "accounts": ("/srv/etc", "plain"),
}
PROFILES: Final[dict[str, dict[str, dict[str, str]]]] = {  # what staqraft.yaml says of timing
    "default": {},
    "fast": {
        "lease": {"ttl": "1s", "renew": "100ms", "gate": "on"},
        "consensus": {"election_min": "150ms", "election_max": "300ms", "heartbeat": "49ms"},
    },
    "gateless": {"lease": {"ttl": "3500ms", "gate": "off"}},
    "watchdog": {
        "lease": {"ttl": "6s"},
        "watchdog": {"device": f"{HOST_STATE}/watchdog", "timeout": "3s"},
    },
}
# Two replicas without a witness: how long the other is missed before it is turned off.
PAIR: Final = {"active_waits": "2s", "standby_waits": "4s"}
DISK_BYTES: Final = {"data": 2 << 30, "state": 1 << 30, "journal": 512 << 20, "raft": 128 << 20}
# Volumes of their own below state_dir, in labs that have them: where they are mounted.
APART: Final = {
    "journal": "/var/lib/staqraft/groups/default/journal",
    "raft": "/var/lib/staqraft/raft",
}


def host_of_mac(mac: str) -> str:
    """The host that owns a MAC of the service LAN; the MAC itself if nobody does."""
    return next((h.name for h in HOSTS.values() if h.mac(SERVICE) == mac), mac)


def other(replica: str) -> str:
    """The other replica."""
    return REPLICAS[1 - REPLICAS.index(replica)]
