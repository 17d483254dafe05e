"""What deploy/RUNBOOK.md shows of staqctl's output: made by the real rendering."""

from __future__ import annotations

from datetime import UTC

from fakes.statuses import healthy_status
from staqraft.cli.rendering import (
    render_event,
    render_notified,
    render_quarantine,
    render_status,
)
from staqraft.wire.v1 import admin_pb2
from staqraft.wire.v1 import data_worker_pb2 as pb

_AT_MS = 1_763_000_000_000
_KEPT = "/var/lib/staqraft/groups/default/quarantine/20251113T021320Z-epoch5"


def healthy() -> str:
    """All is well."""
    return render_status(healthy_status())


def alone() -> str:
    """The standby is away."""
    status = healthy_status()
    status.nodes[1].reachable = False
    group = status.groups[0]
    group.in_sync[:] = ["a"]
    group.summary = "a is active ALONE: b is not in sync; it does not answer"
    peer = group.stream.peers[0]
    peer.state, peer.heard_ms_ago, peer.lag_records = pb.SESSION_STATE_DISCONNECTED, 754_000, 1204
    peer.problem = "b does not answer on any ring: is its host up, and its staqraftd?"
    return render_status(status)


def nobody() -> str:
    """Asked on b, which does not take over."""
    status = healthy_status()
    status.node = "b"
    status.nodes[0].reachable = False
    group = status.groups[0]
    group.active, group.phase, group.lease_left_ms = "", "standby", 0
    group.in_sync[:] = ["a"]
    group.summary = "nobody is active: see why each replica is not eligible"
    group.not_eligible.append("b is not in sync: it may lack acknowledged changes (in sync: a)")
    group.vips[0].held = False
    group.services[0].state = "stopped"
    group.ClearField("stream")
    group.ClearField("trees")
    return render_status(status)


def fencing() -> str:
    """A takeover that waits for a proof."""
    status = healthy_status()
    status.node = "b"
    status.nodes[0].reachable = False
    group = status.groups[0]
    group.active, group.phase, group.lease_left_ms, group.epoch = "b", "fencing", 2400, 6
    group.in_sync[:] = ["a", "b"]
    group.summary = (
        "b makes sure that the former active no longer serves: a did not answer, and no fence"
        " device is configured for it. When a is certainly off: 'staqctl fence a --confirm-off'"
    )
    group.vips[0].held = False
    group.services[0].state = "stopped"
    group.ClearField("stream")
    group.ClearField("trees")
    return render_status(status)


def events() -> str:
    """A failover."""

    def line(index: int, at_s: float, node: str, kind: str, text: str) -> str:
        event = admin_pb2.ListEventsResponse(
            index=index, wall_ms=round(_AT_MS + at_s * 1000), group="default",
            node=node, kind=kind, text=text, epoch=6,
        )  # fmt: skip
        return render_event(event, UTC)

    reason = "the lease of a ran out"
    return "\n".join(
        [
            line(910, 0, "b", "takeover", f"b takes over from a in epoch 6: {reason}"),
            line(911, 0.1, "b", "fenced", "a no longer serves; proof: lease"),
            line(
                912, 0.2, "b", "epoch-opened",
                "the history of epoch 6 begins at 3013; in sync: b alone",
            ),
        ]
    )  # fmt: skip


def quarantine() -> str:
    """Two objects."""
    entries = [
        pb.QuarantineEntry(
            id=identity, tree=tree, path=path, epoch=5, wall_ms=_AT_MS, size=size,
            reason="the active has another version", kept_at=f"{_KEPT}/{tree}/{path.decode()}",
        )
        for identity, tree, path, size in (
            ("7f3a", "mail", b"anna/new/1763000000.M1P2.a", 4211),
            ("91c0", "web", b"shop/order-1204.txt", 310),
        )
    ]  # fmt: skip
    return render_quarantine(pb.ListQuarantineResponse(entries=entries), UTC)


def notified() -> str:
    """One arrived, one did not."""
    problem = "the mail server mail.example.org says: authentication failed"
    return render_notified(
        admin_pb2.TestNotificationsResponse(
            receivers=[
                admin_pb2.Notified(receiver="admins", problem=problem),
                admin_pb2.Notified(receiver="chat"),
            ]
        )
    )


ALL = (healthy, alone, nobody, fencing, events, quarantine, notified)
