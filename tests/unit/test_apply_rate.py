"""How long something takes yet: by what was done lately, and nothing where that says nothing."""

from __future__ import annotations

import pytest

from staqraft.apply.rate import Rate, left_s


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
