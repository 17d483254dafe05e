"""How long something takes yet: by what was done lately, and nothing where that says nothing."""

from __future__ import annotations

import pytest

from staqraft.apply.rate import Rate, left_s
from staqraft.apply.reconcile import Progress
from staqraft.daemon.trees_standby import _Pace


def test_the_pace_of_the_last_seconds_counts() -> None:
    rate = Rate()
    assert rate.per_s(0, 0.0) == 0.0
    slow = [rate.per_s(second * 10, float(second)) for second in range(1, 101)]
    assert slow[-1] == pytest.approx(10)
    fast = [rate.per_s(1000 + (second - 100) * 500, float(second)) for second in range(101, 131)]
    assert fast[-1] == pytest.approx(500), "what was long ago does not matter"


def test_what_is_left() -> None:
    assert left_s(10, 110, 50) == 2.0
    assert left_s(7, 7, 0) == 0.0
    assert left_s(7, 8, 0) < 0


@pytest.mark.parametrize(
    "progress",
    [
        Progress(fetched=7, bytes=700 << 20, known=2007, known_bytes=710 << 20),
        Progress(fetched=1000, bytes=5 << 20, known=1001, known_bytes=65 << 20),
    ],
    ids=["large files first", "small files first"],
)
def test_whichever_come_first_the_rest_is_not_guessed_by_what_there_is_no_more_of(
    progress: Progress,
) -> None:
    """It said 17 minutes two seconds before the end of a first copy."""
    now_ms = 0
    pace = _Pace(lambda: now_ms)
    pace.take(Progress())
    now_ms = 4000
    pace.take(progress)
    assert 100 < progress.left_ms < 5000
