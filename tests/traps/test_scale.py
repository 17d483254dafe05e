"""Many directories: what it takes to begin, and that each is watched.

A handful here; `STAQRAFT_DIRECTORIES=200000 scripts/test -s tests/traps/test_scale.py` says what a
large tree costs.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from fakes.capturing import Captured
from fakes.scratch import memory_directory
from staqraft.capture.fanotify_source import FanotifySource
from staqraft.capture.inotify_source import InotifySource
from staqraft.journal.record import MovedFrom, Upsert

DIRECTORIES = int(os.environ.get("STAQRAFT_DIRECTORIES", "2000"))
PATIENCE_MS = 60_000 + 10 * DIRECTORIES
MOST_BYTES_EACH = 2_000  # measured with 200,000: 700, the index's memory included


def memory_bytes() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("backend", [FanotifySource, InotifySource])
def test_many_directories(backend: type[FanotifySource | InotifySource]) -> None:
    if backend is FanotifySource and os.geteuid() != 0:
        pytest.skip("fanotify needs root")
    with memory_directory() as base:
        root = base / "tree"
        for number in range(DIRECTORIES // 100):
            (root / f"{number}").mkdir(parents=True)
            for below in range(99):
                (root / f"{number}" / f"{below}").mkdir()
        before, cpu, begun = memory_bytes(), time.process_time(), time.monotonic()
        captured = Captured(root, base / "state", base / "run", backends=[backend])
        try:
            captured.capture.start()
            captured.capture.barrier(PATIENCE_MS)
            more = memory_bytes() - before
            print(  # noqa: T201 (what this is for)
                f"\n{backend.backend}: {DIRECTORIES} directories in"
                f" {time.monotonic() - begun:.1f} s, {time.process_time() - cpu:.1f} s of CPU,"
                f" {more >> 20} MiB"
            )
            assert captured.capture.status().complete
            assert captured.capture.status().scanned >= DIRECTORIES
            assert more <= DIRECTORIES * MOST_BYTES_EACH + (32 << 20)
            list(captured.new_records())
            (root / "7" / "50" / "file").write_bytes(b"in one of many")
            (root / "3").rename(root / "moved")
            captured.capture.barrier(PATIENCE_MS)
            told = list(captured.new_records())
            assert b"7/50/file" in {record.path for record in told}
            moves = [
                record.path for record in told
                if isinstance(record.change, Upsert)
                and isinstance(record.change.content, MovedFrom)
            ]  # fmt: skip
            assert moves == [b"moved"]
            assert len(told) < 10
        finally:
            captured.close()
