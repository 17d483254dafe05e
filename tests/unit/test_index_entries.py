"""The index: entries, moves, links, digests, commits, damage."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from staqraft.index import (
    UNRECORDED,
    Entry,
    FileIdentity,
    Index,
    IndexDamaged,
    MissingParent,
    SharedHistory,
    is_reserved,
    state_digest,
)
from staqraft.journal.record import Metadata, ObjectType
from staqraft.model import ORIGIN, Epoch, EpochStart, Position

T = "web"
ONE = Position(Epoch(1), 1)


def entry(path: bytes, *, size: int = 5, ino: int = 0, origin: Position = ONE) -> Entry:
    metadata = Metadata(
        type=ObjectType.FILE,
        mode=0o644,
        uid=1,
        gid=2,
        mtime_ns=-3,
        size=size,
        xattrs=((b"user.a", b"1"), (b"user.b", b"")),
    )
    number = ino or abs(hash(path)) % 2**40 + 1
    identity = FileIdentity(dev=2**63 + 5, ino=number, ctime_ns=9)
    return Entry(path=path, metadata=metadata, digest=b"d" * 16, identity=identity, origin=origin)


def directory(path: bytes) -> Entry:
    made = entry(path)
    metadata = Metadata(type=ObjectType.DIRECTORY, mode=0o755, uid=0, gid=0, mtime_ns=1)
    return replace(made, metadata=metadata, digest=b"")


def filled(path: Path) -> Index:
    made = Index.open(path)
    made.put(T, directory(b""))
    made.put(T, directory(b"a"))
    made.put(T, directory(b"a/b"))
    made.put(T, entry(b"a/b/f"))
    made.put(T, entry(b"a/g\xff"))
    return made


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    made = filled(tmp_path / "index.sqlite")
    yield made
    made.close()


def paths(index: Index) -> list[bytes]:
    return sorted(e.path for e in index.subtree(T, b""))


def reopened(index: Index, path: Path) -> Index:
    """The same, remembering nothing."""
    index.commit(ONE)
    index.close()
    return Index.open(path)


def test_what_was_foreseen_is_asked_for_once(tmp_path: Path) -> None:
    index = filled(tmp_path / "index")
    many = [entry(b"a/b/%d" % number) for number in range(600)]
    for each in many:
        index.put(T, each)
    fresh = reopened(index, tmp_path / "index")
    wanted = [each.path for each in many] + [b"", b"a/g\xff", b"a/none", b"none/at/all"]
    expected = [fresh.get(T, path) for path in wanted]
    fresh = reopened(fresh, tmp_path / "index")
    questions: list[str] = []
    fresh._db._connection.set_trace_callback(questions.append)
    fresh.foresee(T, wanted)
    assert len(questions) < 20  # three for the 600, and those that lead there
    asked = len(questions)
    assert [fresh.get(T, path) for path in wanted] == expected
    assert len(questions) <= asked + 2  # where no directory is, it is looked for again
    fresh.close()


def test_what_was_foreseen_may_change_before_it_is_asked_for(tmp_path: Path) -> None:
    fresh = reopened(filled(tmp_path / "index"), tmp_path / "index")
    fresh.foresee(T, [b"a/b/f", b"a/b/new", b"a/g\xff"])
    fresh.put(T, entry(b"a/b/new", size=7))
    fresh.move(T, b"a/b/f", b"a/b/g")
    fresh.remove(T, b"a/g\xff")
    fresh.foresee(T, [b"a/b/f", b"a/b/new", b"a/g\xff", b"a/b/g"])
    assert fresh.get(T, b"a/b/new") == entry(b"a/b/new", size=7)
    assert fresh.get(T, b"a/b/f") is None
    assert fresh.get(T, b"a/g\xff") is None
    moved = fresh.get(T, b"a/b/g")
    assert moved is not None
    assert moved.digest == entry(b"a/b/f").digest
    fresh.rollback()
    assert fresh.get(T, b"a/b/f") == entry(b"a/b/f")
    assert fresh.get(T, b"a/b/new") is None
    fresh.close()


def test_what_was_put_comes_back_whole(index: Index) -> None:
    assert index.get(T, b"a/b/f") == entry(b"a/b/f")
    assert index.get(T, b"a/none") is None
    assert index.get("other tree", b"a") is None
    assert [e.path for e in index.children(T, b"a")] == [b"a/b", b"a/g\xff"]
    assert index.totals(T).objects == 5
    assert index.totals(T).bytes == 10


def test_a_parent_comes_first(index: Index) -> None:
    with pytest.raises(MissingParent):
        index.put(T, entry(b"x/y"))


def test_removing_a_directory_removes_what_is_below(index: Index) -> None:
    index.remove(T, b"a/b")
    assert paths(index) == [b"a", b"a/g\xff"]
    assert index.totals(T).objects == 3
    index.put(T, directory(b"a/b"))
    assert index.children(T, b"a/b") == []


def test_a_file_in_place_of_a_directory_forgets_what_was_below(index: Index) -> None:
    index.put(T, entry(b"a"))
    assert paths(index) == [b"a"]


def test_a_moved_directory_takes_everything_along(index: Index) -> None:
    index.set_signatures(T, b"a/b/f", b"blocks")
    index.put(T, directory(b"c"))
    index.put(T, entry(b"c/replaced"))
    index.move(T, b"a", b"c")
    assert paths(index) == [b"c", b"c/b", b"c/b/f", b"c/g\xff"]
    assert index.get(T, b"c/b/f") == replace(entry(b"a/b/f"), path=b"c/b/f")
    assert index.signatures(T, b"c/b/f") == b"blocks"
    with pytest.raises(ValueError, match="above the other"):
        index.move(T, b"c", b"c/b/c")


def test_the_names_of_an_inode_are_found_also_behind_a_move(index: Index) -> None:
    index.put(T, entry(b"a/one", ino=7))
    index.put(T, entry(b"a/b/two", ino=7))
    index.move(T, b"a/b", b"z")
    assert index.names_of(T, 2**63 + 5, 7) == [b"a/one", b"z/two"]


def test_the_names_of_many_inodes_are_asked_for_together(index: Index) -> None:
    numbers = [2**63 + 9, *range(1, 600)]
    for number in numbers[:400]:
        index.put(T, entry(b"a/%d" % number, ino=number))
    index.put(T, entry(b"a/b/second", ino=7))
    questions: list[str] = []
    index._db._connection.set_trace_callback(questions.append)
    found = index.names_of_all(T, 2**63 + 5, numbers)
    index._db._connection.set_trace_callback(None)
    assert len(questions) == 3
    assert found == {number: index.names_of(T, 2**63 + 5, number) for number in numbers}
    assert found[7] == [b"a/7", b"a/b/second"]
    assert found[599] == []


def test_the_digest_of_a_tree_follows_every_change(index: Index) -> None:
    seen = {index.root(T).digest}
    changes: list[Callable[[], None]] = [
        lambda: index.put(T, entry(b"a/b/f", size=6)),
        lambda: index.put(T, entry(b"a/b/h")),
        lambda: index.move(T, b"a/b", b"b"),
        lambda: index.remove(T, b"a/g\xff"),
        lambda: index.put(T, entry(b"b/linked", ino=entry(b"b/f").identity.ino)),
    ]
    for change in changes:
        change()
        digest = index.root(T).digest
        assert digest not in seen
        seen.add(digest)


def test_equal_trees_have_equal_digests_whatever_their_past(tmp_path: Path) -> None:
    one, two = Index.open(tmp_path / "1"), Index.open(tmp_path / "2")
    dice = random.Random(1)
    for index in (one, two):
        index.put(T, directory(b""))
        index.put(T, directory(b"d"))
    names = [b"d/%d" % n for n in range(50)]
    for name in names:
        one.put(T, entry(name))
        one.root(T)
    dice.shuffle(names)
    two.put(T, entry(b"d/x"))
    two.root(T)
    for name in names:
        two.put(T, replace(entry(name), origin=UNRECORDED))
    two.remove(T, b"d/x")
    assert one.root(T) == two.root(T)
    one.close()
    two.close()


def test_a_lost_hard_link_compares_different(tmp_path: Path) -> None:
    linked, copied = Index.open(tmp_path / "1"), Index.open(tmp_path / "2")
    for index, other in ((linked, 7), (copied, 8)):
        index.put(T, directory(b""))
        index.put(T, entry(b"x", ino=7))
        index.put(T, entry(b"y", ino=other))
    assert linked.root(T).digest != copied.root(T).digest
    copied.put(T, entry(b"y", ino=7))
    assert linked.root(T).digest == copied.root(T).digest
    linked.close()
    copied.close()


def test_only_what_was_committed_is_there_after_a_new_start(tmp_path: Path) -> None:
    index = Index.open(tmp_path / "i")
    index.put(T, directory(b""))
    index.set_meta("note", "kept")
    index.commit(Position(Epoch(2), 5))
    index.put(T, entry(b"lost"))
    index.close()
    index = Index.open(tmp_path / "i")
    assert index.position == Position(Epoch(2), 5)
    assert index.meta("note") == "kept"
    assert index.get(T, b"lost") is None
    assert index.totals(T).objects == 1
    index.close()


def test_a_kill_leaves_the_last_commit(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
sys.path.insert(0, "tests/unit")
from test_index_entries import *
index = Index.open(Path(sys.argv[1]))
index.put(T, directory(b""))
for n in range(1, 10**6):
    index.put(T, entry(b"%d" % n))
    if n % 100 == 0:
        index.commit(Position(Epoch(1), n))
        print(n, flush=True)
"""
    root = Path(__file__).parent.parent.parent
    path = tmp_path / "i"
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdout=subprocess.PIPE,
        cwd=root,
        env=environment,
    ) as process:
        assert process.stdout is not None
        told = 0
        for _ in range(20):
            told = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    index = Index.open(path)
    assert index.rebuilt == ""
    assert index.position.seq >= told
    assert index.totals(T).objects == index.position.seq + 1
    assert len(list(index.subtree(T, b""))) == index.position.seq
    index.close()


def test_a_damaged_database_is_moved_aside_and_said_so(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    index = Index.open(path)
    index.put(T, directory(b""))
    index.commit(ONE)
    index.close()
    path.write_bytes(b"not a database" * 1000)
    index = Index.open(path)
    assert "damaged" in index.rebuilt
    assert index.position == ORIGIN
    assert (tmp_path / "index.sqlite.damaged-1").exists()
    index.close()
    assert Index.open(path).rebuilt == ""


def test_damage_that_shows_later_is_found_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    index = Index.open(path)
    index.put(T, directory(b""))
    for n in range(2000):
        index.put(T, entry(b"%d" % n))
    index.commit(ONE)
    index.compact()
    index.close()
    raw = bytearray(path.read_bytes())
    for page in range(14, len(raw) // 4096):
        raw[page * 4096 : page * 4096 + 64] = os.urandom(64)
    path.write_bytes(raw)
    index = Index.open(path)  # it was closed cleanly, so nobody looks at every page
    with pytest.raises(IndexDamaged, match="rebuilt by a scan"):
        list(index.subtree(T, b""))
    index.close()
    assert "damaged" in Index.open(path).rebuilt


def test_adopting_touches_only_what_is_not_shared(index: Index) -> None:
    starts = [EpochStart(epoch=Epoch(1), seq=1), EpochStart(epoch=Epoch(3), seq=50)]
    shared = SharedHistory.of(starts)
    index.put(T, entry(b"own", origin=UNRECORDED))
    index.put(T, entry(b"parted", origin=Position(Epoch(1), 50)))
    index.put(T, entry(b"skipped", origin=Position(Epoch(2), 10)))
    index.put(T, entry(b"shared", origin=Position(Epoch(1), 49)))
    now = Position(Epoch(3), 99)
    index.adopt(T, shared, now)
    origins = {e.path: e.origin for e in index.children(T, b"")}
    assert origins[b"own"] == origins[b"parted"] == origins[b"skipped"] == now
    assert origins[b"shared"] == Position(Epoch(1), 49)


@pytest.mark.parametrize(
    ("position", "has"),
    [
        ((0, 0), False),
        ((1, 49), True),
        ((1, 50), False),
        ((2, 10), False),
        ((3, 999), True),
        ((4, 1), False),
    ],
)
def test_the_shared_history(position: tuple[int, int], has: bool) -> None:
    starts = [EpochStart(epoch=Epoch(3), seq=50), EpochStart(epoch=Epoch(1), seq=1)]
    assert SharedHistory.of(starts).has(Position(Epoch(position[0]), position[1])) is has


def test_a_state_digest_has_everything_in_it() -> None:
    base = entry(b"f")
    digests = {state_digest(base.metadata, base.digest), state_digest(base.metadata, b"")}
    for change in (
        {"mode": 0o600},
        {"uid": 9},
        {"gid": 9},
        {"mtime_ns": 9},
        {"size": 9},
        {"rdev": 9},
        {"symlink_target": b"x"},
        {"xattrs": ()},
        {"type": ObjectType.FIFO},
        {"xattrs": ((b"user.a", b"1user.b"),)},
    ):
        digests.add(state_digest(replace(base.metadata, **change), base.digest))
    assert len(digests) == 12


def test_reserved_names() -> None:
    assert is_reserved(b".staqraft-staging/x")
    assert is_reserved(b"a/.staqraft-tmp")
    assert not is_reserved(b"a.staqraft-x/b")


def test_compacting_gives_space_back(index: Index, tmp_path: Path) -> None:
    for n in range(5000):
        index.put(T, entry(b"a/%d" % n))
    index.commit(ONE)
    for n in range(5000):
        index.remove(T, b"a/%d" % n)
    index.commit(ONE)
    index.compact()
    assert (tmp_path / "index.sqlite").stat().st_size < 200_000


def test_the_database_is_plain_sqlite_for_whoever_has_to_look(index: Index, tmp_path: Path) -> None:
    index.commit(ONE)
    with sqlite3.connect(tmp_path / "index.sqlite") as connection:
        (count,) = connection.execute("SELECT count(*) FROM entries").fetchone()
    connection.close()
    assert count == 5


def test_what_is_remembered_of_entries_is_what_the_database_has(index: Index) -> None:
    """`get` answers from memory; a listing is always read from the database."""
    dice = random.Random(11)
    index.commit(ONE)
    names = [b"a", b"a/x", b"a/y", b"d", b"d/x", b"d/y", b"d/z", b"f"]
    for step in range(1500):
        one, other = dice.choice(names), dice.choice(names)
        try:
            match dice.randrange(6):
                case 0 | 1:
                    made = directory if dice.random() < 0.4 else entry
                    index.put(T, replace(made(one), origin=Position(Epoch(1), step)))
                case 2:
                    index.remove(T, one)
                case 3 | 4:
                    index.move(T, one, other)
                case 5 if dice.random() < 0.1:
                    index.rollback()
        except (MissingParent, ValueError):
            pass
        listed = {e.path: e for above in (b"", b"a", b"d") for e in index.children(T, above)}
        for name in names:
            assert index.get(T, name) == listed.get(name), (step, name)


def test_others_use_the_index_while_the_digests_of_many_directories_are_computed(
    index: Index,
) -> None:
    """Capture would stand still as long as that takes: seconds with a million files."""
    index.put(T, directory(b""))
    for number in range(300):
        index.put(T, directory(b"d%d" % number))
    seen: list[int] = []
    between: list[int] = []
    done = threading.Event()

    def count() -> int:
        with index.lock:
            (found,) = index._db.one("SELECT count(*) FROM digests") or (0,)
        return int(found)

    def look() -> None:
        while not done.is_set():
            seen.append(count())

    other = threading.Thread(target=look)
    other.start()
    for round_ in range(50):  # the other thread needs a processor, too
        for number in range(300):
            index.put(T, entry(b"d%d/%d" % (number, round_)))
        before = count()
        seen.clear()
        index.root(T)
        between = [found for found in seen if before < found < 301]
        if between:
            break
    done.set()
    other.join()
    assert between, "nobody was let at it meanwhile"
    digest = index.root(T).digest
    index.put(T, entry(b"d0/new"))
    assert index.root(T).digest != digest
    index.remove(T, b"d0/new")
    assert index.root(T).digest == digest
