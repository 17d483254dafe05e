"""What is wrong in a status, each with what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from staqraft.wire.v1 import admin_pb2, data_worker_pb2


def concerns(status: admin_pb2.GetStatusResponse) -> list[str]:
    """Sentences for an administrator; none: everything is as it should be."""
    return [
        *_nodes(status),
        *_raft(status),
        *(f"{status.node}: {problem.text}" for problem in status.problems),
        *(line for group in status.groups for line in _group(group, status)),
    ]


def notices(status: admin_pb2.GetStatusResponse) -> list[str]:
    """What is worth knowing but is not wrong."""
    found = []
    for group in status.groups:
        count = group.trees.quarantined if group.HasField("trees") else 0
        if count:
            objects = "1 object is" if count == 1 else f"{count} objects are"
            found.append(
                f"group {group.group}: {objects} in quarantine on {status.node}: see 'staqctl"
                " quarantine list' for what this node had and the active had not"
            )
        found.extend(
            f"group {group.group}: {maintained_text(entry)}"
            for entry in group.maintained
            if not entry.long
        )
        if group.resting_ms and group.active:
            found.append(
                f"group {group.group}: the daemon of {group.active} was stopped in maintenance:"
                " its addresses and services go on without it for up to"
                f" {-(-group.resting_ms // 60_000)} min. Start it again"
            )
        found.extend(
            f"group {group.group}: {node} stopped in order: it is not turned off for that, and"
            " follows again when it is started"
            for node in group.away
        )
        if group.switchover_target:
            found.append(
                f"group {group.group}: a switchover to {group.switchover_target} is pending"
            )
    return found


def _nodes(status: admin_pb2.GetStatusResponse) -> Iterator[str]:
    versions = {node.version for node in status.nodes if node.version}
    for node in status.nodes:
        if not node.reachable:
            yield (
                f"{node.node} is not heard by {status.node}: is the host up ('ping'), does its"
                " daemon run ('systemctl status staqraftd' there), and are the links between them?"
            )
        if node.config_differs:
            yield (
                f"the configuration of {node.node} differs from that of {status.node}: compare the"
                " files; 'staqraftd --check' prints a fingerprint that is to be the same everywhere"
            )
    if len(versions) > 1:
        yield (
            f"the nodes run different versions ({', '.join(sorted(versions))}): finish the upgrade"
        )


def _raft(status: admin_pb2.GetStatusResponse) -> Iterator[str]:
    if not status.raft.has_quorum:
        yield (
            f"{status.node} is not in touch with a majority of the nodes: it can neither become nor"
            " stay active. Bring another node or its link back"
        )
    if status.raft.problem:
        yield f"{status.node} does not vote: {status.raft.problem}"


def _group(group: admin_pb2.GroupStatus, status: admin_pb2.GetStatusResponse) -> Iterator[str]:
    name = f"group {group.group}"
    yield from (f"{name}: {line}" for line in _takeover(group, status))
    for entry in group.maintained:
        if entry.long:
            yield (
                f"{name}: {maintained_text(entry)}: is it still needed? If not: 'staqctl"
                " maintenance off'"
            )
    if group.active == status.node:
        for vip in group.vips:
            if not vip.held:
                yield f"{name}: {vip.address} is not on {vip.interface} though this is the active"
        if group.phase == "active" and group.gate == "closed":
            yield f"{name}: the gate before its addresses is closed though this is the active"
    for service in group.services:
        if service.state == "failed":
            yield f"{name}: {service.detail or f'service {service.name} is not well'}"
    yield from (f"{name}: {problem}" for problem in _problems(group))


def _takeover(group: admin_pb2.GroupStatus, status: admin_pb2.GetStatusResponse) -> Iterator[str]:
    """Whether somebody serves, and whether another would if that one failed."""
    me, reasons = status.node, "; ".join(group.not_eligible)
    replicas = sorted(n.node for n in status.nodes if n.role == "replica")
    missing = [r for r in replicas if r not in group.in_sync]
    if not group.active:
        yield "nobody is active, so its addresses and services are down"
        if reasons:
            yield f"{me} does not take over by itself: {reasons}"
        return
    if reasons and group.active != me:
        yield f"{me} would not take over if {group.active} failed now: {reasons}"
        missing = [r for r in missing if r != me]
    elif group.maintenance:
        yield "maintenance is on, nothing is taken over automatically"
    if missing:
        are = "is" if len(missing) == 1 else "are"
        yield (
            f"{', '.join(missing)} {are} not in sync: if {group.active} fails now, nobody takes"
            " over by itself"
        )


def maintained_text(entry: admin_pb2.MaintenanceStatus) -> str:
    """Who is in maintenance, since when and why."""
    hours, minutes = divmod(entry.lasts_ms // 60_000, 60)
    lasts = f"{hours} h {minutes} min" if hours else f"{minutes} min"
    why = f": {entry.reason}" if entry.reason else ""
    whom = entry.node or "the cluster"
    return f"{whom} has been in maintenance for {lasts} ({entry.requested_by}{why})"


def _problems(group: admin_pb2.GroupStatus) -> Iterator[str]:
    """Of the group and its data worker, each text once: the daemon may repeat its worker's."""
    told: list[data_worker_pb2.WorkerProblem] = [*group.problems]
    if group.HasField("trees"):
        told += group.trees.problems
        if group.trees.needs_reconcile:
            yield f"the trees are to be compared with the active's: {group.trees.needs_reconcile}"
        if damaged := group.trees.scrub.corrupt_lately:
            files = "a file" if damaged == 1 else f"{damaged} files"
            yield (
                f"the disk of this replica damaged {files} that nobody wrote; they were fetched"
                " anew, but the disk is not to be trusted: look at 'dmesg' and 'smartctl -a', and"
                " replace it"
            )
    if group.HasField("stream"):
        told += group.stream.problems
        yield from (f"{p.node}: {p.problem}" for p in group.stream.peers if p.problem)
    yield from dict.fromkeys(problem.text for problem in told)
