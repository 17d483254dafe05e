"""After a power cut: brings the names in a tree back to what the index's last commit says.

The disk holds some of what the records behind that commit did: all, a part, or in another order
than it was done in. Executing those records again from there would lead elsewhere (a move's source
is gone, its target taken). So every inode that they touched is put back under the name that the
index has for it, and what they made is put aside; then they are executed again in order, from the
state that they were made for.

This can be done because the applier destroys nothing between two commits: an inode of the last
commit is at its name, at a name that a record gave it, or in staging (see `writer`). It is found by
its number there, and directories with all that is in them.

Content needs no such care. A record sets bytes to what it carries, at their offsets; bytes that no
record behind the commit carries were durable before it. Whatever of the later writes is on the disk
already, executing all of them in order ends in the right content (as redo logs of databases do).
Its digest is compared all the same before it is believed.
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass, field

from staqraft.apply.matching import is_same
from staqraft.apply.observe import look, type_of
from staqraft.apply.safety import TreeRoot, opened_anew
from staqraft.apply.writer import Place, TreeWriter
from staqraft.index import STAGING_NAME, Entry, Index
from staqraft.journal.record import Chunk, HardLinkTo, MovedFrom, ObjectType, Record, Remove, Upsert


@dataclass(slots=True, eq=False)
class _Node:
    """A name while the records go by: what the commit knew here, and the names below it."""

    known: bytes | None  # the path at the commit; None: it was made by a record
    below: dict[bytes, _Node | None] = field(default_factory=dict)  # None: nothing is there now


class Rollback:
    """`note` each record behind the commit, then `run`. `lost` names what was not found.

    `directories` are those whose time is to be set again.
    """

    def __init__(
        self, roots: dict[str, TreeRoot], index: Index, writers: dict[str, TreeWriter]
    ) -> None:
        self.lost: list[tuple[str, bytes]] = []
        self._trees = {name: _Tree(root, index, writers[name]) for name, root in roots.items()}

    @property
    def directories(self) -> set[tuple[str, bytes]]:
        """Tree and path of directories in which names may have changed."""
        return {(name, path) for name, tree in self._trees.items() for path in tree.directories}

    def note(self, record: Record) -> None:
        """The next record behind the commit."""
        tree = self._trees.get(record.tree)
        if tree is not None and not isinstance(record.change, Chunk):
            tree.note(record)

    def run(self) -> None:
        """Can be repeated from wherever it was interrupted. Raises OSError."""
        for name, tree in self._trees.items():
            self.lost += [(name, path) for path in tree.run()]
            tree.root.release()


class _Tree:
    def __init__(self, root: TreeRoot, index: Index, writer: TreeWriter) -> None:
        self.root = root
        self.directories: set[bytes] = set()
        self._index = index
        self._writer = writer
        self._top = _Node(b"")
        self._touched: set[bytes] = set()
        self._inodes: set[int] = set()
        self._found: defaultdict[int, list[bytes]] | None = None  # where inodes are that moved
        self._at_home: dict[int, bytes] = {}

    # --- which names the records touch ---------------------------------------------------------

    def note(self, record: Record) -> None:
        node = self._touch(record.path)
        known = self._entry(node)
        past = known is not None and known.origin >= record.position
        match record.change:
            case Remove():
                if not past:
                    self._set(record.path, None)
            case Upsert(content=MovedFrom(path=source)):
                moved = self._touch(source)
                self._set(source, None)
                if not past:
                    self._set(record.path, moved or _Node(None))
            case Upsert() as upsert:
                if isinstance(upsert.content, HardLinkTo):
                    self._touch(upsert.content.path)
                is_directory = upsert.metadata.type is ObjectType.DIRECTORY
                stays = node is not None and (node.known is None or _is_directory(known))
                if not past and not (is_directory and stays):
                    self._set(record.path, _Node(None))

    def _touch(self, path: bytes) -> _Node | None:
        parent = self._node(path.rpartition(b"/")[0])
        if parent is not None and parent.known is not None:
            self.directories.add(parent.known)
        node = self._node(path)
        if node is not None and node.known is not None:
            self._touched.add(node.known)
        return node

    def _node(self, path: bytes) -> _Node | None:
        node = self._top
        for part in path.split(b"/") if path else ():
            if part not in node.below:
                if node.known is None:
                    return None
                node.below[part] = _Node(node.known + b"/" + part if node.known else part)
            following = node.below[part]
            if following is None:
                return None
            node = following
        return node

    def _set(self, path: bytes, node: _Node | None) -> None:
        above, _, name = path.rpartition(b"/")
        parent = self._node(above)
        if parent is not None and path:
            parent.below[name] = node

    def _entry(self, node: _Node | None) -> Entry | None:
        known = node is not None and node.known is not None
        return self._index.get(self.root.name, node.known) if known else None  # type: ignore[union-attr, arg-type]

    # --- putting back ----------------------------------------------------------------------------

    def run(self) -> list[bytes]:
        entries = {path: self._index.get(self.root.name, path) for path in self._touched}
        self._inodes = {entry.identity.ino for entry in entries.values() if entry is not None}
        order = sorted(path for path in entries if path)  # directories before what is in them
        there = {path: entry for path in order if (entry := entries[path]) is not None}
        missing: list[bytes] = []
        for path, entry in there.items():
            # Into another directory that stands there for the missing one: never.
            lost = any(path.startswith(above + b"/") for above in missing)
            if lost or not self._put_back(path, entry):
                missing.append(path)
        for path in order:
            at = self._place(path)
            if entries[path] is None and at is not None and look(*at) is not None:
                self._aside(path, at)
        return missing

    def _put_back(self, path: bytes, entry: Entry) -> bool:
        at = self._place(path)
        if at is None:
            return False
        there = look(*at)
        if there is not None and is_same(entry, there):
            return True
        source = self._search(entry.identity.ino)
        home = self._at_home.get(entry.identity.ino)
        if source is None and (home is None or _is_directory(entry)):
            return False
        if there is not None:
            self._aside(path, at)
            if source is not None and source.startswith(path + b"/"):
                source = self._search(entry.identity.ino)  # it went aside with what was in the way
        place = self._place(source or home or b"")
        at = self._place(path)
        if place is None or at is None:
            return False
        # A name that was found may be another one that the commit knows, in a directory that moved:
        # it is not taken away from there. What no record is to have made goes aside by its path.
        if source is None or self._has_more_names(entry):
            os.link(place[1], at[1], src_dir_fd=place[0], dst_dir_fd=at[0], follow_symlinks=False)
        else:
            os.rename(place[1], at[1], src_dir_fd=place[0], dst_dir_fd=at[0])
        self._at_home[entry.identity.ino] = path
        if _is_directory(entry):
            self._forget_places()
        return True

    def _has_more_names(self, entry: Entry) -> bool:
        if _is_directory(entry):
            return False
        i = entry.identity
        return len(self._index.names_of(self.root.name, i.dev, i.ino)) > 1

    def _aside(self, path: bytes, at: Place) -> None:
        """What stands there goes to staging; it may be missed elsewhere."""
        found = look(*at)
        name = self._writer.remove(at)
        if found is None or type_of(found) is ObjectType.DIRECTORY:
            self._forget_places()
        elif self._found is not None and found.st_ino in self._inodes:
            places = self._found[found.st_ino]
            if path in places:
                places.remove(path)
            places.append(STAGING_NAME + b"/" + name)

    def _forget_places(self) -> None:
        self.root.release()
        self._found = None

    def _search(self, inode: int) -> bytes | None:
        if self._found is None:
            self._found = defaultdict(list)
            self._at_home.clear()
            self._walk(STAGING_NAME)
            for path in sorted(self.directories):
                entry = self._index.get(self.root.name, path)
                at = self._place(path) if path else None
                there = look(*at) if at else None
                if not path or (there is not None and entry is not None and is_same(entry, there)):
                    self._scan(path)
        places = self._found[inode]
        return places.pop() if places else None

    def _scan(self, path: bytes) -> None:
        """Looks for what is not at home in a directory that the commit knows."""
        assert self._found is not None, "only while searching"
        for child, inode, is_directory in self._children(path):
            if inode not in self._inodes and not is_directory:
                continue
            entry = self._index.get(self.root.name, child)
            if entry is not None and entry.identity.ino == inode:
                self._at_home[inode] = child
                continue
            if inode in self._inodes:
                self._found[inode].append(child)
            if is_directory:
                self._walk(child)

    def _walk(self, path: bytes) -> None:
        """A directory that the commit does not know, with all below it."""
        assert self._found is not None, "only while searching"
        pending = [path]
        while pending:
            for child, inode, is_directory in self._children(pending.pop()):
                if inode in self._inodes:
                    self._found[inode].append(child)
                if is_directory:  # a directory may have been moved into one that was in it
                    pending.append(child)

    def _children(self, path: bytes) -> list[tuple[bytes, int, bool]]:
        number = self.root.directory(path) if path else self.root.fd
        prefix = path + b"/" if path else b""
        with opened_anew(number) as fresh, os.scandir(fresh) as found:
            listed = [
                (os.fsencode(entry.name), entry.inode(), entry.is_dir(follow_symlinks=False))
                for entry in found
            ]
        return [(prefix + n, inode, d) for n, inode, d in listed if prefix or n != STAGING_NAME]

    def _place(self, path: bytes) -> Place | None:
        above, _, name = path.rpartition(b"/")
        try:
            return (self.root.directory(above) if above else self.root.fd), name
        except (FileNotFoundError, NotADirectoryError):
            return None


def _is_directory(entry: Entry | None) -> bool:
    return entry is not None and entry.metadata.type is ObjectType.DIRECTORY
