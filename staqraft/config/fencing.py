"""How a node is turned off by the others: `fencing` in the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from staqraft.config import values
from staqraft.config.document import Section
from staqraft.config.schema import FenceDevice, NodeFencing

_MAX_LEVEL: Final = 9

_patience_ms = values.duration_to("10m")
_seldom_ms = values.duration_between("1s", "1h")


def of_node(node: str, section: Section) -> NodeFencing:
    """What stands under `fencing` of a node."""
    with section:
        default = NodeFencing(devices=())
        delay_ms = section.read("delay", _patience_ms, default.delay_ms)
        monitor_ms = section.read("monitor", _seldom_ms, default.monitor_ms)
        devices = tuple(
            _device(name, node, device) for name, device in section.named("devices", values.name)
        )
        if not devices:
            section.missing("devices", f"name at least one device that can turn {node} off")
        return NodeFencing(devices=devices, delay_ms=delay_ms, monitor_ms=monitor_ms)


def _device(name: str, node: str, section: Section) -> FenceDevice:
    default = FenceDevice(name="", agent=Path("/"), plug="")
    with section:
        return FenceDevice(
            name=name,
            agent=section.require(
                "agent", values.fence_agent, Path("/"), "name a program like fence_ipmilan"
            ),
            plug=section.read("plug", values.fence_value, node),
            level=section.read("level", values.integer(1, _MAX_LEVEL), default.level),
            timeout_ms=section.read("timeout", _patience_ms, default.timeout_ms),
            options=tuple(section.pairs("options", values.fence_option, values.fence_value, "")),
        )
