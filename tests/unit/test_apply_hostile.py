"""Records that no replica of ours writes: each is applied or refused, and none leaves the tree."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from fakes.scratch import memory_directory
from fakes.source_tree import TREE
from fakes.standby import Standby
from lab.compare import Manifest, manifest
from staqraft.errors import StaqraftError
from staqraft.journal.record import (
    Chunk,
    Delta,
    HardLinkTo,
    Inline,
    Metadata,
    MovedFrom,
    ObjectType,
    Record,
    Remove,
    Staged,
    Upsert,
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners and devices need root")
PATHS = (
    b"", b"a", b"b", b"d", b"d/a", b"d/b", b"out", b"out/secret", b"out/new", b"up",
    b"up/outside/new", b"..", b"../outside/new", b"/etc/none", b"d/../../outside/new", b"./a",
    b"d//a", b"d/", b".staqraft-staging", b".staqraft-staging/x", b"x" * 256,
    b"d/" * 2100 + b"a", b"nul\0l",
)  # fmt: skip
"""`out` and `up` lead out of the tree."""
SIZES = st.sampled_from((0, 1, 4097, 2**40 - 1, 2**63 - 1, 2**63, 2**64 - 1))
NUMBERS = st.sampled_from((0, 1, 2**31 - 1, 2**31, 2**32 - 1))
TIMES = st.sampled_from((0, -1, 2**63, -(2**63) - 1, 2**80, -(2**80), (2**63 - 1) * 10**9))
NAMES = st.sampled_from(
    (b"user.a", b"", b"no.such", b"user.\0", b"user." + b"x" * 300, b"trusted.b")
)
paths = st.sampled_from(PATHS)
metadata = st.builds(
    Metadata,
    type=st.sampled_from(ObjectType),
    mode=st.sampled_from((0, 0o644, 0o7777, 2**32 - 1)),
    uid=NUMBERS,
    gid=NUMBERS,
    mtime_ns=TIMES,
    size=SIZES,
    symlink_target=st.sampled_from((b"", b"..", b"/etc", b"../outside", b"x\0y", b"x" * 5000)),
    rdev=st.sampled_from((0, 1, 2**32, 2**64 - 1)),
    xattrs=st.lists(st.tuples(NAMES, st.binary(max_size=3)), max_size=2).map(tuple),
)
pieces = st.lists(st.tuples(SIZES, st.binary(max_size=9)), max_size=2).map(tuple)
contents = st.one_of(
    st.none(),
    st.builds(Inline, st.binary(max_size=9)),
    st.builds(Delta, st.just(b""), pieces),
    st.builds(Staged, st.sampled_from((1, 2**64 - 1))),
    st.builds(MovedFrom, paths),
    st.builds(HardLinkTo, paths),
)
changes = st.one_of(
    st.builds(Upsert, metadata=metadata, digest=st.just(b""), content=contents),
    st.builds(Remove),
    st.builds(
        Chunk, stage=st.sampled_from((1, 2**64 - 1)), offset=SIZES, data=st.binary(max_size=9)
    ),
)
records = st.builds(
    Record,
    tree=st.sampled_from((TREE, TREE, TREE, "", "..", "other")),
    path=paths,
    change=changes,
    before=st.sampled_from((b"", b"there")),
)


def laid_out(base: Path) -> Manifest:
    """What is beside the tree and must stay as it is."""
    outside = base / "outside"
    outside.mkdir(parents=True)
    (outside / "secret").write_bytes(b"nobody else's")
    return manifest(outside)


def with_ways_out(standby: Standby) -> None:
    (standby.path / "out").symlink_to("../outside")
    (standby.path / "up").symlink_to("..")
    (standby.path / "d").mkdir()
    (standby.path / "d" / "a").write_bytes(b"of the tree")


@settings(max_examples=150, deadline=None)
@given(st.lists(records, min_size=1, max_size=6), st.booleans())
def test_each_is_applied_or_refused_and_nothing_leaves_the_tree(
    hostile: list[Record], fetched: bool
) -> None:
    with memory_directory() as base:
        before = laid_out(base)
        standby = Standby(base)
        with_ways_out(standby)
        refused = 0
        for number, record in enumerate(hostile, start=1):
            numbered = replace(record, position=replace(record.position, seq=number))
            try:
                done = standby.applier.make_new([numbered], fetched=fetched)
                if not done:
                    standby.applier.apply(numbered, fetched=fetched)
            except StaqraftError:
                refused += 1
        standby.close()
        event("refused" if refused else "applied")
        assert manifest(base / "outside") == before
        assert {path.name for path in base.iterdir()} <= {
            "outside", "tree", "index.sqlite", "index.sqlite-wal", "index.sqlite-shm", "applied"
        }  # fmt: skip
