"""A standby's full disk: applying pauses and goes on, nothing is lost and nothing dies."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.source_tree import SourceTree
from fakes.standby import Standby
from lab.compare import differences, manifest
from staqraft.apply.safety import CannotWrite


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    disk = tmp_path / "standby"
    disk.mkdir()
    options = ["-o", "size=4m", "-t", "tmpfs", "small", str(disk)]
    if subprocess.run(["mount", *options], check=False).returncode != 0:
        pytest.skip("mounting a tmpfs is not allowed here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_pauses_at_the_record_and_goes_on_there(
    small_disk: Path, tmp_path: Path
) -> None:
    source = SourceTree(tmp_path / "source")
    for number in range(20):
        source.write(b"f%d" % number, os.urandom(100_000))
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2_500_000))
    standby = Standby(small_disk, state=tmp_path)
    done = 0
    try:
        for record in source.records:
            standby.applier.apply(record)
            done += 1
    except CannotWrite as error:
        assert "free space" in str(error)  # noqa: PT017 (how far it came matters too)
    assert 0 < done < len(source.records)
    ballast.unlink()
    assert standby.apply_and_commit(source.records[done:]) == []
    assert not differences(manifest(source.path), manifest(standby.path))
    standby.close()
    source.close()
