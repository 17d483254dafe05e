"""A volume to play with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.small_disk import small_disk


@pytest.fixture
def small_volume(tmp_path: Path) -> Iterator[Path]:
    """Of 300 KiB; the test is skipped where none can be had."""
    with small_disk(tmp_path / "volume", 300) as place:
        yield place
