"""How long tests wait, on machines that are busy or stand still now and then."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

PATIENCE_S = 60.0
LONG_MS = 60_000


def growing(first_ms: int) -> Iterator[int]:
    """Time limits for what is to be over at its time limit, but has to come so far before."""
    limit_ms = first_ms
    while limit_ms <= LONG_MS:
        yield limit_ms
        limit_ms *= 2
    pytest.fail(f"{limit_ms // 2} ms were not enough either")
