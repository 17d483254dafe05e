"""Compression of a batch: lz4 block, after a probe that spares data which does not shrink.

Policy `auto` probes three slices, `always` compresses whatever it is, `never` does not. lz4 pays on
links below roughly 300 MB/s; gRPC's own compression is never used, since it would run in the event
loop.
"""

from __future__ import annotations

import lz4.block

from staqraft.errors import JournalCorrupt
from staqraft.replication.session import MAX_BATCH_BYTES
from staqraft.wire.v1 import replication_pb2 as pb

_SLICE = 4096
_SLICES = 3
_TOO_SMALL = 256  # below this the header of a block costs as much as it saves
_WORTH_IT = 0.9


def compress(data: bytes, policy: str) -> tuple[pb.Codec, bytes]:
    """The data as it should travel, and how it was packed; never larger than it was."""
    if policy == "never" or len(data) < _TOO_SMALL or (policy == "auto" and not _shrinks(data)):
        return pb.CODEC_NONE, data
    packed: bytes = lz4.block.compress(data, store_size=False)
    return (pb.CODEC_LZ4, packed) if len(packed) < len(data) else (pb.CODEC_NONE, data)


def decompress(codec: pb.Codec, raw_bytes: int, data: bytes) -> bytes:
    """The data as it was. JournalCorrupt when it is not `raw_bytes` long or cannot be unpacked."""
    if not 0 < raw_bytes <= MAX_BATCH_BYTES:
        raise JournalCorrupt(f"a batch cannot have {raw_bytes} bytes")
    if codec == pb.CODEC_NONE:
        raw = data
    elif codec == pb.CODEC_LZ4:
        try:
            raw = lz4.block.decompress(data, uncompressed_size=raw_bytes)
        except lz4.block.LZ4BlockError as error:
            raise JournalCorrupt(f"a batch cannot be unpacked: {error}") from error
    else:
        raise JournalCorrupt(f"a batch is packed in an unknown way ({codec})")
    if len(raw) != raw_bytes:
        raise JournalCorrupt(f"a batch has {len(raw)} bytes, announced were {raw_bytes}")
    return raw


def _shrinks(data: bytes) -> bool:
    """Three slices tell enough: they cost some microseconds, a whole batch in vain 0.3 ms."""
    if len(data) <= _SLICE * _SLICES:
        return True
    middle = (len(data) - _SLICE) // 2
    sample = (data[:_SLICE], data[middle : middle + _SLICE], data[-_SLICE:])
    packed = sum(len(lz4.block.compress(piece, store_size=False)) for piece in sample)
    return packed < _WORTH_IT * _SLICE * _SLICES
