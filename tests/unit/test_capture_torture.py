"""Random changes, captured in random batches: tree, index and replica are equal at each barrier."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.capturing import capturing
from fakes.grounds import mounted
from fakes.mischief import Mischief
from staqraft.capture.fanotify_source import FanotifySource
from staqraft.capture.inotify_source import InotifySource
from staqraft.capture.watcher import MakeSource

SEED = int(os.environ.get("STAQRAFT_SEED", "3"))

_BACKENDS: dict[str, MakeSource] = {"fanotify": FanotifySource, "inotify": InotifySource}


@pytest.fixture(params=["ext4", "tmpfs"])
def ground(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    try:
        with mounted(request.param, tmp_path / "ground") as it:
            (it / "tree").mkdir()
            (it / "outside").mkdir()
            yield it
    except RuntimeError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("backend", ["fanotify", "inotify"])
@pytest.mark.parametrize("seed", [1, 2])
def test_in_batches(ground: Path, tmp_path: Path, backend: str, seed: int) -> None:
    mischief = Mischief(ground / "tree", ground / "outside", seed)
    dice = random.Random(seed)
    mischief.act(50)
    with capturing(
        ground / "tree", tmp_path / "state", tmp_path / "run", backends=[_BACKENDS[backend]]
    ) as captured:
        for _ in range(12):
            for _ in range(dice.randrange(6)):
                mischief.act(dice.randrange(12))
                captured.capture.step(0)
            captured.check()


@pytest.mark.parametrize("backend", ["fanotify", "inotify"])
def test_while_it_captures(ground: Path, tmp_path: Path, backend: str) -> None:
    mischief = Mischief(ground / "tree", ground / "outside", SEED)
    with capturing(
        ground / "tree", tmp_path / "state", tmp_path / "run", backends=[_BACKENDS[backend]]
    ) as captured:
        for _ in range(6):
            busy = threading.Thread(target=mischief.act, args=(60,))
            busy.start()
            while busy.is_alive():
                captured.capture.step(1)
            busy.join()
            captured.check()
