"""What records will ask the index for is looked up together."""

from __future__ import annotations

from pathlib import Path

from staqraft.apply.quick import foresee
from staqraft.index import UNRECORDED, Entry, FileIdentity, Index
from staqraft.journal.record import Change, Metadata, MovedFrom, ObjectType, Record, Remove, Upsert
from staqraft.model import ORIGIN

TREE = "mail"


def entry(path: bytes, kind: ObjectType = ObjectType.FILE) -> Entry:
    return Entry(
        path=path,
        metadata=Metadata(type=kind, mode=0o600, uid=0, gid=0, mtime_ns=1),
        digest=b"d" * 16 if kind is ObjectType.FILE else b"",
        identity=FileIdentity(dev=1, ino=hash(path) % 2**40, ctime_ns=1),
        origin=UNRECORDED,
    )


def record(path: bytes, change: Change, tree: str = TREE) -> Record:
    return Record(tree=tree, path=path, change=change, position=ORIGIN)


def test_places_of_renamed_removed_and_changed_objects_are_looked_up_together(
    tmp_path: Path,
) -> None:
    index = Index.open(tmp_path / "index")
    index.put(TREE, entry(b"", ObjectType.DIRECTORY))
    for number in range(60):
        index.put(TREE, entry(b"%d" % number))
    index.commit(ORIGIN)
    index.close()
    index = Index.open(tmp_path / "index")
    metadata = entry(b"any").metadata
    records = [
        *(
            record(b"%dS" % n, Upsert(metadata=metadata, digest=b"d", content=MovedFrom(b"%d" % n)))
            for n in range(20)
        ),
        *(record(b"%d" % n, Remove()) for n in range(20, 40)),
        *(record(b"%d" % n, Upsert(metadata=metadata, digest=b"d")) for n in range(40, 60)),
        *(record(b"%d" % n, Remove(), tree="of another configuration") for n in range(60)),
    ]
    questions: list[str] = []
    index._db._connection.set_trace_callback(questions.append)
    foresee(index, {TREE}, records)
    assert len(questions) <= 3
    assert index.get(TREE, b"7") == entry(b"7")
    assert index.get(TREE, b"7S") is None
    assert index.get(TREE, b"33") == entry(b"33")
    assert index.get(TREE, b"55") == entry(b"55")
    assert len(questions) <= 3
    index.close()
