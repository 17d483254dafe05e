"""Whether the fence devices could do their work: they are asked before they are needed.

A device that was unplugged, or whose password changed, is otherwise found out about in the night
in which a takeover waits for it. What is found goes to the log, the history, status and metrics.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from staqraft.config.schema import FenceDevice, NodeFencing
from staqraft.model import NodeId

logger = logging.getLogger(__name__)

Show = Callable[[NodeId, str, str], None]  # node, device, why it could not do its work
Note = Callable[[str], Awaitable[None]]


class Devices(Protocol):
    """What of `actions.fence_agent.FenceDevices` is needed here."""

    async def look(self, node: NodeId, device: FenceDevice) -> str | None:
        """Why the device could not turn `node` off now; "" if it could, None: not known."""


@dataclass(frozen=True, slots=True)
class _Name:
    node: NodeId
    device: str

    def __str__(self) -> str:
        return f"fence device {self.device} of {self.node}"


class FenceWatch:
    """Looks after the devices by which this node turns the others off."""

    def __init__(
        self,
        me: NodeId,
        fencing: Mapping[NodeId, NodeFencing],
        devices: Devices,
        *,
        show: Show,
        note: Note,
    ) -> None:
        self._fencing = {node: how for node, how in fencing.items() if node != me}
        self._me = me
        self._devices = devices
        self._show = show
        self._note = note
        self._broken: dict[_Name, str] = {}

    @property
    def problems(self) -> list[str]:
        """A sentence for each device that could not do its work when it was last asked."""
        return [self._sentence(name, why) for name, why in self._broken.items()]

    async def run(self) -> None:
        """Looks until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for node, how in self._fencing.items():
                tasks.create_task(self._watch(node, how))

    async def _watch(self, node: NodeId, how: NodeFencing) -> None:
        while True:
            for device in how.devices:
                why = await self._devices.look(node, device)
                if why is not None:
                    await self._found(_Name(node, device.name), why)
            await asyncio.sleep(how.monitor_ms / 1000)

    async def _found(self, name: _Name, why: str) -> None:
        before = self._broken.pop(name, "")
        if why:
            self._broken[name] = why
        self._show(name.node, name.device, why)
        if why and not before:
            logger.error("%s", self._sentence(name, why))
            await self._note(self._sentence(name, why))
        elif before and not why:
            text = f"{name}: {self._me} could use it again"
            logger.info("%s", text)
            await self._note(text)

    def _sentence(self, name: _Name, why: str) -> str:
        return (
            f"{name}: {self._me} could not turn {name.node} off by it now ({why}): check the"
            " device's power and network, and 'fencing' in the configuration, before it is needed"
        )
