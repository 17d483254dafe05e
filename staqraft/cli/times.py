"""Wall-clock times as administrators write and read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from staqraft.config.values import duration_ms

_FORMS: Final = (
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S",
)


def local_time(wall_ms: int, zone: tzinfo | None = None) -> str:
    """A wall-clock time for people: local, to the second."""
    moment = datetime.fromtimestamp(wall_ms / 1000, UTC).astimezone(zone)
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def moment_ms(text: str, now: datetime) -> int:
    """`+2h`, `03:00` or `2026-11-24 03:00`, as ms since 1970. `now` is naive: this host's time.

    An hour without a day is the next time that it is so late. ValueError says what can be written.
    """
    if text.startswith("+"):
        return _ms(now) + duration_ms(text[1:])
    for form in _FORMS:
        try:
            return _ms(datetime.strptime(text, form))  # noqa: DTZ007 - this host's zone is meant
        except (ValueError, OverflowError):
            continue
    try:
        hour = datetime.strptime(text, "%H:%M").time()  # noqa: DTZ007 - as above
    except ValueError:
        raise ValueError(
            "is not a time: write for instance +2h, 03:00, or '2026-11-24 03:00'"
        ) from None
    today = datetime.combine(now.date(), hour)
    return _ms(today if today > now else today + timedelta(days=1))


def _ms(moment: datetime) -> int:
    """By this host's zone, with the summer time of that day."""
    return round(moment.timestamp() * 1000)
