"""Telling strangers from peers by who identifies itself in time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from staqraft.wire.visitors import CAPACITY, LOOKS, WAIT_S, Visitors


@dataclass
class Porch:
    """A door with a clock and a street of its own."""

    now: float = 0.0
    street: list[str] = field(default_factory=list)
    looks: int = 0
    sweeps: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def look(self) -> list[str]:
        self.looks += 1
        return self.street

    def later(self, delay: float, action: Callable[[], None]) -> None:
        self.sweeps.append((self.now + delay, action))

    def wait(self, seconds: float) -> None:
        """Lets time pass, with what falls due in it."""
        end = self.now + seconds
        while due := [sweep for sweep in self.sweeps if sweep[0] <= end]:
            for sweep in due:
                self.sweeps.remove(sweep)
                self.now = sweep[0]
                sweep[1]()
        self.now = end


@pytest.fixture
def porch() -> Porch:
    return Porch()


@pytest.fixture
def visitors(porch: Porch) -> Visitors:
    return Visitors(lambda: porch.now, porch.later, porch.look)


def strangers(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [vars(record)["address"] for record in caplog.records]


def test_who_stays_silent_is_named_once(
    porch: Porch, visitors: Visitors, caplog: pytest.LogCaptureFixture
) -> None:
    porch.street = ["192.0.2.66"]
    for _ in range(5):
        visitors.knocked()
        porch.wait(WAIT_S)
    assert strangers(caplog) == ["192.0.2.66"]
    assert visitors.pending == 0


def test_who_identifies_itself_in_time_is_not_named(
    porch: Porch, visitors: Visitors, caplog: pytest.LogCaptureFixture
) -> None:
    porch.street = ["192.0.2.1", "192.0.2.66"]
    visitors.knocked()
    porch.wait(0.1)
    visitors.identified("192.0.2.1")
    porch.wait(WAIT_S)
    visitors.knocked()
    porch.wait(WAIT_S)
    assert strangers(caplog) == ["192.0.2.66"]


def test_each_has_its_own_time(
    porch: Porch, visitors: Visitors, caplog: pytest.LogCaptureFixture
) -> None:
    porch.street = ["192.0.2.66"]
    visitors.knocked()
    porch.wait(WAIT_S - 1)
    porch.street = ["192.0.2.67"]
    visitors.knocked()
    porch.wait(1)
    assert strangers(caplog) == ["192.0.2.66"]
    porch.wait(WAIT_S)
    assert strangers(caplog) == ["192.0.2.66", "192.0.2.67"]


def test_a_storm_costs_few_looks_and_little_memory(porch: Porch, visitors: Visitors) -> None:
    for number in range(10_000):
        porch.street = [f"10.{number // 65536}.{number // 256 % 256}.{number % 256}"] * 3
        visitors.knocked()
        porch.now += 0.001
    assert porch.looks <= LOOKS + 10 * 2 + 1
    porch.street = [f"192.0.2.{number}" for number in range(10_000)]
    porch.now += 1
    visitors.knocked()
    assert visitors.pending == CAPACITY
    assert len(porch.sweeps) == 1


def test_a_member_that_says_nothing_on_one_of_its_rings_is_no_stranger(
    porch: Porch, visitors: Visitors, caplog: pytest.LogCaptureFixture
) -> None:
    visitors.expect(["10.0.0.2"])
    porch.street = ["10.0.0.2", "192.0.2.66"]
    visitors.knocked()
    porch.wait(WAIT_S)
    assert strangers(caplog) == ["192.0.2.66"]
