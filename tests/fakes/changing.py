"""Changes of a file that only an event and its change time tell of."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def set_attribute(path: Path) -> None:
    os.setxattr(path, "trusted.late", b"told late")


def rewrite_as_if_nothing_had_happened(path: Path) -> None:
    """Nothing but an event and the change time tell of it."""
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"A NOTE")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


changes = pytest.mark.parametrize("change", [set_attribute, rewrite_as_if_nothing_had_happened])
