"""Trees on real filesystems, captured by each back end: what the traps are tried on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.capturing import Captured, capturing
from fakes.grounds import mounted
from fakes.scratch import memory_directory
from staqraft.capture.fanotify_source import FanotifySource
from staqraft.capture.inotify_source import InotifySource
from staqraft.capture.watcher import MakeSource

# XFS and btrfs take a minute more:
# STAQRAFT_FILESYSTEMS=ext4,tmpfs,xfs,btrfs scripts/test tests/traps
FILESYSTEMS = os.environ.get("STAQRAFT_FILESYSTEMS", "ext4,tmpfs").split(",")


@pytest.fixture(scope="session", params=FILESYSTEMS)
def filesystem(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    try:
        with mounted(request.param, tmp_path_factory.mktemp("ground") / request.param) as ground:
            yield ground
    except RuntimeError as error:
        pytest.skip(str(error))


@pytest.fixture(params=["fanotify", "inotify"])
def backend(request: pytest.FixtureRequest) -> MakeSource:
    return FanotifySource if request.param == "fanotify" else InotifySource


@pytest.fixture
def outside(filesystem: Path, request: pytest.FixtureRequest) -> Path:
    """A directory on the tree's filesystem that is not in the tree."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)
    base = filesystem / name
    base.mkdir()
    return base


@pytest.fixture
def root(outside: Path) -> Path:
    tree = outside / "tree"
    tree.mkdir()
    (tree / "kept").mkdir()
    (tree / "kept" / "file").write_bytes(b"as it was")
    (tree / "other").mkdir()
    (tree / "note").write_bytes(b"a note")
    return tree


@pytest.fixture
def state() -> Iterator[Path]:
    """Where journal and index are."""
    with memory_directory() as made:
        yield made


@pytest.fixture
def captured(root: Path, state: Path, backend: MakeSource) -> Iterator[Captured]:
    with capturing(root, state, state / "run", backends=[backend]) as it:
        it.check()
        yield it
