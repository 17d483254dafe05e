"""Makes the index of a standby's tree true to what is on its disk, before a comparison.

An object whose inode and ctime are as indexed is taken as unchanged, so a scan costs a stat an
object. What changed without a record gets the origin UNRECORDED: it is this node's own version.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from staqraft.apply.observe import digest_at, identity_of, look, metadata_at, type_of
from staqraft.apply.safety import TreeRoot
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
    changed = _refresh(root, index, b"")
    pending = [b""]
    while pending:
        path = pending.pop()
        try:
            with os.scandir(root.directory(path)) as found:
                names = sorted(os.fsencode(entry.name) for entry in found)
        except (FileNotFoundError, NotADirectoryError):
            changed += _forget(index, root.name, path)
            continue
        known = {entry.path: entry for entry in index.children(root.name, path)}
        prefix = path + b"/" if path else b""
        for name in names:
            child = prefix + name
            if is_reserved(child) or excluded(child, _is_directory(root.directory(path), name)):
                continue
            changed += _refresh(root, index, child)
            entry = index.get(root.name, child)
            if entry is not None and entry.metadata.type is ObjectType.DIRECTORY:
                pending.append(child)
            known.pop(child, None)
        for gone in known:
            changed += _forget(index, root.name, gone)
        seen(len(names))
    return changed


def _is_directory(directory: int, name: bytes) -> bool:
    found = look(directory, name)
    return found is not None and type_of(found) is ObjectType.DIRECTORY


def _forget(index: Index, tree: str, path: bytes) -> int:
    index.remove(tree, path)
    return 1


def _refresh(root: TreeRoot, index: Index, path: bytes) -> int:
    """Brings one entry up to date; 1 if its state was not as indexed."""
    directory, name = root.parent(path)
    found = look(directory, name)
    entry = index.get(root.name, path)
    if found is None:
        return _forget(index, root.name, path) if entry is not None else 0
    identity = identity_of(found)
    if entry is not None and entry.identity == identity:
        return 0
    try:
        metadata = metadata_at(directory, name, found)
        digest = digest_at(directory, name) if metadata.type is ObjectType.FILE else b""
    except FileNotFoundError:
        return _forget(index, root.name, path)
    same = entry is not None and entry.metadata == metadata and entry.digest == digest
    origin = entry.origin if entry is not None and same else UNRECORDED
    index.put(
        root.name,
        Entry(path=path, metadata=metadata, digest=digest, identity=identity, origin=origin),
    )
    return 0 if same else 1
