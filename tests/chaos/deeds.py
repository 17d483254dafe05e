"""What people do, and what is wrong with what they rely on: switchovers, load, services that do not
stop, fence devices that do not work, clocks that jump.
"""

from __future__ import annotations

from chaos import users
from chaos.ground import Ground
from chaos.nemesis import Nemesis
from lab.linux import boottime


class Busy(Nemesis):
    """Not a fault: hundreds of mails delivered, flagged, moved and deleted as fast as it goes."""

    def __init__(self) -> None:
        super().__init__("load", "load", 0.0)

    def inject(self, ground: Ground) -> None:
        lab, host, begun = ground.lab, ground.active, boottime()
        work = lab.popen(host, lab.module("users", package="chaos"))

        def end() -> None:
            told, _ = work.communicate()  # to its end, which may be that of its host
            lines = told.splitlines(keepends=True)
            ground.delivered += users.delivered(host, lines, begun)

        self._repairs.callback(end)


class SwitchOver(Nemesis):
    """Not a fault, but things happen at bad moments."""

    def __init__(self, hold_s: float = 0.0) -> None:
        super().__init__("switchover", "switchover", hold_s)

    def inject(self, ground: Ground) -> None:
        ground.ask_switchover()


class Stubborn(Nemesis):
    """nginx cannot be stopped: its stop command refuses, or does not end."""

    def __init__(self, role: str, mood: str, hold_s: float) -> None:
        kind = f"service that cannot stop ({mood})"
        super().__init__(kind, f"{kind}, {role}", hold_s)
        self._role = role
        self._mood = mood

    def inject(self, ground: Ground) -> None:
        host = ground.host(self._role)
        ground.require_power(host)
        self._repairs.callback(ground.set_stubborn, host, "")
        ground.set_stubborn(host, self._mood)


class FenceFailure(Nemesis):
    """The device that turns a host off refuses, hangs, or says that it did and did not."""

    def __init__(self, role: str, mood: str, hold_s: float) -> None:
        kind = f"fence device {mood}"
        super().__init__(kind, f"{kind}, {role}", hold_s)
        self._role = role
        self._mood = mood

    def inject(self, ground: Ground) -> None:
        host = ground.host(self._role)
        self._repairs.callback(ground.set_fence_mood, host, "")
        ground.set_fence_mood(host, self._mood)


class ClockStep(Nemesis):
    """The wall clock of a host jumps, and jumps back when it is healed."""

    def __init__(self, role: str, offset_s: float, hold_s: float) -> None:
        kind = "wall clock steps forward" if offset_s > 0 else "wall clock steps back"
        super().__init__(kind, f"{kind} by {abs(offset_s):.0f} s, {role}", hold_s)
        self._role = role
        self._offset_s = offset_s

    def inject(self, ground: Ground) -> None:
        host = ground.host(self._role)
        ground.require_power(host)
        self._repairs.callback(ground.step_clock, host, 0.0)
        ground.step_clock(host, self._offset_s)
