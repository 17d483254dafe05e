"""What a leader says to a member for whom nobody waits, in fewer words. PURE.

A witness of many clusters asks for patience in its opening. While a leader has sessions with all
members, a majority is there without that one, so its appends may wait for each other and go out as
one message: the same that the leader would have sent if it had been asked later. As soon as anybody
is missing everything goes out at once again.
"""

from __future__ import annotations

from typing import Final

from staqraft.wire.v1 import raft_pb2 as pb

_MOST_ENTRIES: Final = 64
_MOST_BYTES: Final = 256 << 10


def only_appends(envelope: pb.Envelope) -> bool:
    """Whether it is a leader's append or heartbeat, and no piece of a snapshot."""
    return envelope.HasField("append_entries") and not envelope.append_entries.HasField("snapshot")


def merged(earlier: pb.Envelope, later: pb.Envelope) -> bool:
    """Makes `earlier` say what both say, if that can be: `later` goes on where it ends.

    Both are to the same member, in this order, and neither was sent.
    """
    if not only_appends(earlier) or not only_appends(later):
        return False
    one, two = earlier.append_entries, later.append_entries
    if one.term != two.term or two.commit_index < one.commit_index:
        return False
    before, after = one.entries, two.entries
    if not (before.HasField("previous_index") and after.HasField("previous_index")):
        return False
    end = before.entries[-1] if before.entries else None
    index = end.index if end is not None else before.previous_index
    term = end.term if end is not None else before.previous_term
    if (index, term) != (after.previous_index, after.previous_term):
        return False
    if len(before.entries) + len(after.entries) > _MOST_ENTRIES:
        return False
    if earlier.ByteSize() + later.ByteSize() > _MOST_BYTES:
        return False
    one.commit_index = two.commit_index
    before.entries.extend(after.entries)
    return True
