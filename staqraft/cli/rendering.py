"""Answers of the daemon as text for people. Pure; what came from elsewhere is made harmless."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from datetime import tzinfo

from staqraft.cli.concerns import concerns, notices
from staqraft.cli.times import local_time
from staqraft.wire.v1 import admin_pb2, data_worker_pb2, types_pb2

WIDTH = 100
LABEL = 14
_STALE_MS = 6_000

_SESSION = {
    data_worker_pb2.SESSION_STATE_IDLE: "idle",
    data_worker_pb2.SESSION_STATE_DISCONNECTED: "not connected",
    data_worker_pb2.SESSION_STATE_RECONCILING: "comparing trees",
    data_worker_pb2.SESSION_STATE_CATCHING_UP: "catching up",
    data_worker_pb2.SESSION_STATE_STREAMING: "streaming",
}


def safe(text: str) -> str:
    """`text` without anything that could steer a terminal or begin a line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def path_text(path: bytes) -> str:
    """A path as bytes on disk, readable; bytes that are not UTF-8 are escaped."""
    return safe(path.decode(errors="backslashreplace"))


def render_clusters(response: admin_pb2.ListClustersResponse) -> str:
    """The clusters of a witness for many, one a line, with what is wrong below each."""
    width = max((len(cluster.cluster) for cluster in response.clusters), default=0)
    lines = []
    for cluster in response.clusters:
        if not cluster.served:
            state = "LEFT OUT"
        elif not cluster.raft.has_quorum:
            state = "no majority"
        else:
            state = f"served, {' and '.join(cluster.reachable)} connected"
        name = safe(cluster.cluster) or "?"
        lines.append(f"{name:{width}}  {safe(state)}  ({safe(cluster.source)})")
        lines += [f"    {safe(problem)}" for problem in cluster.problems]
    lines += [safe(problem) for problem in response.problems]
    return "\n".join(lines)


def size_text(size: int) -> str:
    """Bytes in binary units, three digits."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1000:  # noqa: PLR2004 - so that no unit needs four digits
            return f"{size} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def duration_text(milliseconds: float) -> str:
    """A duration with the precision that matters."""
    if milliseconds < 1000:  # noqa: PLR2004 - a second
        return f"{milliseconds:.0f} ms"
    if milliseconds < 120_000:  # noqa: PLR2004 - two minutes
        return f"{milliseconds / 1000:.1f} s"
    minutes = round(milliseconds / 60_000)
    if minutes < 120:  # noqa: PLR2004 - two hours
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Left-aligned columns as wide as their content; the first row is the head."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def position_text(position: types_pb2.Position) -> str:
    """`epoch:seq`, as everywhere in StaqRaft."""
    return f"{position.epoch}:{position.seq}"


# --- status -------------------------------------------------------------------------------------


def render_status(status: admin_pb2.GetStatusResponse) -> str:
    """The whole status, what matters most first."""
    wrong = concerns(status)
    known = notices(status)
    seen_by = f"{safe(status.node)} (StaqRaft {safe(status.version)})"
    lines = [f"cluster {safe(status.cluster)}, seen by {seen_by}", ""]
    if wrong:
        lines += ["NEEDS ATTENTION", *_bullets(wrong), ""]
    else:
        lines += ["All is well.", ""]
    if known:
        lines += ["Worth knowing", *_bullets(known), ""]
    lines += _nodes(status)
    for group in status.groups:
        lines += ["", *_group(group, status.node)]
    return "\n".join(lines)


def _bullets(sentences: Sequence[str]) -> list[str]:
    return [
        line
        for sentence in sentences
        for line in textwrap.wrap(
            safe(sentence),
            WIDTH,
            initial_indent="  - ",
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    ]


def _nodes(status: admin_pb2.GetStatusResponse) -> list[str]:
    rows: list[list[str]] = [["NODE", "ROLE", "HEARD", "VERSION", "CONFIGURATION", "RAFT"]]
    for node in sorted(status.nodes, key=lambda n: n.node):
        here = node.node == status.node
        rows.append(
            [
                safe(node.node),
                safe(node.role),
                "(this node)" if here else ("yes" if node.reachable else "NO"),
                safe(node.version) or "?",
                "DIFFERS" if node.config_differs else "same",
                "leader" if node.node == status.raft.leader else "",
            ]
        )
    raft = status.raft
    quorum = "in touch with a majority" if raft.has_quorum else "NOT in touch with a majority"
    behind = raft.commit_index - raft.applied_index
    applied = f"{behind} entries behind" if behind else "all applied"
    late = f", {raft.late_ticks} late ticks" if raft.late_ticks else ""
    return [
        *table(rows),
        f"Raft: {quorum}, term {raft.term}, entry {raft.commit_index}, {applied}{late}",
        *map(_link, status.links),
    ]


def _link(link: admin_pb2.LinkStatus) -> str:
    trip = f", {duration_text(link.round_trip_us / 1000)}" if link.round_trip_us else ""
    ends = f"{safe(link.address)} - {safe(link.peer)} {safe(link.peer_address)}"
    return f"Link {safe(link.ring)}: {ends}: {safe(link.way)}{trip}"


def _takeover(takeover: admin_pb2.TakeoverStatus, *, in_sync: bool, over: bool) -> list[str]:
    """Whether a replica would take over by itself, or each reason why not."""
    node = takeover.node
    if takeover.active:
        return [f"{node} was active, and its lease is over" if over else f"{node} is active"]
    fresh = takeover.known and takeover.heard_ms <= _STALE_MS
    if not in_sync and not (fresh and takeover.refusals):  # Raft knows it, and it perhaps not yet
        why = "it is not in sync, so it may lack acknowledged changes"
        return [
            f"{node} would NOT: {why}: it catches up by itself when it runs and reaches the active"
        ]
    if not takeover.known:
        return [f"{node} has not been heard, so it is not known whether it would"]
    if takeover.heard_ms > _STALE_MS:
        silent = f"{node} has not been heard for {duration_text(takeover.heard_ms)}"
        word = "; ".join(r.reason for r in takeover.refusals) or "that it would"
        return [f"{silent}, so it is not known whether it would; its last word was: {word}"]
    if not takeover.refusals:
        return [f"{node} would take over now"]
    found = []
    for refusal in takeover.refusals:
        since = f" since {local_time(refusal.since_wall_ms)}" if refusal.since_wall_ms else ""
        found.append(f"{node} would NOT: {refusal.reason}{since}: {refusal.remedy}")
    return found


def _group(group: admin_pb2.GroupStatus, me: str) -> list[str]:
    head = f"GROUP {safe(group.group)}"
    lines = textwrap.wrap(f"{head}: {safe(group.summary)}" if group.summary else head, WIDTH)

    def say(label: str, text: str) -> None:
        if text:
            lines.append(f"  {label.ljust(LABEL)}{safe(text)}")

    active = group.active or "nobody"
    fence = f", the one before was fenced by: {group.last_fence}" if group.last_fence else ""
    say("active", f"{active} in epoch {group.epoch}{fence}")
    say("in sync", ", ".join(group.in_sync) or "nobody")
    lease = f", lease runs for {duration_text(group.lease_left_ms)}" if group.lease_left_ms else ""
    say(f"{me} is", f"{group.phase}{lease}")
    for takeover in group.takeovers:
        in_sync = not group.active or takeover.node in group.in_sync
        for text in _takeover(takeover, in_sync=in_sync, over=group.lease_over_ms > 0):
            say("takeover", text)
    if not group.takeovers:
        for reason in group.not_eligible:
            say("no takeover", reason)
    for vip in group.vips:
        held = "held here" if vip.held else "not here"
        gate = f", gate {group.gate}" if group.gate and vip.held else ""
        say("address", f"{vip.address} on {vip.interface}: {held}{gate}")
    for service in group.services:
        say("service", _service(service))
    if group.service_moves:
        say("moves", f"{group.service_moves} of {group.service_moves_most} for failed services")
    if group.HasField("stream"):
        _stream(group.stream, say)
    if group.HasField("trees"):
        _trees(group.trees, say)
    return lines


Say = Callable[[str, str], None]


def _service(service: admin_pb2.ServiceStatus) -> str:
    """What is wrong with a failed one stands under NEEDS ATTENTION."""
    parts = [f"{service.name}: {service.state}"]
    if service.restarts_used:
        parts.append(f"restarted {service.restarts_used} of {service.restarts_most} times")
    if service.last_failure and service.state != "failed":
        parts.append(f"last failure: {service.last_failure}")
    return ", ".join(parts)


def _stream(stream: data_worker_pb2.GetStreamStatusResponse, say: Say) -> None:
    for peer in stream.peers:
        parts = [_SESSION.get(peer.state, "unknown")]
        if peer.ring:
            parts[0] += f" over {peer.ring}"
        if peer.objects_total:
            parts.append(f"{peer.objects_done:,} of {peer.objects_total:,} objects")
            if peer.bytes_done:
                fetched, pace = size_text(peer.bytes_done), size_text(peer.bytes_per_s)
                parts.append(f"{fetched} fetched, {pace}/s")
            if peer.left_ms > 0:
                parts.append(f"{duration_text(peer.left_ms)} left")
        if peer.state in {
            data_worker_pb2.SESSION_STATE_CATCHING_UP,
            data_worker_pb2.SESSION_STATE_STREAMING,
        }:
            parts.append(f"{peer.lag_records:,} records behind")
            if peer.settling:
                parts.append("not whole without the active yet")
            if peer.lag_bytes:
                age = duration_text(peer.lag_ms)
                parts.append(f"that is {size_text(peer.lag_bytes)}, the oldest of them {age} old")
        parts.append(f"durable {position_text(peer.durable)}")
        if peer.applied.seq < peer.durable.seq:
            parts.append(f"{peer.durable.seq - peer.applied.seq:,} of them not applied yet")
        parts.append(f"heard {duration_text(peer.heard_ms_ago)} ago")
        say("peer", f"{peer.node}: {', '.join(parts)}")
    first, last = position_text(stream.first), position_text(stream.last)
    is_empty = stream.first.seq > stream.last.seq
    holds = f"nothing behind {last} yet" if is_empty else f"{first} to {last}"
    say("journal", f"{holds}, {size_text(stream.journal_bytes)}")


def _trees(trees: data_worker_pb2.GetTreesStatusResponse, say: Say) -> None:
    for tree in trees.trees:
        text = f"{tree.tree} ({tree.path}): {tree.objects:,} objects, {size_text(tree.bytes)}"
        say("tree", f"{text}, {tree.dirty:,} changes to read" if tree.dirty else text)
    if trees.role == data_worker_pb2.WORKER_ROLE_STANDBY:
        say("applied", position_text(trees.applied))
        if trees.settling:
            say("settling", _settling(trees.unsettled))
    running = trees.reconcile
    if trees.HasField("reconcile") and not running.done:
        say("comparing", _comparing(running))
    if trees.HasField("scrub"):
        say("scrub", _scrub(trees.scrub))
    if trees.quarantined:
        say("quarantine", f"{trees.quarantined:,} objects, {size_text(trees.quarantined_bytes)}")


def _settling(in_doubt: int) -> str:
    doubt = f"; {in_doubt:,} objects are in doubt" if in_doubt else ""
    return (
        "not whole without the active yet: what was written while the trees were compared is being"
        f" applied, and what that leaves in doubt fetched anew{doubt}"
    )


def _comparing(running: data_worker_pb2.ReconcileResponse) -> str:
    if not running.objects_total:  # so far only this node's own are looked at
        return f"{running.phase}: {running.objects_done:,} objects"
    parts = [f"{running.objects_done:,} of {running.objects_total:,} objects"]
    if running.to_fetch:
        parts.append(
            f"{running.fetched:,} of {running.to_fetch:,} fetched"
            f" ({size_text(running.bytes_done)} of {size_text(running.bytes_to_fetch)},"
            f" {size_text(running.bytes_per_s)}/s)"
        )
        left = running.left_ms
        parts.append(f"{duration_text(left)} left" if left >= 0 else "time left not known yet")
    else:
        parts.append(f"{size_text(running.bytes_done)} fetched")
    return f"{running.phase}: {', '.join(parts)}" if running.phase else ", ".join(parts)


def _scrub(scrub: data_worker_pb2.ScrubStatus) -> str:
    parts = [scrub.state]
    if scrub.state != "waiting":
        parts.append(
            f"{scrub.objects_done:,} of {scrub.objects_total:,} objects,"
            f" {size_text(scrub.bytes_done)} of {size_text(scrub.bytes_total)}"
        )
    if scrub.ended_wall_ms:
        parts.append(f"all was read by {local_time(scrub.ended_wall_ms)}")
    if scrub.found:
        parts.append(f"{scrub.found:,} not as they should be, {scrub.healed:,} of them healed")
    return "; ".join(parts)


# --- the other answers --------------------------------------------------------------------------


def render_barrier(response: admin_pb2.BarrierResponse) -> str:
    """One sentence."""
    where = " and ".join(safe(r) for r in response.replicas)
    took = duration_text(response.elapsed_us / 1000)
    text = (
        f"Everything written before is durable on {where}"
        f" (position {position_text(response.position)}, {took})."
    )
    if response.degraded:
        text += " That is one host only: no other replica is in sync."
    return text


def render_step(response: admin_pb2.SwitchOverResponse, *, plain: bool = False) -> str:
    """One line of a switchover's progress; `plain` for a sentence that is none."""
    if plain:
        return safe(response.step)
    ending = ""
    if response.done:
        ending = f" (epoch {response.epoch})" if response.succeeded else " (NOT done)"
    return f"{response.elapsed_ms / 1000:7.2f} s  {safe(response.step)}{ending}"


def render_event(event: admin_pb2.ListEventsResponse, zone: tzinfo | None = None) -> str:
    """One line of the history."""
    where = f"{safe(event.group)}@{event.epoch}" if event.group else "cluster"
    return (
        f"{local_time(event.wall_ms, zone)}  {where:<12} {safe(event.node):<8}"
        f" {safe(event.kind):<14} {safe(event.text)}"
    )


def render_quarantine(
    response: data_worker_pb2.ListQuarantineResponse, zone: tzinfo | None = None
) -> str:
    """A table, oldest first."""
    if not response.entries:
        return "Nothing is in quarantine on this node."
    rows = [["ID", "SINCE", "EPOCH", "SIZE", "TREE", "PATH", "WHY", "KEPT AT"]]
    rows += [
        [
            safe(entry.id),
            local_time(entry.wall_ms, zone),
            str(entry.epoch),
            size_text(entry.size),
            safe(entry.tree),
            path_text(entry.path),
            safe(entry.reason),
            safe(entry.kept_at),
        ]
        for entry in response.entries
    ]
    size = size_text(sum(entry.size for entry in response.entries))
    count = len(response.entries)
    total = f"{'1 object' if count == 1 else f'{count:,} objects'}, {size}."
    advice = "'staqctl quarantine restore ID' brings one back, 'drop ID' removes it for good."
    return "\n".join([*table(rows), "", f"{total} {advice}"])


def render_notified(response: admin_pb2.TestNotificationsResponse) -> str:
    """What became of a test message, a line for each receiver."""
    if not response.receivers:
        return "nobody is told of anything: add receivers under 'notify' in the configuration"
    return "\n".join(
        f"{safe(one.receiver)}: {f'FAILED: {safe(one.problem)}' if one.problem else 'sent'}"
        for one in response.receivers
    )
