"""Makes the index of a standby's tree true to what is on its disk, before a comparison.

An object whose inode and ctime are as indexed is taken as unchanged, so a scan costs a stat an
object. What changed without a record gets the origin UNRECORDED: it is this node's own version.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from staqraft.apply.observe import digest_at, identity_of, look, metadata_at, type_of
from staqraft.apply.safety import TreeRoot
from staqraft.apply.writer import Place
from staqraft.index import UNRECORDED, Entry, Index, is_reserved
from staqraft.journal.record import ObjectType

Excluded = Callable[[bytes, bool], bool]  # path, whether it is a directory


def is_left_out(excluded: Excluded, path: bytes, *, is_directory: bool) -> bool:
    """Whether a path, or a directory that it lies in, is excluded."""
    parts = path.split(b"/")
    return any(
        excluded(b"/".join(parts[:n]), n < len(parts) or is_directory)
        for n in range(1, len(parts) + 1)
    )


def unknown_files(root: TreeRoot, index: Index, path: bytes) -> list[bytes]:
    """What is at and below a path and the index does not know, without directories.

    After a scan that is what this node's patterns leave out.
    """
    directory, name = root.parent(path)
    found = look(directory, name)
    if found is None:
        return []
    if type_of(found) is not ObjectType.DIRECTORY:
        return [path] if index.get(root.name, path) is None else []
    unknown: list[bytes] = []
    with os.scandir(root.directory(path)) as listing:
        names = sorted(os.fsencode(entry.name) for entry in listing)
    for below in names:
        unknown += unknown_files(root, index, path + b"/" + below)
    return unknown


def scan_tree(root: TreeRoot, index: Index, excluded: Excluded, seen: Callable[[int], None]) -> int:
    """Returns how many objects were not as indexed. `seen` is told how many were looked at."""
    top = root.parent(b"")
    changed = _refresh(index, root.name, b"", top, look(*top), index.get(root.name, b""))
    pending = [b""]
    while pending:
        path = pending.pop()
        try:
            here = root.directory(path)
            with os.scandir(here) as listing:
                names = sorted(os.fsencode(entry.name) for entry in listing)
        except (FileNotFoundError, NotADirectoryError):
            changed += _forget(index, root.name, path)
            continue
        known = {entry.path: entry for entry in index.children(root.name, path)}
        prefix = path + b"/" if path else b""
        for name in names:
            found = look(here, name)
            is_directory = found is not None and type_of(found) is ObjectType.DIRECTORY
            child = prefix + name
            if is_reserved(name) or excluded(child, is_directory):
                continue
            entry = known.pop(child, None)
            changed += _refresh(index, root.name, child, (here, name), found, entry)
            if is_directory:
                pending.append(child)
        for gone in known:
            changed += _forget(index, root.name, gone)
        seen(len(names))
    return changed


def _forget(index: Index, tree: str, path: bytes) -> int:
    index.remove(tree, path)
    return 1


def _refresh(
    index: Index,
    tree: str,
    path: bytes,
    at: Place,
    found: os.stat_result | None,
    entry: Entry | None,
) -> int:
    """Brings one entry up to date; 1 if its state was not as indexed."""
    if found is None:
        return _forget(index, tree, path) if entry is not None else 0
    identity = identity_of(found)
    same_inode = entry is not None and entry.identity == identity
    if entry is not None and same_inode and not entry.is_unread:
        return 0
    try:
        metadata = metadata_at(*at, found)
        digest = digest_at(*at) if metadata.type is ObjectType.FILE else b""
    except FileNotFoundError:
        return _forget(index, tree, path)
    same = entry is not None and entry.metadata == metadata and entry.digest == digest
    # An unread file that nobody touched is what it was when it got its origin.
    known = entry is not None and (same or same_inode)
    origin = entry.origin if entry is not None and known else UNRECORDED
    index.put(
        tree,
        Entry(path=path, metadata=metadata, digest=digest, identity=identity, origin=origin),
    )
    return 0 if same else 1
