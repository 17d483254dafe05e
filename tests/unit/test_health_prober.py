"""What the disk probe's words add up to, a volume at a time."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.pki import cluster_pki
from fakes.trio import DEFAULT, A, trio_config
from staqraft.config.schema import Tree
from staqraft.health.prober import Prober

NOW_MS = 5_000


class Told:
    """A prober of a state directory and two trees, that is told things without a program."""

    def __init__(self, directory: Path) -> None:
        config = trio_config(A, cluster_pki(), directory, control_port=7400)
        self.state = str(config.state_dir)
        self.www, self.mail = str(directory / "www"), str(directory / "mail")
        group = replace(
            config.groups[DEFAULT],
            trees=(Tree(name="www", path=Path(self.www)), Tree(name="mail", path=Path(self.mail))),
        )
        self.now_ms = NOW_MS
        config = replace(config, groups={DEFAULT: group})
        self.prober = Prober(config, now_ms=lambda: self.now_ms)

    def wrote(self, path: str, took_ms: int = 3) -> None:
        self.prober.take({"path": path, "begin": True})
        self.prober.take({"path": path, "took_ms": took_ms, "error": ""})

    def same(self, path: str, written: str) -> None:
        self.prober.take({"path": path, "begin": True})
        self.prober.take({"path": path, "same": written})


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)


def test_a_volume_bears_the_first_directorys_name_whichever_of_them_is_written_to(
    told: Told,
) -> None:
    for written, *others in itertools.permutations((told.state, told.www, told.mail)):
        told.wrote(written, took_ms=7)
        for other in others:
            told.same(other, written)
        (look,) = told.prober.looks()
        assert (look.path, look.took_ms) == (told.state, 7)
        assert look.groups == frozenset()  # the state directory is everybody's


def test_a_volume_of_trees_only_is_its_groups_own(told: Told) -> None:
    told.wrote(told.state)
    told.wrote(told.mail, took_ms=9)
    told.same(told.www, told.mail)
    ours, trees = told.prober.looks()
    assert (ours.path, ours.groups) == (told.state, frozenset())
    assert (trees.path, trees.took_ms, trees.groups) == (told.www, 9, frozenset({DEFAULT}))


def test_a_write_that_hangs_is_its_volumes(told: Told) -> None:
    told.wrote(told.mail)
    told.same(told.www, told.mail)
    told.prober.take({"path": told.mail, "begin": True})
    told.now_ms += 16_000
    _, trees = told.prober.looks()
    assert (trees.path, trees.writing_ms) == (told.www, 16_000)


def test_a_tree_that_gets_a_volume_of_its_own_is_seen_alone(told: Told) -> None:
    told.wrote(told.state)
    told.same(told.www, told.state)
    told.same(told.mail, told.state)
    told.wrote(told.www, took_ms=4)
    assert [look.path for look in told.prober.looks()] == [told.state, told.www]
