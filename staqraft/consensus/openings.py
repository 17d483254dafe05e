"""The first message of either side of a session: who speaks, and in which generation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from staqraft.consensus import generations, versions
from staqraft.consensus.codec import MAX_COUNTER
from staqraft.consensus.errors import BadMessage
from staqraft.model import Generation, NodeId
from staqraft.wire.v1 import raft_pb2 as pb

SESSION_ID_BYTES: Final = 12
_MEMBERS_KEPT: Final = 64


def make_opening(
    cluster: str,
    me: NodeId,
    session: bytes,
    version: str,
    generation: Generation,
    patience_ms: int = 0,
) -> pb.SessionOpen:
    """What this side says first; `generation` is the one that is on disk.

    `patience_ms`: see `bundles`.
    """
    return pb.SessionOpen(
        cluster=cluster,
        node=me,
        session=session,
        format=versions.FORMAT,
        version=version,
        generation=generation.number,
        generation_members=sorted(generation.members),
        generation_founder=generation.founder or "",
        generation_lineage=[
            pb.GenerationBefore(number=number, founder=founder)
            for number, founder in generation.lineage
        ],
        patience_ms=patience_ms,
        bundles=True,
    )


def named(opening: pb.SessionOpen, configured: Iterable[NodeId]) -> Generation:
    """The generation of an opening; a version that knew none is in the first."""
    if opening.generation <= generations.FIRST:
        return generations.first(configured)
    return Generation(
        number=opening.generation,
        members=frozenset(map(NodeId, opening.generation_members)),
        founder=NodeId(opening.generation_founder),
        lineage=tuple(
            (before.number, NodeId(before.founder)) for before in opening.generation_lineage
        ),
    )


def check_opening(
    envelopes: Iterable[pb.Envelope], cluster: str, node: NodeId, session: bytes | None
) -> pb.SessionOpen:
    """The first message of the other side. BadMessage when it is not what the certificate says."""
    first = next(iter(envelopes), pb.Envelope())
    opening = first.session_open
    if not first.HasField("session_open"):
        raise BadMessage("its first message does not open a session")
    if not versions.adjacent(opening.format):
        older = "this node" if opening.format > versions.FORMAT else node
        raise BadMessage(
            f"{node} runs version {opening.version!r} with format {opening.format}, this node knows"
            f" {versions.FORMAT}: they are more than one release apart; upgrade {older}"
        )
    if (opening.cluster, opening.node) != (cluster, node):
        raise BadMessage(
            f"it says that it is {opening.node!r} of {opening.cluster!r}, its certificate says"
            f" {node} of {cluster}"
        )
    longest = max(len(opening.generation_members), len(opening.generation_lineage))
    if opening.generation > MAX_COUNTER or longest > _MEMBERS_KEPT:
        raise BadMessage(f"its generation {opening.generation} is out of range")
    if len(opening.session) != SESSION_ID_BYTES or session not in {None, opening.session}:
        raise BadMessage("its session is not the one that was opened")
    return opening
