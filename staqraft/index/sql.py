"""The statements of the index, and what they are given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from staqraft.index.entry import COLUMN_COUNT, COLUMNS, Entry, to_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from staqraft.index.history import SharedHistory
    from staqraft.model import Position

_ASSIGN = ", ".join(f"{column}=?" for column in COLUMNS.split(", "))
UPDATE = f"UPDATE entries SET {_ASSIGN} WHERE parent=? AND name=?"  # noqa: S608 (constants only)
INSERT = (
    f"INSERT INTO entries ({COLUMNS}, tree, parent, name) "  # noqa: S608 (constants only)
    f"VALUES ({','.join('?' * (COLUMN_COUNT + 3))})"
)
COMPLETE = (
    "UPDATE entries SET xattrs=?, digest=? WHERE parent=? AND name=? AND type=1 AND digest IS NULL "
    "AND ino=? AND ctime_ns=? AND origin_epoch=? AND origin_seq=?"
)
GET = f"SELECT {COLUMNS} FROM entries WHERE parent=? AND name=?"  # noqa: S608
CHILDREN = f"SELECT {COLUMNS}, name, id FROM entries WHERE parent=? ORDER BY name"  # noqa: S608
MOVE = "UPDATE entries SET parent=?, name=? WHERE parent=? AND name=?"
MOVE_AND_UPDATE = (
    f"UPDATE entries SET {_ASSIGN}, parent=?, name=? "  # noqa: S608 (constants only)
    "WHERE parent=? AND name=?"
)
FIND = "SELECT id, type FROM entries WHERE parent=? AND name=?"
COUNTED = "UPDATE trees SET objects=?, bytes=? WHERE id=?"
SIGNATURES = (
    "SELECT s.blocks FROM signatures s JOIN entries e ON e.id=s.id WHERE e.parent=? AND e.name=?"
)
REMOVE = "DELETE FROM entries WHERE parent=? AND name=?"
FORGET_SIGNATURES = (
    "DELETE FROM signatures WHERE id=(SELECT id FROM entries WHERE parent=? AND name=?)"
)
DIRECTORIES = "SELECT name FROM entries WHERE parent=? AND type=2 ORDER BY name"
ALL_BELOW = (
    "WITH RECURSIVE below(id) AS (SELECT ?1 UNION ALL "
    "SELECT e.id FROM entries e JOIN below b ON e.parent=b.id) "
    "SELECT e.id, e.type, e.size, e.ino, e.dev FROM below b JOIN entries e ON e.id=b.id"
)

COUNT_BELOW = (
    "WITH RECURSIVE below(id) AS (SELECT ?1 UNION ALL "
    "SELECT e.id FROM entries e JOIN below b ON e.parent=b.id) SELECT count(*) FROM below"
)


def which_of(names: int) -> str:
    """Which of so many names stand in a directory."""
    return (
        "SELECT name FROM entries WHERE parent=? "  # noqa: S608 (constants only)
        f"AND name IN ({','.join('?' * names)})"
    )


def get_all(names: int) -> str:
    """What stands in a directory at so many names, each name behind its columns."""
    return (
        f"SELECT {COLUMNS}, name FROM entries WHERE parent=? "  # noqa: S608 (constants only)
        f"AND name IN ({','.join('?' * names)})"
    )


def names_of(inodes: int) -> str:
    """What stands where in a tree, of so many inodes of one device."""
    return (
        "SELECT ino, parent, name FROM entries WHERE tree=? AND dev=? "  # noqa: S608 (constants only)
        f"AND ino IN ({','.join('?' * inodes)})"
    )


def set_meta(key: str, value: str | None) -> tuple[str, Sequence[Any]]:
    """Keeps a note, or forgets it; with its values."""
    if value is None:
        return "DELETE FROM meta WHERE key=?", (key,)
    return "REPLACE INTO meta VALUES (?,?)", (key, value)


def adopt(tree: int, shared: SharedHistory, origin: Position) -> tuple[str, Sequence[Any]]:
    """Gives an origin to what has one that is not of the shared history; with its values."""
    epochs = [epoch for epoch, _ in shared.ends]
    parted = [end for end in shared.ends if end[1] is not None]
    foreign = f"origin_epoch NOT IN ({','.join('?' * len(epochs))})" + (
        " OR (origin_epoch=? AND origin_seq>=?)" * len(parted)
    )
    statement = (
        "UPDATE entries SET origin_epoch=?, origin_seq=? "  # noqa: S608 (constants only)
        f"WHERE tree=? AND ({foreign})"
    )
    ends = (x for end in parted for x in end)
    return statement, (origin.epoch, origin.seq, tree, *epochs, *ends)


def completed(place: tuple[int, bytes], entry: Entry) -> Sequence[Any]:
    """The values of `COMPLETE`."""
    row = to_row(entry)
    return (*row[8:10], *place, *row[11:15])
