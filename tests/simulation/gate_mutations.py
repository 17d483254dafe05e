"""What the gate needs, taken out one at a time: see `mutations`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from simulation.patching import put
from staqraft.actions import vip
from staqraft.model import Admission


def taken_for_punctual() -> None:
    """The time-outs of its elements are what is left of the lease."""
    put(vip, "timeout_ms", lambda left_ms: left_ms if left_ms >= 10 else 0)
    put(vip, "ends_in_time", lambda duration_ms, left_ms: duration_ms <= left_ms + 10)


def without_end() -> None:
    """It stays open until somebody closes it."""
    put(vip, "timeout_ms", lambda left_ms: 3_600_000 if left_ms > 0 else 0)
    put(vip, "ends_in_time", lambda *_: True)


def held_up_call_not_seen() -> None:
    """The clock is not looked at after the transaction."""
    put(vip, "ends_in_time", lambda *_: True)


def counts_from_now() -> None:
    """Each refresh opens it for a whole lease, whenever that was proposed."""
    real = vip.VipHolder._admit

    def admit(self: Any, gate: Any, until_ms: int, admission: Admission | None) -> bool:
        return real(self, gate, max(until_ms, self._clock() + 950), admission)

    put(vip.VipHolder, "_admit", admit)


def not_closed_when_let_go() -> None:
    """The next takeover finds it as it was, and lets clients in before the services run."""
    put(vip.VipHolder, "_shut", lambda _: [])
    put(vip.VipHolder, "_let_go", vip.VipHolder._drop)


def opened_before_the_services() -> None:
    """Clients are let in as soon as the addresses are there."""
    real = vip.VipHolder._hold
    put(
        vip.VipHolder,
        "_hold",
        lambda self, until_ms, admit=None: real(self, until_ms, admit or Admission.OPEN),
    )


def late_refresh_closes_for_good() -> None:
    """A refresh that came too late forgets that the gate was to be open."""
    real = vip.VipHolder._drop

    def drop(self: Any) -> None:
        self._admits = Admission.CLOSED
        real(self)

    put(vip.VipHolder, "_drop", drop)


_GATED: Final = ("late_refresh", "fast", "gate")
PATCHES: Final[tuple[tuple[str, Callable[[], None], tuple[str, ...]], ...]] = (
    ("gate taken for punctual", taken_for_punctual, _GATED),
    ("gate without an end", without_end, _GATED),
    ("held up gate call not noticed", held_up_call_not_seen, ("held_up_gate",)),
    ("gate opened for a lease from now", counts_from_now, _GATED),
    ("gate not closed on letting go", not_closed_when_let_go, _GATED),
    ("gate opened before the services", opened_before_the_services, _GATED),
    ("gate closed for good by a late refresh", late_refresh_closes_for_good, ("late_refresh",)),
)
