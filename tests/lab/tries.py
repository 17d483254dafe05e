"""Takeovers whose cost to the client is judged, on machines that stand still now and then."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from lab.layout import other
from lab.story import Story, Takeover

TRIES = 3


def tries(act: Callable[[], Takeover], target_s: float) -> Iterator[Takeover]:
    """Takeovers until one costs the client less than this; the test fails when none does.

    What must hold of each is for the caller to see. A machine that is busy elsewhere delays
    anything, but hardly three times; what is too slow by itself is so each time.
    """
    outages: list[float] = []
    while not outages or outages[-1] >= target_s:
        if len(outages) == TRIES:
            pytest.fail(f"clients waited for {outages} s; the target is {target_s:g} s")
        takeover = act()
        outages.append(takeover.outage_s)
        yield takeover


def cut_power(story: Story) -> Takeover:
    """Cuts the power of the active; who lost it before gets it back first, and is in sync."""
    if not story.lab.has_power(other(story.active)):
        story.return_of_the_loser()
    story.compare()
    return story.cut_power()
