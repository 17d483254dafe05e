"""Labs for tests: skipped where this machine cannot build one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import requirements
from lab.errors import MissingError
from lab.lab import Lab


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab of this test module's own, all hosts on, nothing running in them."""
    yield from built(tmp_path_factory)


@pytest.fixture(scope="module")
def fast_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The same, and its cluster will have the fast profile."""
    yield from built(tmp_path_factory, profile="fast")


@pytest.fixture(scope="module")
def gateless_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The same, and its replicas do without a gate."""
    yield from built(tmp_path_factory, profile="gateless")


@pytest.fixture(scope="module")
def watchdog_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The same, and its replicas will need a watchdog (`dog`)."""
    yield from built(tmp_path_factory, profile="watchdog")


@pytest.fixture(scope="module")
def pair_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Two replicas without a witness; each can turn the other off."""
    yield from built(tmp_path_factory, witness=False)


def built(
    tmp_path_factory: pytest.TempPathFactory,
    *,
    profile: str = "default",
    witness: bool = True,
    apart: bool = False,
) -> Iterator[Lab]:
    """A lab, or a reason to skip the test; see `Lab.create`."""
    if os.geteuid() != 0:
        pytest.skip("the lab needs root (try: unshare -Urnmp --fork --mount-proc)")
    try:
        requirements.check()
    except MissingError as missing:
        pytest.skip(str(missing))
    place = tmp_path_factory.mktemp("lab") / "lab"
    made = Lab.create(place, profile=profile, witness=witness, apart=apart)
    yield made
    made.down()


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """An empty directory."""
    return tmp_path
