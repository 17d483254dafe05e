"""Makes the index of a standby's tree true to what is on its disk, before a comparison.

An object whose inode and ctime are as indexed is taken as unchanged, so a scan costs a stat an
object. What changed without a record gets the origin UNRECORDED: it is this node's own version.
Whatever was committed meanwhile is as indexed for the next scan, so one that was interrupted does
not read twice.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from staqraft.apply.observe import digest_at, identity_of, look, metadata_at, type_of
from staqraft.apply.safety import TreeRoot, opened_anew
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
    pending = [path]
    while pending:
        path = pending.pop()
        number = root.directory(path)
        with opened_anew(number) as fresh, os.scandir(fresh) as listing:
            names = sorted(os.fsencode(entry.name) for entry in listing)
        for name in names:
            below = path + b"/" + name
            found = look(number, name)
            if found is not None and type_of(found) is ObjectType.DIRECTORY:
                pending.append(below)
            elif found is not None and index.get(root.name, below) is None:
                unknown.append(below)
    return unknown


def scanning(root: TreeRoot, index: Index, excluded: Excluded) -> Iterator[int]:
    """Scans a step at a time: after each object, 1 if it was not as indexed, else 0.

    The index may be committed between two steps, and nothing else may use it or the root.
    """
    top = root.parent(b"")
    yield _refresh(index, root.name, b"", top, look(*top), index.get(root.name, b""))
    pending = [b""]
    while pending:
        path = pending.pop()
        try:
            here = os.dup(root.directory(path))  # a commit lets go of the root's own
        except (FileNotFoundError, NotADirectoryError):
            yield _forget(index, root.name, path)
            continue
        try:
            with opened_anew(here) as fresh, os.scandir(fresh) as listing:
                names = sorted(os.fsencode(entry.name) for entry in listing)
            known = {entry.path: entry for entry in index.children(root.name, path)}
            prefix = path + b"/" if path else b""
            for name in names:
                found = look(here, name)
                is_directory = found is not None and type_of(found) is ObjectType.DIRECTORY
                child = prefix + name
                if is_reserved(name) or excluded(child, is_directory):
                    continue
                entry = known.pop(child, None)
                yield _refresh(index, root.name, child, (here, name), found, entry)
                if is_directory:
                    pending.append(child)
            for gone in known:
                yield _forget(index, root.name, gone)
        finally:
            os.close(here)


def scan_tree(root: TreeRoot, index: Index, excluded: Excluded) -> int:
    """Returns how many objects were not as indexed."""
    return sum(scanning(root, index, excluded))


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
