"""Raft's stores on a disk that does not keep what it was given: said plainly, or without harm.

Whatever is done to a byte, a sector, a page or a file: the stores open and hold exactly what was
written, or they refuse with a sentence that says what to do. A vote or an entry is never lost
without a word.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fakes.raft_stores import look
from fakes.raft_writer import CLUSTER, ME, Said, note_entry
from fakes.scratch import memory_directory
from staqraft.consensus.codec import KIND_NO_OP, Snapshot
from staqraft.consensus.errors import StoreCorrupt
from staqraft.consensus.log_store import LogStore
from staqraft.consensus.snapshot_store import SnapshotStore
from staqraft.errors import ConsensusError
from staqraft.model import ClusterRecord

LOG, MARK, SNAPSHOT = "log", "log.mark", "snapshot"


def write_until(log: LogStore, last: int, term: int) -> None:
    log.setCurrentTerm(term, ME)
    while log.last_index < last:
        log.add(*note_entry(log.last_index + 1, term, 300))
        log.persist()


def killed_copy(directory: Path, name: str) -> Path:
    """What a process that is killed now leaves."""
    return Path(shutil.copytree(directory / "raft", directory / name))


@pytest.fixture(scope="module")
def stores() -> Iterator[Path]:
    """`early`, before there was a snapshot; `killed` while it ran; and `closed`."""
    with memory_directory() as home:
        make_stores(home)
        yield home


@pytest.fixture
def home() -> Iterator[Path]:
    """Where a copy of them goes."""
    with memory_directory() as made:
        yield made / "raft"


def make_stores(home: Path) -> None:
    log = LogStore.open(home / "raft" / LOG, cluster=CLUSTER, node=ME)
    log.add(KIND_NO_OP, 1, 0)
    write_until(log, 8, term=2)
    killed_copy(home, "early")
    snapshots = SnapshotStore(home / "raft" / SNAPSHOT, cluster=CLUSTER)
    snapshots.save(
        Snapshot(previous=log[3], last=log[4], record=ClusterRecord(log_index=log[4][1]))
    )
    log.deleteEntriesTo(3)
    log.persist()
    write_until(log, 14, term=3)
    killed_copy(home, "killed")
    log.close()
    killed_copy(home, "closed")


def flips(content: bytes, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Flipped bits, evenly over the file."""
    stride = max(20, len(content) // 400)
    for start in range(0, len(content), stride):
        at = min(len(content) - 1, start + rng.randrange(stride))
        spoiled = bytearray(content)
        spoiled[at] ^= 1 << rng.randrange(8)
        yield f"a bit of byte {at} flipped", bytes(spoiled)


def lost_blocks(content: bytes, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Each sector and each page of zeroes, or of what stands elsewhere in the file."""
    for size in (512, 4096):
        for at in range(0, len(content), size):
            length = min(size, len(content) - at)
            elsewhere = rng.randrange(0, len(content), size)
            for what, piece in (
                ("zeroes", bytes(length)),
                (f"what belongs to {elsewhere}", content[elsewhere : elsewhere + length]),
            ):
                spoiled = content[:at] + piece.ljust(length, b"\0") + content[at + length :]
                yield f"{size} bytes at {at} are {what}", spoiled


def lengths(content: bytes, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Nothing, cut off in each block and within, or with more behind."""
    for length in range(0, len(content), 512):
        yield f"cut off at {length}", content[:length]
        within = min(len(content), length + rng.randrange(1, 512))
        yield f"cut off at {within}", content[:within]
    yield "longer by zeroes", content + bytes(4096)
    yield "longer by noise", content + rng.randbytes(600)


@pytest.mark.parametrize("spoil", [flips, lost_blocks, lengths])
@pytest.mark.parametrize(
    ("state", "name"),
    [
        ("killed", LOG),
        ("killed", MARK),
        ("killed", SNAPSHOT),
        ("closed", LOG),
        ("closed", MARK),
    ],
)
def test_damage_is_found_or_harmless(
    stores: Path,
    home: Path,
    state: str,
    name: str,
    spoil: Callable[[bytes, random.Random], Iterator[tuple[str, bytes]]],
) -> None:
    whole = look(Path(shutil.copytree(stores / state, home)))
    content = (stores / state / name).read_bytes()
    outcomes = {True: 0, False: 0}
    for what, spoiled in spoil(content, random.Random(1)):
        shutil.rmtree(home)
        shutil.copytree(stores / state, home)
        (home / name).write_bytes(spoiled)
        outcomes[is_refused(home, whole, what)] += 1
    if name != MARK:  # which is there twice
        assert outcomes[True], "no damage was noticed"


def is_refused(home: Path, whole: Said, what: str) -> bool:
    try:
        found = look(home)
    except ConsensusError as error:
        where = f"move {home} away" if isinstance(error, StoreCorrupt) else str(home)
        said = str(error)
    else:
        assert found == whole, f"{what}: lost without a word"
        return False
    assert where in said, f"it says where and what to do ({what})"
    return True


@pytest.mark.parametrize("state", ["killed", "closed"])
@pytest.mark.parametrize(
    ("gone", "finding"),
    [
        ((LOG,), "the file is gone"),
        ((MARK,), "how far it had come, is gone"),
        ((SNAPSHOT,), "the snapshot that it was shortened for is gone"),
        ((LOG, MARK), "it is empty, although there is a snapshot"),
    ],
)
def test_a_file_that_is_gone_is_missed(
    stores: Path, home: Path, state: str, gone: tuple[str, ...], finding: str
) -> None:
    shutil.copytree(stores / state, home)
    for name in gone:
        (home / name).unlink(missing_ok=True)
    for _ in range(2):  # the second start is as wise as the first
        with pytest.raises(StoreCorrupt, match=finding):
            look(home)


def test_a_log_that_lost_its_end_has_forgotten_votes_and_entries(stores: Path, home: Path) -> None:
    shutil.copytree(stores / "killed", home)
    content = (home / LOG).read_bytes()
    (home / LOG).write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(StoreCorrupt, match="transactions were written to it, but it ends with"):
        look(home)


@pytest.mark.parametrize("restored", [(LOG,), (LOG, SNAPSHOT)])
def test_a_log_put_back_from_an_old_copy_is_refused(
    stores: Path, home: Path, restored: tuple[str, ...]
) -> None:
    shutil.copytree(stores / "killed", home)
    for name in restored:
        (home / name).unlink()
        if (stores / "early" / name).exists():
            shutil.copy(stores / "early" / name, home / name)
    with pytest.raises(StoreCorrupt, match=r"transactions were written|do not belong together"):
        look(home)


def test_a_log_of_a_newer_layout_is_not_touched(stores: Path, home: Path) -> None:
    shutil.copytree(stores / "closed", home)
    content = bytearray((home / LOG).read_bytes())
    content[7:8] = b"2"
    (home / LOG).write_bytes(content)
    with pytest.raises(ConsensusError, match="written by a newer version") as caught:
        look(home)
    assert not isinstance(caught.value, StoreCorrupt), "nobody is told to move it away"
