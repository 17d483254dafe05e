"""The two networks in the switch's namespace, their cables, and the cuts.

A link is named
  `sync` or `service`  the whole network: all its cables are pulled out (no carrier at either end);
  `a:service`          one cable: host a's, on that network;
  `a-b`, `a-b:sync`    the path between two hosts, on all their common networks or on one: frames
                       are dropped in the switch, both keep their carrier and reach all others.
With a sender, only frames that this host sends are lost (a one-way cut); carriers stay.
With a port, only TCP packets to that port are lost, as by a firewall with a rule too many.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from itertools import permutations

from lab.errors import LabError
from lab.layout import HOSTS, NETWORKS, SERVICE, SYNC, Host

TABLE = """
table bridge lab {
    set cut { type ifname . ifname; }
    set cut_port { type ifname . ifname . inet_service; }
    chain forward {
        type filter hook forward priority 0; policy accept;
        iifname . oifname @cut counter drop
        iifname . oifname . tcp dport @cut_port counter drop
    }
}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A parsed link name. `ends`: none (a whole network), one (a cable) or two hosts (a path)."""

    name: str
    ends: tuple[str, ...]
    networks: tuple[str, ...]

    @classmethod
    def parse(cls, name: str) -> Link:
        """Raises LabError with the names that there are."""
        if name in NETWORKS:
            return cls(name=name, ends=(), networks=(name,))
        ends, _, network = name.partition(":")
        hosts = tuple(ends.split("-"))
        common = [n for n in NETWORKS if all(h in HOSTS and n in HOSTS[h].networks for h in hosts)]
        chosen = tuple(n for n in common if network in ("", n))
        if len(hosts) > 2 or not chosen or (len(hosts) == 1 and not network):
            examples = (
                f"{SYNC}, {SERVICE}, a:{SERVICE}, a:{SYNC}, a-b, a-b:{SYNC}, a-w, b-w, a-client"
            )
            raise LabError(
                f"there is no link {name!r} in the lab; links are, for instance: {examples}"
            )
        return cls(name=name, ends=hosts, networks=chosen)

    def ports(self) -> list[str]:
        """The cables that are pulled when a network or a cable is cut."""
        hosts = [HOSTS[e] for e in self.ends] or list(HOSTS.values())
        return [h.port(n) for n in self.networks for h in hosts if n in h.networks]

    def directions(self, sender: str | None) -> list[tuple[str, str]]:
        """(from port, to port) of all frames that a cut drops in the switch."""
        return [
            (source.port(network), target.port(network))
            for network in self.networks
            for source, target in permutations(HOSTS.values(), 2)
            if network in source.networks
            and network in target.networks
            and sender in (None, source.name)
            and set(self.ends) <= {source.name, target.name}
        ]


@dataclass(frozen=True, slots=True)
class Drop:
    """Frames from one port of the switch to another, all or those to a TCP port, are lost."""

    source: str
    target: str
    port: int | None = None

    @property
    def nft_set(self) -> str:
        return "cut" if self.port is None else "cut_port"

    @property
    def nft_element(self) -> str:
        pair = f'"{self.source}" . "{self.target}"'
        return pair if self.port is None else f"{pair} . {self.port}"

    def __str__(self) -> str:
        what = "" if self.port is None else f" (TCP port {self.port})"
        return f"{self.source} -> {self.target}{what}"


def _is_pulled(link: Link, sender: str | None, port: int | None) -> bool:
    """A cut of whole cables, in the physical way."""
    return len(link.ends) < 2 and sender is None and port is None


def _drops(link: Link, sender: str | None, port: int | None) -> list[Drop]:
    return [Drop(source, target, port) for source, target in link.directions(sender)]


class Network:
    """Commands to the switch, whose network namespace is that of process `switch`."""

    def __init__(self, switch: int) -> None:
        self._switch = switch

    def build(self) -> None:
        """Bridges and the table of cuts."""
        lines = []
        for network in NETWORKS:
            lines += [
                f"link add {network} type bridge forward_delay 0 stp_state 0 mcast_snooping 0",
                f"link set {network} up",
            ]
        self._ip(lines)
        self._run(["nft", "-f", "-"], TABLE)

    def plug_in(self, host: Host, init: int) -> None:
        """New cables for a host that has just got power; one that was pulled out is in again."""
        lines = []
        inside = []
        for network in host.networks:
            port, interface = host.port(network), host.interface(network)
            lines += [
                f"link add {port} type veth peer name {interface} netns {init}",
                f"link set {port} master {network}",
                f"link set {port} up",
            ]
            inside += [
                f"link set {interface} address {host.mac(network)}",
                f"address add {host.address(network)}/24 dev {interface}",
                f"link set {interface} up",
            ]
        self._ip(lines)
        self._ip(inside, namespace=init)

    def pull_out(self, host: Host) -> None:
        """All cables of a host at once: nothing it says from now on arrives anywhere."""
        self._set_ports([host.port(network) for network in host.networks], "down")

    def remove(self, host: Host) -> None:
        """Takes the switch's ends away, some of which the kernel may have removed with the host."""
        self._ip([f"link delete {host.port(network)}" for network in host.networks], force=True)

    def cut(self, link: Link, sender: str | None = None, port: int | None = None) -> None:
        """See the module."""
        self._check_sender(link, sender)
        if _is_pulled(link, sender, port):
            self._set_ports(link.ports(), "down")
        else:
            self._nft("add", _drops(link, sender, port))

    def heal(self, link: Link, sender: str | None = None, port: int | None = None) -> None:
        """Undoes cuts of this link; others that concern the same hosts stay."""
        self._check_sender(link, sender)
        if _is_pulled(link, sender, port):
            self._set_ports(link.ports(), "up")
        present = set(self.drops())
        self._nft("delete", [drop for drop in _drops(link, sender, port) if drop in present])

    def restore(self) -> None:
        """Undoes all cuts; all cables of hosts with power are in."""
        self._set_ports([h.port(n) for h in HOSTS.values() for n in h.networks], "up")
        self._nft("delete", self.drops())

    def drops(self) -> list[Drop]:
        """All directions in which frames are dropped now."""
        found = []
        for name in ("cut", "cut_port"):
            output = json.loads(self._run(["nft", "-j", "list", "set", "bridge", "lab", name]))
            listed = next(item["set"] for item in output["nftables"] if "set" in item)
            found += [Drop(*element["concat"]) for element in listed.get("elem", [])]
        return found

    def unplugged(self) -> list[str]:
        """Ports of hosts with power whose cable is out."""
        links = json.loads(self._run(["ip", "-j", "link", "show"]))
        ports = {h.port(n) for h in HOSTS.values() for n in h.networks}
        return [
            link["ifname"]
            for link in links
            if link["ifname"] in ports and "UP" not in link["flags"]
        ]

    def _check_sender(self, link: Link, sender: str | None) -> None:
        if sender is not None and not link.directions(sender):
            raise LabError(
                f"{sender!r} sends nothing over {link.name}: --from must name a host on that link"
            )

    def _set_ports(self, ports: list[str], state: str) -> None:
        """Of hosts with power; the others have no cables."""
        present = {entry["ifname"] for entry in json.loads(self._run(["ip", "-j", "link", "show"]))}
        self._ip([f"link set {port} {state}" for port in ports if port in present])

    def _nft(self, operation: str, drops: list[Drop]) -> None:
        lines = [
            f"{operation} element bridge lab {drop.nft_set} {{ {drop.nft_element} }}"
            for drop in drops
        ]
        if lines:
            self._run(["nft", "-f", "-"], "\n".join(lines) + "\n")

    def _ip(self, lines: list[str], *, namespace: int | None = None, force: bool = False) -> None:
        argv = ["ip", *(["-force"] if force else []), "-batch", "-"]
        self._run(argv, "\n".join(lines) + "\n", namespace=namespace, check=not force)

    def _run(
        self, argv: list[str], text: str = "", *, namespace: int | None = None, check: bool = True
    ) -> str:
        enter = ["nsenter", "--target", str(namespace or self._switch), "--net", "--"]
        done = subprocess.run(
            [*enter, *argv], input=text, capture_output=True, text=True, check=False
        )
        if check and done.returncode != 0:
            raise LabError(f"the switch refused {' '.join(argv)}: {done.stderr.strip()}\n{text}")
        return done.stdout
