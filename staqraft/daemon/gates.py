"""The gates before this node's virtual addresses: made at start, or done without and said so."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

from staqraft.actions.gate import Gate, remove_stale
from staqraft.actions.nft import Nft
from staqraft.actions.vip import VipHolder
from staqraft.config.schema import GATE_OFF, GATE_ON, Config
from staqraft.errors import ActionError
from staqraft.model import GroupId

logger = logging.getLogger(__name__)


def open_gates(config: Config) -> dict[GroupId, Gate]:
    """A gate for each group with addresses; what an earlier life left open stays open.

    ActionError when there has to be one and this host cannot; when there need not be, none.
    """
    gates: dict[GroupId, Gate] = {}
    if config.lease.gate == GATE_OFF:
        return gates
    for name, group in config.groups.items():
        if not group.vips:
            continue
        try:
            gate = Gate(config.cluster, name, group.vips)
            gate.prepare()
        except ActionError as error:
            if config.lease.gate == GATE_ON:
                raise ActionError(
                    f"group {name} is to have a gate before its addresses (lease.gate: on), and"
                    f" {error}"
                ) from error
            logger.warning(
                "group %s: no gate before its virtual addresses: %s. They get whole-second"
                " lifetimes instead, and clients may be refused while services start or stop;"
                " with a lease.ttl below 4s they may also be gone for a moment while Raft elects",
                name,
                error,
            )
            continue
        gates[name] = gate
    return gates


async def remove_stale_gates(
    config: Config, gates: Collection[GroupId], holders: Mapping[GroupId, VipHolder]
) -> None:
    """Removes this cluster's gates that the configuration has no more. Failures are logged.

    An address that a gate was before may have a lifetime beyond the lease: it goes first.
    """
    try:
        packet_filter = Nft()
    except ActionError:
        return  # this host has none
    try:
        for name, holder in holders.items():
            if name not in gates:
                await holder.remove_leftovers()
        if stale := remove_stale(config.cluster, gates, packet_filter):
            logger.info("removed the gates of groups that have none any more: %s", ", ".join(stale))
    except ActionError as error:
        logger.warning("gates of an earlier configuration may be left: %s", error)
    finally:
        packet_filter.close()
