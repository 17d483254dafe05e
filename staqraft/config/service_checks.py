"""What services and their checks must be to each other, to the cluster, and to this host."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from staqraft.config.document import Finding, Key
from staqraft.config.services import (
    CommandCheck,
    DnsCheck,
    HttpCheck,
    PluginCheck,
    Service,
    TalkCheck,
    TcpCheck,
)

if TYPE_CHECKING:
    from staqraft.config.schema import Config

# Whether a unit is started at boot, in systemd's word ("enabled", ...); "": it cannot be asked.
AskUnit = Callable[[str], str]

_STARTED_AT_BOOT = frozenset({"enabled", "enabled-runtime"})


def targets(config: Config) -> Iterator[Finding]:
    """A check asks this node, over an address that is this node's wherever the file is."""
    owners = {ring.address: node.id for node in config.nodes.values() for ring in node.rings}
    for group in config.groups.values():
        for service in group.services:
            for check in service.checks:
                if not isinstance(check, TcpCheck | HttpCheck | TalkCheck | DnsCheck):
                    continue
                key = _key(group.id, service)
                address, source = check.endpoint.address, check.source
                if (owner := owners.get(address)) is not None:
                    yield Finding(
                        key=(*key, "checks"),
                        text=f"{address} is {owner}'s own address: on any other node this would"
                        f" look at {owner}. Write 127.0.0.1, or one of the group's vips",
                        reads=(("nodes",),),
                    )
                if source and address and (":" in source) != (":" in address):
                    yield Finding(
                        key=(*key, "checks"),
                        text=f"from {source} nobody gets to {address}: one is IPv4, the other IPv6",
                    )


def units(config: Config) -> Iterator[Finding]:
    """Each unit belongs to one service."""
    seen: dict[str, str] = {}
    for group in config.groups.values():
        for service in group.services:
            where = f"{group.id}.{service.name}"
            other = seen.setdefault(service.unit, where) if service.unit else where
            if other != where:
                yield Finding(
                    key=(*_key(group.id, service), "unit"),
                    text=f"{service.unit} belongs to service {other} already",
                )


def programs(config: Config) -> Iterator[Finding]:
    """On a replica there is every program that a command names."""
    if config.node not in config.replicas:
        return
    for group in config.groups.values():
        for service in group.services:
            commands = {"start": service.start, "stop": service.stop}
            for place, check in enumerate(service.checks, start=1):
                if isinstance(check, CommandCheck | PluginCheck):
                    commands[f"checks.{place}"] = check.argv
            for name, argv in commands.items():
                if argv and shutil.which(argv[0]) is None:
                    yield Finding(
                        key=(*_key(group.id, service), *name.split(".")),
                        text=f"{argv[0]!r} is no program on this host now: the service could not"
                        " run here",
                        passes=True,
                    )


def boot(config: Config, ask: AskUnit) -> Iterator[Finding]:
    """On a replica systemd starts none of the units by itself, and all can be started."""
    if config.node not in config.replicas:
        return
    for group in config.groups.values():
        for service in group.services:
            key = (*_key(group.id, service), "unit")
            state = ask(service.unit) if service.unit else ""
            if state in _STARTED_AT_BOOT:
                text = (
                    f"{service.unit} is enabled on this host, so that systemd starts it at boot,"
                    f" also on the standby: 'systemctl disable --now {service.unit}' on both"
                    " replicas"
                )
                yield Finding(key=key, text=text, reads=(), fatal=False)
            elif problem := _not_startable(service.unit, state):
                yield Finding(key=key, text=problem, reads=(), passes=True)


def _not_startable(unit: str, state: str) -> str:
    if state in {"masked", "masked-runtime"}:
        return f"{unit} is masked on this host, so it cannot be started: 'systemctl unmask {unit}'"
    if state == "not-found":
        return f"{unit} is not on this host now: it could not be started here"
    return ""


def _key(group: str, service: Service) -> Key:
    return ("groups", group, "services", service.name)
