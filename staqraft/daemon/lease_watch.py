"""Whether the lease of a group's active still runs, for a witness, which has no decision core.

As a challenger it counts from when it saw the last renewal (`decision.lease`), or, of one that it
has not seen renewed, from its own start.
"""

from __future__ import annotations

from collections.abc import Callable

from staqraft.config.schema import Config
from staqraft.consensus.group import Group as RaftGroup
from staqraft.daemon.timing import timing_of
from staqraft.model import ClusterRecord, Epoch, GroupId, GroupRecord


class LeaseWatch:
    """Sees every renewal that is applied. `now_ms`: CLOCK_BOOTTIME."""

    def __init__(self, config: Config, raft: RaftGroup, now_ms: Callable[[], int]) -> None:
        self._config = config
        self._raft = raft
        self._now_ms = now_ms
        self._begun_ms = now_ms()
        self._seen: dict[GroupId, tuple[Epoch, int, int]] = {}  # renewal of an epoch, and when
        raft.subscribe(self._on_raft)

    def _on_raft(self, cluster: ClusterRecord) -> None:
        for group, record in cluster.groups.items():
            known = self._seen.get(group)
            if known is None or known[:2] != (record.epoch, record.renewal):
                self._seen[group] = record.epoch, record.renewal, self._now_ms()

    def over_ms(self, group: GroupId) -> int:
        """For how long it has surely been over; 0: it runs, or nobody has one."""
        record = self._raft.state.groups.get(group, GroupRecord())
        if not record.active or record.released or group not in self._config.groups:
            return 0
        seen_ms = self._seen[group][2] if group in self._seen else self._begun_ms
        timing = timing_of(self._config, group)
        return max(0, self._now_ms() - timing.challenger_deadline(seen_ms, record.resting_ms))
