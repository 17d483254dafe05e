"""A fence device that works, refuses, hangs or lies, without a program or a clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from staqraft.actions.fence_plan import STATUS_OFF, STATUS_ON, Answer, Call
from staqraft.config.schema import FenceDevice

BEHAVIOURS = ("works", "refuses", "hangs", "lies")
_OFF_MS, _STATUS_MS, _REFUSED_MS = 1000, 300, 200


def device(name: str = "ipmi", **settings: object) -> FenceDevice:
    """A configured device; nothing runs its agent."""
    return FenceDevice(name=name, agent=Path("/usr/sbin/fence_fake"), plug="x", **settings)  # type: ignore[arg-type]


@dataclass
class FakeDevice:
    """One machine's power switch. `lies`: it says that it did, and did not."""

    behaviour: str
    is_on: Callable[[], bool]
    power_off: Callable[[], None]

    def took_ms(self, call: Call) -> int:
        """How long the agent will run."""
        match self.behaviour:
            case "hangs":
                return call.timeout_ms
            case "refuses":
                return min(_REFUSED_MS, call.timeout_ms)
            case _:
                return min(_STATUS_MS if call.action == "status" else _OFF_MS, call.timeout_ms)

    def end(self, call: Call) -> Answer:
        """What the agent has done by the end of that time."""
        took_ms = self.took_ms(call)
        if self.behaviour == "hangs":
            return Answer(code=None, took_ms=took_ms, said="it did not end in time and was killed")
        if self.behaviour == "refuses":
            return Answer(code=1, took_ms=took_ms, said="it ended with exit status 1")
        if call.action == "status":
            code = STATUS_ON if self.is_on() else STATUS_OFF
            return Answer(code=code, took_ms=took_ms, said="it said how it is")
        if self.behaviour == "works":
            self.power_off()
        return Answer(code=0, took_ms=took_ms, said="it said that it did")
