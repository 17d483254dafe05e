"""Whether clients can reach the virtual addresses of a replica at all (PURE).

Rings and pings may go another way than clients do: with its service cable pulled, an active that
its standby and the witness hear over a second network keeps its lease for ever, and serves nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from staqraft.config.schema import Vip
from staqraft.decision.defects import LINK
from staqraft.health.findings import Finding, Severity
from staqraft.model import GroupId, NodeId

_LOOKED_AGAIN_MS: Final = (
    2_000  # so that of two at one switch, none is the better for noticing late
)


def judge(
    vips: Mapping[GroupId, Sequence[Vip]], links: Mapping[str, bool | None], node: NodeId
) -> Iterator[Finding]:
    """`links`: of each interface whether it has a link; None: there is none of this name."""
    for interface in sorted(links):
        if links[interface]:
            continue
        groups = frozenset(g for g, some in vips.items() if any(_on(interface, v) for v in some))
        addresses = ", ".join(
            str(v.address.ip) for g in sorted(groups) for v in vips[g] if _on(interface, v)
        )
        missing = links[interface] is None
        if missing:
            text = f"{node} has no interface {interface}, so it cannot have {addresses}"
            remedy = (
                f"compare 'interface' under 'vips' in the configuration with 'ip link' on {node};"
                " it has to have the same name on both replicas"
            )
        else:
            text = f"{interface} of {node} has no link, so no client reaches {addresses} there"
            remedy = (
                f"look at the cable of {interface} on {node} and at what it is plugged into, and"
                f" whether it is up ('ip link set {interface} up')"
            )
        yield Finding(
            code="vip-interface",
            subject=interface,
            severity=Severity.CRITICAL,
            text=text,
            remedy=remedy,
            defect=LINK,
            bars=missing,
            sure_ms=_LOOKED_AGAIN_MS,
            groups=groups,
        )


def _on(interface: str, vip: Vip) -> bool:
    return vip.interface == interface
