"""Directories whose entries are there after a power cut."""

from __future__ import annotations

import os
from pathlib import Path


def make_directory(path: Path) -> None:
    """Makes the directory, private, with those above it that are missing, durably. OSError."""
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Makes durable what was made, renamed or removed in the directory. OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
