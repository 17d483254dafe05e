"""Where disk images of tests go: into memory if there is some, so that their flushes cost little.

What a filesystem on the image loses in a power cut does not depend on where the image is.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MEMORY = Path("/dev/shm")


@contextmanager
def image_file(beside: Path, size: int) -> Iterator[Path]:
    """An empty, sparse file of `size` bytes; gone at the end."""
    directory = _MEMORY if _MEMORY.is_dir() else beside
    with tempfile.NamedTemporaryFile(
        dir=directory, prefix="staqraft-test-", suffix=".img", delete=False
    ) as file:
        file.truncate(size)
        path = Path(file.name)
    try:
        yield path
    finally:
        path.unlink()


@contextmanager
def memory_directory() -> Iterator[Path]:
    """A directory in which syncs cost nothing, where there is one; gone at the end."""
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as made:
        yield Path(made)
