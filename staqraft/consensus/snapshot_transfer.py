"""Snapshots between the Raft library and their store: taken, sent in pieces, and received."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, Protocol

from pysyncobj.config import SERIALIZER_STATE
from pysyncobj.node import Node

from staqraft.consensus.codec import Snapshot
from staqraft.consensus.errors import BadMessage
from staqraft.consensus.snapshot_store import MAX_SNAPSHOT_BYTES, SnapshotStore
from staqraft.errors import ConsensusError
from staqraft.model import ClusterRecord

logger = logging.getLogger(__name__)

CHUNK_BYTES: Final = 256 << 10
_RETRY_SNAPSHOT_S: Final = 5.0


class Host(Protocol):
    """Whose state a snapshot holds."""

    def snapshot_record(self) -> ClusterRecord:
        """The state at the last applied entry."""

    def spoken(self) -> int:
        """The format that every member reads."""


class SnapshotTransfer:
    """The library's serializer: snapshots to and from the store, in pieces."""

    def __init__(self, store: SnapshotStore, host: Host, now: Callable[[], float]) -> None:
        self._store = store
        self._host = host
        self._now = now
        self._state = SERIALIZER_STATE.NOT_SERIALIZING
        self._index = 0
        self._retry_at: float | None = None
        self._sending: dict[Node, tuple[bytes, int]] = {}
        self._receiving: bytearray | None = None
        self.applied: Callable[[], int] = int

    def serialize(self, data: tuple[Any, ...], index: int) -> None:
        """Takes a snapshot at the last applied entry. Without space it tries again later."""
        _, last, previous, _ = data
        self._index = index
        host = self._host
        snapshot = Snapshot(
            last=last, previous=previous, record=host.snapshot_record(), format=host.spoken()
        )
        try:
            self._store.save(snapshot)
        except ConsensusError as error:
            logger.error("the Raft log stays long, no snapshot was taken: %s", error)  # noqa: TRY400
            self._retry_at = self._now() + _RETRY_SNAPSHOT_S
            return
        self._state = SERIALIZER_STATE.SUCCESS

    def checkSerializing(self) -> tuple[int, int]:  # noqa: N802
        """The library shortens its log when this says SUCCESS, once."""
        if self._retry_at is not None:
            if self._now() < self._retry_at:
                return SERIALIZER_STATE.SERIALIZING, self._index
            self._retry_at = None
        state, self._state = self._state, SERIALIZER_STATE.NOT_SERIALIZING
        return state, self._index

    def getTransmissionData(self, node: Node) -> tuple[bytes, bool, bool]:  # noqa: N802
        """The next piece for a member that lags; an empty one ends the transfer."""
        content, at = self._sending.get(node, (self._store.file_bytes, 0))
        piece = content[at : at + CHUNK_BYTES]
        if piece:
            self._sending[node] = (content, at + len(piece))
        else:
            self._sending.pop(node, None)
        return piece, at == 0, not piece

    def setTransmissionData(self, chunk: tuple[bytes, bool, bool]) -> bool:  # noqa: N802
        """True when a whole, newer snapshot is on disk. BadMessage for one that is not whole."""
        data, first, last = chunk
        if first:
            self._receiving = bytearray()
        if self._receiving is None:
            return False
        self._receiving += data
        if len(self._receiving) > MAX_SNAPSHOT_BYTES:
            self._receiving = None
            raise BadMessage("a snapshot that does not end")
        if not last:
            return False
        content, self._receiving = bytes(self._receiving), None
        if self._store.decode(content).last[1] <= self.applied():
            return False  # what is here is newer
        self._store.install(content)
        return True

    def cancelTransmisstion(self, node: Node) -> None:  # noqa: N802 - the library's spelling
        """The member is not connected."""
        self._sending.pop(node, None)
