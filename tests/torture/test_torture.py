"""A slice of a torture, always the same: the whole is scripts/torture."""

from __future__ import annotations

import os

import pytest

from torture.plan import ENDINGS, TROUBLES, Wishes, draw, smaller
from torture.run import run


def test_a_seed_draws_the_same_again_and_leaving_out_leaves_the_rest() -> None:
    everything, fewer = Wishes(), Wishes(without=frozenset({"create", "kill"}))
    assert draw(7, everything) == draw(7, everything)
    for phase, less in zip(draw(7, everything), draw(7, fewer), strict=True):
        kept = [[deed for deed in writer if deed[0] != "create"] for writer in phase.writers]
        assert kept == [list(writer) for writer in less.writers]
        assert [t for t in phase.troubles if t.kind != "kill"] == list(less.troubles)


def test_shrinking_asks_for_less_each_time_until_nothing_is_left() -> None:
    wishes, steps = Wishes(), 0
    while todo := smaller(wishes, draw(3, wishes)):
        wishes, steps = todo[0], steps + 1
        assert steps < 200
    assert wishes.writers == 1
    assert not any(phase.troubles for phase in draw(3, wishes))
    assert set(TROUBLES) | set(ENDINGS) > {"kill", "failover"}


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="it mounts file systems, which needs root")
async def test_a_pair_is_equal_after_writers_crashes_and_a_failover() -> None:
    wishes = Wishes(phases=2, writers=2, deeds=80)
    try:
        outcome = await run(11, wishes, print)
    except RuntimeError as error:
        pytest.skip(str(error))
    assert not outcome.violation, f"{outcome.violation}\n{outcome.evidence}"
    assert outcome.phases == 2
    assert outcome.deeds > 100
