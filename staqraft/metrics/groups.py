"""Who is active, by which right, and what that took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from staqraft.metrics.families import Families
from staqraft.metrics.samples import GroupSample
from staqraft.model import GroupId

TAKEOVER_BUCKETS_S: Final = (
    *(0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.5),
    *(10.0, 15.0, 30.0, 60.0, 120.0, 300.0),
)
BARRIER_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)

SERVICE_STATES: Final = ("running", "stopped", "failed", "unknown")
RESULTS: Final = ("proved", "failed")


class GroupMetrics:
    """Of each group."""

    def __init__(self, to: Families) -> None:
        self._active = to.gauge("active", "1 where this node is active.", "group")
        self._phase = to.gauge(
            "phase", "1 for the phase in which this node is (its role, step by step).",
            "group", "phase",
        )  # fmt: skip
        self._eligible = to.gauge(
            "eligible",
            "1 if this standby would take over by itself when the lease ran out; none elsewhere.",
            "group",
        )
        self._epoch = to.gauge("epoch", "Fencing epoch of the group.", "group")
        self._lease = to.gauge(
            "lease_left_seconds", "What is left of this node's lease; 0: it has none.", "group"
        )
        self._in_sync = to.gauge(
            "in_sync", "1 if the replica may be promoted without loss.", "group", "replica"
        )
        self._vip = to.gauge("vip_held", "1 if the address is on this node.", "group", "vip")
        self._gate = to.gauge("gate_open", "1 if clients get through to the addresses.", "group")
        self._maintenance = to.gauge(
            "maintenance_seconds", "For how long maintenance has been on; 0: it is off.", "group"
        )
        self._service = to.gauge(
            "service_state", "1 for the state in which the service is on this node.",
            "group", "service", "state",
        )  # fmt: skip
        self._check_s = to.gauge(
            "service_check_seconds",
            "How long the check of the service took last; none where it is not watched.",
            "group", "service", "check",
        )  # fmt: skip
        self._service_restarts = to.gauge(
            "service_restarts", "Restarts of the service on this node within its window.",
            "group", "service",
        )  # fmt: skip
        self._service_moves = to.gauge(
            "service_moves",
            "Moves of the group because of failed services, within the window.",
            "group",
        )
        self._service_failures = to.counter(
            "service_failures", "Times a running service was found failed.", "group", "service"
        )
        self._renewals = to.counter("lease_renewals", "Committed renewals by this node.", "group")
        self._takeovers = to.counter(
            "takeovers", "Times this node became active, by how the loser was fenced.",
            "group", "fence",
        )  # fmt: skip
        self._takeover_s = to.histogram(
            "takeover_duration_seconds",
            "From the last sign of the former active, or its release, until this node served.",
            TAKEOVER_BUCKETS_S, "group", "fence",
        )  # fmt: skip
        self._takeovers_failed = to.counter(
            "takeovers_failed", "Takeovers that this node began and had to give up.", "group"
        )
        self._fencings = to.counter(
            "fencings", "Tries to make sure that the loser is fenced, by rung and result.",
            "group", "rung", "result",
        )  # fmt: skip
        self._barrier_s = to.histogram(
            "barrier_duration_seconds", "How long barriers took that were reached.",
            BARRIER_BUCKETS_S, "group",
        )  # fmt: skip
        self._barriers_failed = to.counter(
            "barriers_failed", "Barriers that were asked for and not reached.", "group"
        )

    def open(
        self,
        group: GroupId,
        *,
        services: tuple[str, ...],
        proofs: tuple[str, ...],
        asked: tuple[str, ...],
    ) -> None:
        """Shows the counters of a replica's group at 0, so that the first time is seen, too.

        `proofs` are the rungs that may prove that the loser is fenced; of these somebody or
        something is `asked`.
        """
        self._renewals(group)
        self._takeovers_failed(group)
        self._barriers_failed(group)
        self._barrier_s(group)
        for rung in asked:
            for result in RESULTS:
                self._fencings(group, rung, result)
        for fence in ("none", "released", "operator", *proofs):
            self._takeovers(group, fence)
        for service in services:
            self._service_failures(group, service)

    def show(self, sample: GroupSample) -> None:
        """Shows `sample` as the group's present state."""
        group = sample.group
        self._active(group).set(sample.phase == "active")
        self._phase(group, sample.phase).set(1)
        self._phase.forget_all_but({(group, sample.phase)}, of=group)
        if sample.eligible is not None:
            self._eligible(group).set(sample.eligible)
        else:
            self._eligible.forget_all_but((), of=group)
        self._epoch(group).set(sample.epoch)
        self._lease(group).set(max(sample.lease_left_ms, 0) / 1000)
        for replica in sample.replicas:
            self._in_sync(group, replica).set(replica in sample.in_sync)
        for vip, held in sample.vips_held.items():
            self._vip(group, vip).set(held)
        self._maintenance(group).set(sample.maintenance_ms / 1000)
        if sample.gate_open is not None:
            self._gate(group).set(sample.gate_open)
        for service, now in sample.services.items():
            for state in SERVICE_STATES:
                self._service(group, service, state).set(state == now)
        for service, restarts in sample.service_restarts.items():
            self._service_restarts(group, service).set(restarts)
        self._service_moves(group).set(sample.service_moves)

    def checked(self, group: GroupId, took_ms: Mapping[tuple[str, str], int]) -> None:
        """Shows how long the checks of services took last, by service and check."""
        for (service, check), took in took_ms.items():
            self._check_s(group, service, check).set(took / 1000)
        self._check_s.forget_all_but({(group, *names) for names in took_ms}, of=group)

    def renewed(self, group: GroupId, count: int) -> None:
        """Counts committed renewals of this node's lease."""
        self._renewals(group).inc(count)

    def took_over(self, group: GroupId, fence: str, duration_ms: int | None) -> None:
        """Counts a takeover by this node.

        `fence` is the rung, or "none" where there was nobody to be fenced. `duration_ms` is from
        the last sign of the former active, None where there was none.
        """
        self._takeovers(group, fence).inc()
        if duration_ms is not None:
            self._takeover_s(group, fence).observe(duration_ms / 1000)

    def gave_up_takeover(self, group: GroupId, count: int) -> None:
        """Counts takeovers that did not end in being active."""
        self._takeovers_failed(group).inc(count)

    def fenced(self, group: GroupId, rung: str, result: str, count: int) -> None:
        """Counts tries to fence a loser; `result` is one of RESULTS."""
        self._fencings(group, rung, result).inc(count)

    def service_failed(self, group: GroupId, service: str, count: int) -> None:
        """Counts that a running service was found failed."""
        self._service_failures(group, service).inc(count)

    def barrier(self, group: GroupId, took_s: float | None) -> None:
        """Counts a barrier; None: it was not reached."""
        if took_s is None:
            self._barriers_failed(group).inc()
        else:
            self._barrier_s(group).observe(took_s)
