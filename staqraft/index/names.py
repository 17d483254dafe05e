"""The names of inodes: at which paths the entries of a tree stand that have one's number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from staqraft.index import sql
from staqraft.index.entry import signed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from staqraft.index.database import Database

_AT_ONCE: Final = 256  # in a question


def names_of(
    database: Database,
    directories: Mapping[int, tuple[int, bytes]],
    tree: int,
    dev: int,
    inodes: Iterable[int],
) -> dict[int, list[bytes]]:
    """Of each of these, sorted. `directories`: tree and path by number, as far as known."""
    found: dict[int, list[bytes]] = {ino: [] for ino in inodes}
    by_key = {signed(ino): names for ino, names in found.items()}
    keys = list(by_key)
    for at in range(0, len(keys), _AT_ONCE):
        some = keys[at : at + _AT_ONCE]
        rows = database.all(sql.names_of(len(some)), (tree, signed(dev), *some))
        for ino, parent, name in rows:
            by_key[ino].append(_path(database, directories, parent, name))
    for names in found.values():
        names.sort()
    return found


def _path(
    database: Database, directories: Mapping[int, tuple[int, bytes]], parent: int, name: bytes
) -> bytes:
    parts = [name]
    while parent > 0:
        if (known := directories.get(parent)) is not None:
            parts.append(known[1])
            break
        row = database.one("SELECT parent, name FROM entries WHERE id=?", (parent,))
        assert row is not None, "an entry without its directory"
        parent = row[0]
        parts.append(row[1])
    return b"/".join(part for part in reversed(parts) if part)
