"""What is found out about a node, as values, and when it counts (PURE)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Final

from staqraft.decision.defects import Defect
from staqraft.model import GroupId

CODES: Final = frozenset(
    {
        *("disk-hung", "disk-failed", "disk-slow", "disk-full", "disk-space", "disk-unknown"),
        *("memory", "clock", "worker-silent"),
        *("uplink-lost", "ping-silent", "ping-never", "vip-interface"),
        *("link-address", "link-cable", "link-one-way", "link-cut", "link-port"),
        *("peer-silent", "daemon-silent", "config"),
    }
)
"""What people are told of; deploy/RUNBOOK.md has a page for each."""

BETWEEN: Final = frozenset(
    {
        *("link-address", "link-cable", "link-one-way", "link-cut", "link-port"),
        *("clock", "peer-silent", "daemon-silent", "config"),
    }
)
"""Of these, what lies between two nodes: each of them finds it."""


class Severity(IntEnum):
    """How much a finding matters."""

    SUSPICION = -1  # counts when replicas are compared, and nobody is told
    INFO = 0
    WARNING = 1
    CRITICAL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something about a node. `text` and `remedy`: a plain sentence each, without a full stop.

    `code` names the kind, for machines; `subject` which one (a volume, a ring, a target). `defect`:
    by this kind the node is less fit to serve than one without it; `bars`: it cannot serve at all;
    `hangs`: what needs it never ends.
    It is sure when it has lasted for `sure_ms`; None: it stays a doubt. `groups`: of these only.
    """

    code: str
    subject: str
    severity: Severity
    text: str
    remedy: str
    defect: str = ""
    bars: bool = False
    hangs: bool = False
    sure_ms: int | None = 0
    groups: frozenset[GroupId] = frozenset()

    def __post_init__(self) -> None:
        told = self.severity > Severity.SUSPICION
        assert self.code in CODES or not told, f"{self.code} is not in CODES"

    @property
    def key(self) -> tuple[str, str]:
        """What makes it the same finding as before."""
        return self.code, self.subject


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """The history of one finding: since when it is there, or gone, and how often it came back."""

    finding: Finding
    since_ms: int
    gone_ms: int | None = None
    steady_ms: int = 0


LONGEST_STEADY = 20  # times the configured time


@dataclass(frozen=True, slots=True, kw_only=True)
class Latch:
    """Keeps what comes and goes from moving a service to and fro.

    A finding is there from when it is first reported. What was wrong is well only when it has not
    been reported for `steady_ms`, and each time that it comes back soon after that, twice as long
    (the damping of route flaps, RFC 2439, in its simplest form).
    """

    steady_ms: int
    cases: Mapping[tuple[str, str], _Case] = field(default_factory=dict)

    def see(self, findings: Iterable[Finding], now_ms: int) -> Latch:
        """The latch when these are the findings of now."""
        cases = dict(self.cases)
        present = {finding.key: finding for finding in findings}
        for key, finding in present.items():
            cases[key] = self._present(cases.get(key), finding, now_ms)
        for key in cases.keys() - present.keys():
            case = cases[key]
            if case.gone_ms is None:
                cases[key] = replace(case, gone_ms=now_ms)
            elif now_ms - case.gone_ms > 2 * case.steady_ms + self.steady_ms:
                del cases[key]  # so long ago that it begins anew
        return replace(self, cases=cases)

    def _present(self, case: _Case | None, finding: Finding, now_ms: int) -> _Case:
        if case is None:
            return _Case(finding=finding, since_ms=now_ms, steady_ms=self.steady_ms)
        if case.gone_ms is None or now_ms - case.gone_ms < case.steady_ms:
            return replace(case, finding=finding, gone_ms=None)
        longer_ms = min(2 * case.steady_ms, LONGEST_STEADY * self.steady_ms)
        return replace(case, finding=finding, gone_ms=None, since_ms=now_ms, steady_ms=longer_ms)

    def findings(self) -> tuple[tuple[Finding, int], ...]:
        """What is there now, and since when; the gravest first."""
        present = [
            case
            for case in self.cases.values()
            if case.gone_ms is None and case.finding.severity > Severity.SUSPICION
        ]
        present.sort(key=lambda c: (-c.finding.severity, c.finding.key))
        return tuple((case.finding, case.since_ms) for case in present)

    def defects(self, now_ms: int, group: GroupId) -> tuple[Defect, ...]:
        """What counts when replicas are compared: also what is gone for too short a time.

        That is a doubt again: nobody has to hand over for it, and nobody is chosen who had it.
        """
        found = []
        for case in self.cases.values():
            finding = case.finding
            gone = case.gone_ms
            if not finding.defect or (gone is not None and now_ms - gone >= case.steady_ms):
                continue
            if finding.groups and group not in finding.groups:
                continue
            lasted_ms = now_ms - case.since_ms
            found.append(
                Defect(
                    kind=finding.defect,
                    text=finding.text,
                    remedy=finding.remedy,
                    bars=finding.bars,
                    hangs=finding.hangs,
                    sure=gone is None
                    and finding.sure_ms is not None
                    and lasted_ms >= finding.sure_ms,
                )
            )
        return tuple(found)
