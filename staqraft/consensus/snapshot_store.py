"""The snapshot file: a header, a checksum and one protobuf message, replaced as a whole.

A snapshot is written to a temporary file, synced, renamed, and its directory synced before the log
is shortened or a received one is acknowledged. One that does not load ends the process with a
plain sentence: without it the log has no beginning, and a guessed state could elect two actives.
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from pathlib import Path
from typing import Final

from staqraft.consensus.codec import Snapshot, decode_snapshot, encode_snapshot
from staqraft.consensus.durable import make_directory, sync_directory
from staqraft.consensus.errors import BadMessage, StoreCorrupt
from staqraft.errors import ConsensusError, Outdated, StoreFull

_MAGIC: Final = b"STQRSNAP"
_HEADER: Final = struct.Struct("<8sIQ")  # magic, crc32 of the content, its length
MAX_SNAPSHOT_BYTES: Final = 32 << 20


class SnapshotStore:
    """One snapshot file and what is in it. One thread at a time."""

    def __init__(self, path: Path, *, cluster: str) -> None:
        self._path = path
        self._cluster = cluster
        self.current: Snapshot | None = None
        self.file_bytes: bytes = b""  # the file's content, to be sent to a member that lags

    def load(self) -> Snapshot | None:
        """Reads the file; None when there is none. StoreCorrupt when it is not whole."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConsensusError(f"cannot read the Raft snapshot {self._path}: {error}") from error
        try:
            self.current = self.decode(content)
        except Outdated as error:
            raise Outdated(f"the Raft snapshot {self._path} is not touched: {error}") from error
        except BadMessage as error:
            raise StoreCorrupt(
                f"the Raft snapshot {self._path} is damaged: {error}. Check the disk. While the"
                f" other members run, stop this node, move {self._path.parent} away and start it"
                " again: it learns everything from them. Do that on one node at a time only"
            ) from error
        self.file_bytes = content
        return self.current

    def save(self, snapshot: Snapshot) -> None:
        """Replaces the file, durably. StoreFull or ConsensusError leave the old one in place."""
        content = encode_snapshot(self._cluster, snapshot)
        self._replace(_HEADER.pack(_MAGIC, zlib.crc32(content), len(content)) + content, snapshot)

    def install(self, content: bytes) -> Snapshot:
        """Replaces the file by one that the leader sent. BadMessage when that is not whole."""
        snapshot = self.decode(content)
        self._replace(content, snapshot)
        return snapshot

    def decode(self, content: bytes) -> Snapshot:
        """What is in a snapshot file of this cluster. BadMessage says what is wrong with it.

        Outdated: a newer version wrote it.
        """
        if len(content) < _HEADER.size or len(content) > _HEADER.size + MAX_SNAPSHOT_BYTES:
            raise BadMessage(f"a snapshot file has {len(content)} bytes")
        magic, crc, length = _HEADER.unpack_from(content)
        body = content[_HEADER.size :]
        if magic != _MAGIC:
            raise BadMessage("this is not a snapshot file")
        if length != len(body):
            raise BadMessage(f"{length} bytes were written, {len(body)} are there")
        if crc != zlib.crc32(body):
            raise BadMessage("it does not match its checksum")
        return decode_snapshot(self._cluster, body)

    def _replace(self, content: bytes, snapshot: Snapshot) -> None:
        scratch = self._path.with_name(self._path.name + ".new")
        try:
            make_directory(self._path.parent)
            with scratch.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(self._path)
            sync_directory(self._path.parent)
        except OSError as error:
            scratch.unlink(missing_ok=True)
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise StoreFull(
                    f"the Raft snapshot {self._path} cannot be written: the volume is full"
                ) from error
            raise ConsensusError(f"cannot write the Raft snapshot {self._path}: {error}") from error
        self.current = snapshot
        self.file_bytes = content
