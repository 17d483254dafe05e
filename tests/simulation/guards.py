"""Guards of Raft, each taken out by a function: the log, the vote, the snapshot, elections."""

from __future__ import annotations

from typing import Any

from simulation import disks, network
from simulation.patching import put
from staqraft.consensus.elections import ElectionRules
from staqraft.consensus.log_store import LogStore
from staqraft.consensus.member import RaftMember

# --- the log, the vote, the snapshot --------------------------------------------------------------


def vote_not_stored() -> None:
    """As its name says."""
    real = LogStore.setCurrentTerm
    put(LogStore, "setCurrentTerm", lambda self, term, _vote: real(self, term, None))


def term_not_stored() -> None:
    """As its name says."""
    real = LogStore.setCurrentTerm

    def store(self: LogStore, term: int, _vote: Any) -> None:
        if self._term == 0 or (self.last_index and self[-1][2] == term):
            real(self, term, None)

    put(LogStore, "setCurrentTerm", store)


def log_not_synced() -> None:
    """As its name says."""
    put(disks.Volume, "sync_log", lambda self: _sometimes(self, "log"))


def _sometimes(volume: Any, what: str) -> None:
    if volume.rng.random() < 0.1:
        setattr(volume, f"synced_{what}", getattr(volume, what))


def snapshot_not_synced() -> None:
    """As its name says."""
    put(disks.Volume, "sync_snapshot", lambda self: _sometimes(self, "snapshot"))


def sent_before_persisted() -> None:
    """As its name says."""
    real = RaftMember._persist
    waiting: dict[int, int] = {}

    def lazy(self: RaftMember) -> bool:
        waiting[id(self)] = waiting.get(id(self), 0) + 1
        return real(self) if waiting[id(self)] % 20 == 0 else True

    put(RaftMember, "_persist", lazy)


def snapshot_guard_off() -> None:
    """As its name says."""
    real = RaftMember._guard
    put(
        RaftMember,
        "_guard",
        lambda self, message: "serialized" in message or real(self, message),
    )


def late_acknowledgement_counts() -> None:
    """As its name says."""
    real = RaftMember._guard

    def guard(self: RaftMember, message: dict[str, Any]) -> bool:
        if message["type"] == "next_node_idx":
            message["term"] = self.term
        return real(self, message)

    put(RaftMember, "_guard", guard)


def cut_off_entries_stay_lost() -> None:
    """As its name says."""

    def settle(self: LogStore) -> None:
        if self._cut:
            self._dirty(self._cut[0][1])
        self._cut = []

    put(LogStore, "settle", settle)


def snapshot_empties_the_log() -> None:
    """As its name says."""
    real = LogStore.adopt_snapshot

    def adopt(self: LogStore, previous: Any, last: Any) -> None:
        self._entries = [entry for entry in self._entries if entry[1] <= last[1]]
        self._dirty_from = 1
        real(self, previous, last)

    put(LogStore, "adopt_snapshot", adopt)


# --- elections ------------------------------------------------------------------------------------


def no_pre_vote() -> None:
    """As its name says."""

    def before_tick(self: ElectionRules, member: Any) -> None:
        self._transfer = member.election_due and member.asked_to_stand

    put(ElectionRules, "before_tick", before_tick)


def no_loyalty() -> None:
    """As its name says."""
    put(ElectionRules, "_loyal", lambda *_: False)


def no_pre_vote_no_loyalty() -> None:
    """As its name says."""
    no_pre_vote()
    no_loyalty()


def term_notices_ignored() -> None:
    """As its name says."""
    put(RaftMember, "adopt_term", lambda *_: None)


def leadership_stays() -> None:
    """As its name says."""
    put(RaftMember, "most_active", None)


def witness_never_leads() -> None:
    """As its name says."""
    real = RaftMember.election_timeout
    put(
        RaftMember,
        "election_timeout",
        lambda self: 1e6 if self._rules.heirs else real(self),
    )


def sessions_not_purged() -> None:
    """As its name says."""

    def arrive(self: network.Session, source: Any, target: Any, message: Any) -> None:
        end = self._ends[target]
        if self._network.passes(self.ring, source, target):
            self._hand(end, message)
        else:
            self._network.schedule.after(50_000, lambda: arrive(self, source, target, message))

    put(network.Session, "_arrive", arrive)
