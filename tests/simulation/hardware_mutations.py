"""Guards of fencing by devices and of the watchdog, taken out; see `mutations`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from simulation import daemon
from simulation.patching import put
from staqraft.actions import fence_plan
from staqraft.actions.watchdog import Watchdog
from staqraft.decision import fencing, standdown, watchdog
from staqraft.decision.commands import DisarmWatchdog
from staqraft.model import FenceRung


def _kicked_by_a_timer() -> None:
    real = daemon.Daemon._watch

    def watch(self: daemon.Daemon) -> None:
        dog = self._watchdog
        if dog is not None and dog.armed:
            dog._device.kick()
        real(self)

    put(daemon.Daemon, "_watch", watch)


def _disarmed_before_letting_go() -> None:
    real = standdown.stand_down

    def stand_down(turn: Any, reason: str, *, release: bool = False) -> None:
        if turn.state.settings.watchdog_ms:
            turn.emit(DisarmWatchdog())
        real(turn, reason, release=release)

    put(standdown, "stand_down", stand_down)


def _never_armed() -> None:
    put(Watchdog, "_feed", lambda *_: True)


def _given_up_with_the_lease_only() -> None:
    """No danger but an outage: machines that could let go are reset."""
    put(watchdog, "about_to_fire", lambda *_: False)


def _answer_not_verified() -> None:
    def level(devices: Any, action: str, _wanted: int) -> Any:
        for device in devices:
            answer = yield from fence_plan._patiently(device, action, {fence_plan.DONE})
            if answer.code != fence_plan.DONE:
                return f"{device.name}: '{action}' failed: {answer.said}"
        return ""

    put(fence_plan, "_level", level)


def _device_failure_counts() -> None:
    real = fencing.on_failed

    def on_failed(turn: Any, event: Any) -> bool:
        known = turn.state.fencing
        by_device = known is not None and event.token == known.device
        found = real(turn, event)
        if by_device:
            turn.set(fencing=replace(turn.state.fencing, proof=(FenceRung.DEVICE, "")))
        return found

    put(fencing, "on_failed", on_failed)


def _lease_counts_anyway() -> None:
    put(fencing, "suffices", lambda *_: True)


def _begun_anew_without_a_loser() -> None:
    def loser_of(state: Any) -> Any:
        return None if state.record.active == state.settings.node else state.record.active

    put(fencing, "loser_of", loser_of)


PATCHES: Final[tuple[tuple[str, Callable[[], None]], ...]] = (
    ("watchdog kicked by a timer", _kicked_by_a_timer),
    ("watchdog disarmed before letting go", _disarmed_before_letting_go),
    ("watchdog never armed", _never_armed),
    ("watchdog races with letting go", _given_up_with_the_lease_only),
    ("device's answer not verified", _answer_not_verified),
    ("device's failure counts as fenced", _device_failure_counts),
    ("lease counts although the policy excludes it", _lease_counts_anyway),
    ("takeover begun anew fences nobody", _begun_anew_without_a_loser),
)
