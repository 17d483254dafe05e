"""What pings say of a node's uplink (PURE).

A target that does not answer is not yet a lost uplink: it may be down itself, and then no other
replica reaches it either, which is why replicas are compared (`staqraft.decision.health`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from staqraft.config.schema import PingHealth
from staqraft.decision.defects import UPLINK
from staqraft.health.findings import Finding, Severity
from staqraft.model import NodeId

_LOOKED_AGAIN_MS: Final = 1_000  # this process may just have been stopped for a while


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetLook:
    """A target as it was asked lately. Times are ages, in milliseconds; None: never.

    `way`: why it cannot be asked at all, or what is wrong with the interface that leads there.
    `elsewhere`: it has answered another replica, so that it is one that answers.
    """

    address: str
    answered_ms: int | None
    asked_for_ms: int  # since when it has been asked
    way: str = ""
    gateway: bool = False
    elsewhere: bool = False

    def __str__(self) -> str:
        return f"the gateway {self.address}" if self.gateway else self.address


def judge(
    looks: Sequence[TargetLook],
    limits: PingHealth,
    node: NodeId,
    others: Mapping[NodeId, Mapping[str, bool]],
) -> Iterator[Finding]:
    """`others`: which targets another replica says that it reaches."""
    mute = [look for look in looks if _is_mute(look, limits)]
    for look in mute:
        if look.gateway:
            continue  # nobody chose it, and many routers do not answer
        yield Finding(
            code="ping-never",
            subject=look.address,
            severity=Severity.WARNING,
            text=f"{look} has never answered a ping of {node}, so it says nothing of the uplink",
            remedy="name another target under 'health.ping.targets', or let it answer pings",
        )
    looks = [look for look in looks if look not in mute]
    if not looks:
        return
    reached = [look for look in looks if _unanswered_ms(look) < limits.lost_after_ms]
    silent = [look for look in looks if look not in reached]
    need = min(limits.need, len(looks))
    if len(reached) < need and silent:
        yield _lost(silent, node, others)
    else:
        for look in silent:
            yield Finding(
                code="ping-silent",
                subject=look.address,
                severity=Severity.WARNING,
                text=f"{look} does not answer pings of {node} any more; other targets do",
                remedy=f"see whether {look.address} is up",
            )
    soon_ms = limits.interval_ms * 5 // 2  # two pings in a row have not been answered
    fine = [look for look in looks if look.answered_ms is not None and look.answered_ms < soon_ms]
    if len(fine) < need:
        yield Finding(
            code="uplink-doubt",
            subject="",
            severity=Severity.SUSPICION,
            text=f"{node} may have lost its uplink",
            remedy="wait",
            defect=UPLINK,
            sure_ms=None,
        )


def _is_mute(look: TargetLook, limits: PingHealth) -> bool:
    """It has never answered anybody, so it says nothing."""
    never = look.answered_ms is None and not look.elsewhere
    return never and look.asked_for_ms >= limits.lost_after_ms


def _unanswered_ms(look: TargetLook) -> int:
    return look.asked_for_ms if look.answered_ms is None else look.answered_ms


def _lost(
    silent: Sequence[TargetLook], node: NodeId, others: Mapping[NodeId, Mapping[str, bool]]
) -> Finding:
    names = " and ".join(str(look) for look in silent)
    cause = next((look.way for look in silent if look.way), "")
    having = [o for o, sees in others.items() if any(sees.get(look.address) for look in silent)]
    asked = [o for o, sees in others.items() if any(look.address in sees for look in silent)]
    if cause:
        text = f"{node} has lost its uplink: {cause}, so {names} cannot be reached"
        remedy = f"look at that interface of {node}, its cable and its switch port"
    elif having:
        text = (
            f"{node} has lost its uplink: {names} does not answer it, but answers {having[0]},"
            f" so the fault is between {node} and the network"
        )
        remedy = f"look at the cable and the switch port of {node}, and at its firewall"
    elif asked:
        text = f"neither {node} nor {asked[0]} reaches {names}, so it is not the fault of {node}"
        remedy = "look at the router itself, and at the switch that both replicas go through"
    else:
        text = f"{names} does not answer pings of {node} any more"
        remedy = f"look at the router, and at the cable and the switch port of {node}"
    return Finding(
        code="uplink-lost",
        subject="",
        severity=Severity.CRITICAL,
        text=text,
        remedy=remedy,
        defect=UPLINK,
        sure_ms=_LOOKED_AGAIN_MS,
    )
