"""What nodes of two releases need, taken out one at a time: see `mutations`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from simulation.patching import put
from staqraft.consensus import codec, versions


def newer_is_guessed() -> None:
    """An older release applies what it takes a newer command for."""
    put(codec, "_check_format", lambda *_: None)


def spoken_before_announced() -> None:
    """Whoever was upgraded speaks the newer format at once."""
    put(versions, "spoken", lambda *_: versions.FORMAT)


def who_is_silent_counts_as_newest() -> None:
    """The format of those that announced is spoken, whoever did not."""
    real = versions.spoken

    def spoken(record: Any, members: Any) -> int:
        return real(record, record.members.keys() & set(members))

    put(versions, "spoken", spoken)


_UPGRADED: Final = ("upgraded_and_put_back",)
PATCHES: Final[tuple[tuple[str, Callable[[], None], tuple[str, ...]], ...]] = (
    ("newer format is guessed", newer_is_guessed, _UPGRADED),
    ("newer format spoken at once", spoken_before_announced, _UPGRADED),
    ("newer format spoken to who said nothing", who_is_silent_counts_as_newest, _UPGRADED),
)
