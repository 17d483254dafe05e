"""Times as administrators write them."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from staqraft.cli.times import moment_ms

NOW = datetime(2026, 11, 23, 4, 30)  # noqa: DTZ001 - this host's time, whichever that is


def ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("+2h", NOW + timedelta(hours=2)),
        ("05:00", NOW.replace(hour=5, minute=0)),
        ("03:00", NOW.replace(day=24, hour=3, minute=0)),
        ("04:30", NOW.replace(day=24)),
        ("2026-12-01 03:00", datetime(2026, 12, 1, 3)),  # noqa: DTZ001 - as above
        ("2026-12-01T03:00:30", datetime(2026, 12, 1, 3, 0, 30)),  # noqa: DTZ001
        ("2020-01-01 00:00", datetime(2020, 1, 1)),  # noqa: DTZ001 - the daemon refuses the past
    ],
)
def test_what_can_be_written(text: str, meant: datetime) -> None:
    assert moment_ms(text, NOW) == ms(meant)


@pytest.mark.parametrize("text", ["", "soon", "25:00", "+", "+2", "+-2h", "2026-13-01 03:00", "3"])
def test_what_cannot(text: str) -> None:
    with pytest.raises(ValueError, match="write for instance"):
        moment_ms(text, NOW)
