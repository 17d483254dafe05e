"""What the configuration of fencing and of the watchdog must be; called by `checks`."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from staqraft.config.agents import BadAgent, Metadata, is_secret, objections
from staqraft.config.document import NAMES, Finding, Key
from staqraft.config.schema import Config, FenceDevice, Group
from staqraft.model import FenceRung, NodeId, NodeRole

AskAgent = Callable[[Path], Metadata]  # BadAgent when it does not say what it takes

ELECTIONS_IN_LEASE = 2  # a leader change may need a second election
RENEWALS_IN_LEASE = 2


def watchdog(config: Config) -> Iterator[Finding]:
    """It fires in the first half of the lease, and not while Raft elects a leader."""
    dog, lease, raft = config.watchdog, config.lease, config.consensus
    if dog is None:
        return
    key = ("watchdog", "timeout")
    if dog.timeout_ms % 1000:
        yield Finding(key=key, text=f"{dog.timeout_ms} ms is to be whole seconds, as devices count")
    if dog.timeout_ms * 2 > lease.ttl_ms:
        yield Finding(
            key=key,
            text=f"{dog.timeout_ms} ms is to be at most half of lease.ttl ({lease.ttl_ms} ms), so"
            f" that the reset comes before the lease ends: set lease.ttl to {dog.timeout_ms * 2} ms"
            " or more",
            reads=(("lease", "ttl"),),
        )
    needed = (
        RENEWALS_IN_LEASE * lease.renew_ms
        + ELECTIONS_IN_LEASE * raft.election_max_ms
        + lease.let_go_ms
    )
    if needed >= dog.timeout_ms:
        whole_s = needed // 1000 + 1
        yield Finding(
            key=key,
            text=f"{dog.timeout_ms} ms is too short: two renewals, two elections and letting go"
            f" take up to {needed} ms, and the watchdog would reset a machine that is well. Devices"
            f" take whole seconds, and at most half of lease.ttl: set lease.ttl to {2 * whole_s}s"
            " or more, or shorten lease.renew or consensus.election_max",
            reads=(("lease", "ttl"), ("lease", "renew"), ("consensus", "election_max")),
        )


def fencing(config: Config) -> Iterator[Finding]:
    """Devices turn replicas off, and a way of fencing that a group relies on exists."""
    roles = tuple(("nodes", node, "role") for node in config.nodes)
    for node, how in config.fencing.items():
        key = ("fencing", node)
        if node not in config.replicas:
            known = f"replicas are {', '.join(config.replicas)}"
            what = "a witness is never active" if node in config.nodes else "it is no node"
            yield Finding(
                key=key,
                text=f"there is no need to turn {node} off, {what}: {known}",
                reads=(("nodes", NAMES), *roles),
            )
        for device in how.devices:
            if ("method", "cycle") in device.options:
                yield Finding(
                    key=(*_key(node, device), "options", "method"),
                    text="with 'cycle' the node is on again at once, and nothing proves that it was"
                    " off: leave 'method' out",
                )
    for group in config.groups.values():
        yield from _fenced_by(config, group, roles)


def secrets(config: Config) -> Iterator[Finding]:
    """What turns a server off is for root's eyes only."""
    try:
        mode = stat.S_IMODE(config.source.stat().st_mode)
    except OSError:
        return  # it was read a moment ago: whoever needs it next says what is wrong
    if not mode & (stat.S_IRGRP | stat.S_IROTH):
        return
    for node, how in config.fencing.items():
        for device in how.devices:
            for name, _ in device.options:
                if is_secret(name):
                    yield Finding(
                        key=(*_key(node, device), "options", name),
                        text=f"is a secret, and others than root may read this file (mode"
                        f" {mode:04o}): chmod 600 {config.source}",
                        fatal=False,
                    )


def agents(config: Config, ask: AskAgent) -> Iterator[Finding]:
    """What the fence agents say of the options that they will be given."""
    if config.me.role is NodeRole.WITNESS:
        return  # it turns nobody off, and needs no agents
    for node, how in config.fencing.items():
        for device in how.devices:
            yield from _agent(_key(node, device), device, ask)


def _agent(key: Key, device: FenceDevice, ask: AskAgent) -> Iterator[Finding]:
    reads = ((*key, "agent"), (*key, "options"))
    try:
        known = ask(device.agent)
    except BadAgent as error:
        yield Finding(
            key=(*key, "agent"),
            text=f"{device.agent} does not say what it takes ('action=metadata'): {error}",
        )
        return
    for objection in objections(device.options, known):
        place: Key = ("options", objection.option) if objection.option else ("options",)
        yield Finding(
            key=(*key, *place),
            text=f"{objection.text} ('{device.agent.name} -o metadata' shows them)",
            reads=reads,
            fatal=objection.fatal,
        )


def _key(node: NodeId, device: FenceDevice) -> Key:
    return ("fencing", node, "devices", device.name)


def _fenced_by(config: Config, group: Group, roles: tuple[Key, ...]) -> Iterator[Finding]:
    key = ("groups", group.id, "fenced_by")
    if not group.fenced_by:
        yield Finding(key=key, text="names nothing: leave it out, or name confirmed and device")
    if FenceRung.LEASE in group.fenced_by:
        return
    bare = [node for node in config.replicas if node not in config.fencing]
    reads = (("fencing", NAMES), ("nodes", NAMES), *roles)
    if FenceRung.DEVICE in group.fenced_by and bare:
        yield Finding(
            key=key,
            text=f"without 'lease' a takeover needs a fence device, and there is none for"
            f" {', '.join(bare)}: add it under 'fencing', or add 'lease' here",
            reads=reads,
        )
    elif group.fenced_by and FenceRung.DEVICE not in group.fenced_by:
        yield Finding(
            key=key,
            text="without 'lease' and 'device' a replica that is dead is never replaced by itself:"
            " an operator has to say that it is off ('staqctl fence NODE --confirm-off')",
            fatal=False,
        )
