"""What must hold when the Raft stores are opened again, wherever their process or power ended."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

from fakes.raft_writer import CLUSTER, ME, PEERS, Row, Said, note_entry, row
from staqraft.consensus.log_store import LogStore
from staqraft.consensus.member import RaftMember
from staqraft.consensus.ready import Timing
from staqraft.consensus.snapshot_store import SnapshotStore

_TIMING = Timing(election_min_s=0.3, election_max_s=0.6, heartbeat_s=0.095)


def said(text: str) -> Iterator[Said]:
    """The notes of a writer."""
    for line in text.splitlines():
        yield Said(**json.loads(line))


class Allowed:
    """What may be found: what was promised last, or something that was begun since."""

    def __init__(self) -> None:
        self._promised: Said | None = None
        self._begun: list[Said] = []

    def take(self, note: Said) -> None:
        if note.done:
            self._promised, self._begun = note, []
        else:
            self._begun.append(note)

    def check(self, found: Said) -> None:
        """AssertionError when something promised is missing, or nobody wrote what is there."""
        if self._promised is None and not found.term:
            return  # nobody was told anything yet
        may_be = [*([self._promised] if self._promised else []), *self._begun]
        snapshots = {note.snapshot for note in may_be}
        assert found.snapshot in snapshots, f"snapshot {found.snapshot}, written: {snapshots}"
        assert any(_fits(found, note) for note in may_be), (
            f"found {_short(found)}, written: {', '.join(map(_short, may_be))}"
        )


def _fits(found: Said, written: Said) -> bool:
    vote = (written.term, written.vote)
    if (found.term, found.vote) != vote and not (
        # A snapshot of a newer term was received, and the log had not been told yet.
        found.term > written.term and found.vote is None and found.snapshot > written.snapshot
    ):
        return False
    return _after(found.entries, found.snapshot) in (
        _after(written.entries, found.snapshot),
        # A snapshot of another history replaces what contradicts it.
        [] if found.snapshot > written.snapshot else None,
    )


def _after(entries: list[Row], index: int) -> list[Row]:
    return [entry for entry in entries if entry[0] > index]


def _short(note: Said) -> str:
    ends = f"{note.entries[0][:2]}..{note.entries[-1][:2]}" if note.entries else "nothing"
    return f"term {note.term} vote {note.vote} snapshot {note.snapshot} {ends}"


def reopen(directory: Path) -> Said:
    """Opens the stores as a node that starts does; then they can be used and opened again."""
    first = look(directory, entries=3)
    second = look(directory)
    added = second.entries[len(first.entries) :]
    assert second.entries[: len(first.entries)] == first.entries
    assert [entry[1] for entry in added] == [max(1, first.term)] * 3
    assert (second.term, second.vote) == (max(1, first.term), first.vote)
    return first


def look(directory: Path, *, entries: int = 0) -> Said:
    """What is there after opening the stores as a node that starts does, and adding entries."""
    log = LogStore.open(directory / "log", cluster=CLUSTER, node=ME)
    try:
        snapshots = SnapshotStore(directory / "snapshot", cluster=CLUSTER)
        RaftMember(
            me=ME,
            peers=PEERS,
            timing=_TIMING,
            log=log,
            snapshots=snapshots,
            clock=lambda: 100.0,
            rng=random.Random(1),
        )
        log.persist()
        current = snapshots.current
        found = Said(
            done=True,
            term=log.getCurrentTerm(),
            vote=log.getVotedForNodeId(),
            entries=[row(entry) for entry in log[:]],
            snapshot=current.last[1] if current is not None else 0,
        )
        for _ in range(entries):
            term = max(1, log.getCurrentTerm())
            log.setCurrentTerm(term, log.getVotedForNodeId())
            log.add(*note_entry(log.last_index + 1, term, 700))
            log.persist()
        return found
    finally:
        log.close()
