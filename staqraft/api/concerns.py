"""What is wrong in a status, each with a code, how bad it is, and what to do about it. Pure.

`staqctl status` prints them, messages tell them, the metric `staqraft_problem` shows their codes,
and deploy/RUNBOOK.md has a page for each code: one list, so that none of these knows less than the
others. What a worker or a watcher of this node finds comes in as a `WorkerProblem` with a code of
its own; the others are listed in `CODES`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from staqraft.decision.phases import Phase
from staqraft.model import GroupId
from staqraft.notify.message import Severity
from staqraft.notify.watch import Complaint
from staqraft.wire.v1 import admin_pb2, data_worker_pb2

CODES: Final = {
    "unreachable": Severity.WARNING,  # a member is not heard
    "config-differs": Severity.WARNING,
    "versions-differ": Severity.INFO,  # an upgrade is going on
    "no-majority": Severity.CRITICAL,
    "not-voting": Severity.CRITICAL,
    "nobody-active": Severity.CRITICAL,
    "not-eligible": Severity.WARNING,  # this standby would not take over
    "maintenance": Severity.INFO,
    "maintenance-long": Severity.WARNING,
    "alone": Severity.WARNING,  # the other replica is not in sync
    "not-serving": Severity.CRITICAL,  # the takeover goes on, or waits for something
    "vip-not-held": Severity.CRITICAL,
    "gate-closed": Severity.CRITICAL,
    "service-failed": Severity.CRITICAL,
    "needs-reconcile": Severity.INFO,  # which is done by itself
    "disk-corrupt": Severity.CRITICAL,
    "peer": Severity.WARNING,  # the stream to or from the other replica
}
# Of what workers and watchers find: the service suffers, or will soon, or acknowledged data might.
CRITICAL: Final = frozenset(
    {
        "address-conflict",
        "damaged",
        "journal-full",
        "not-captured",
        "root-missing",
        "service-stays",
        "watchdog",
    }
)

# Of an active that has the epoch already.
_TAKING_OVER: Final = frozenset(
    phase.value
    for phase in (
        Phase.FENCING,
        Phase.FINISHING,
        Phase.OPENING,
        Phase.ARMING,
        Phase.CAPTURING,
        Phase.STARTING,
        Phase.ADDRESSING,
        Phase.ADMITTING,
    )
)

_FRESH_MS: Final = 6_000  # what a replica said of itself counts for so long

# Said as `unreachable` and `config-differs`, with the cause if the probes know it.
OF_MEMBERS: Final = frozenset({"peer-silent", "daemon-silent", "config"})


def concerns(status: admin_pb2.GetStatusResponse) -> list[Complaint]:
    """Everything that is wrong; none: all is as it should be."""
    return [
        *_nodes(status),
        *_raft(status),
        *(
            Complaint(None, problem.code, problem.text, _severity(problem.code))
            for problem in status.problems
        ),
        *_findings(status),
        *(one for group in status.groups for one in _group(group, status)),
    ]


def _findings(status: admin_pb2.GetStatusResponse) -> Iterator[Complaint]:
    """What the node's own probes found, but what is said of a member already."""
    for one in status.findings:
        if one.code not in OF_MEMBERS and one.node in {"", status.node}:
            text = f"{one.text}: {one.remedy}"
            severity = Severity[one.severity.upper()]
            yield Complaint(None, one.code, text, severity, about=one.subject)


def _why(status: admin_pb2.GetStatusResponse, node: str, *codes: str) -> str:
    """What the probes say of a member; "" if nothing."""
    for one in status.findings:
        if one.code in codes and one.subject.split(" ")[0] == node:
            return f"{one.text}: {one.remedy}"
    return ""


def _of(code: str, text: str, group: str = "", *, about: str = "", ours: bool = True) -> Complaint:
    name = GroupId(group) if group else None
    return Complaint(name, code, text, CODES[code], about=about, ours=ours)


def _nodes(status: admin_pb2.GetStatusResponse) -> Iterator[Complaint]:
    versions = {node.version for node in status.nodes if node.version}
    for node in status.nodes:
        if not node.reachable:
            text = _why(status, node.node, "peer-silent", "daemon-silent") or (
                f"{node.node} is not heard by {status.node}: is the host up ('ping'), does its"
                " daemon run ('systemctl status staqraftd' there), and are the links between them?"
            )
            yield _of("unreachable", text, about=node.node)
        if node.config_differs:
            text = _why(status, node.node, "config") or (
                f"the configuration of {node.node} differs from that of {status.node}: compare the"
                " files; 'staqraftd --check' prints a fingerprint that is to be the same everywhere"
            )
            yield _of("config-differs", text, about=node.node)
    if len(versions) > 1:
        text = (
            f"the nodes run different versions ({', '.join(sorted(versions))}): finish the upgrade"
        )
        yield _of("versions-differ", text)


def _raft(status: admin_pb2.GetStatusResponse) -> Iterator[Complaint]:
    if not status.raft.has_quorum:
        text = (
            f"{status.node} is not in touch with a majority of the nodes: it can neither become nor"
            " stay active. Bring another node or its link back"
        )
        yield _of("no-majority", text)
    if status.raft.problem:
        yield _of("not-voting", f"{status.node} does not vote: {status.raft.problem}")


def _group(
    group: admin_pb2.GroupStatus, status: admin_pb2.GetStatusResponse
) -> Iterator[Complaint]:
    name = group.group
    yield from _takeover(group, status)
    for entry in group.maintained:
        if entry.long:
            text = (
                f"{maintained_text(entry)}: is it still needed? If not: 'staqctl maintenance off'"
            )
            yield _of("maintenance-long", text, name, about=entry.node)
    if group.active == status.node and group.phase == "active":
        for vip in group.vips:
            if not vip.held:
                text = f"{vip.address} is not on {vip.interface} though this is the active"
                yield _of("vip-not-held", text, name, about=vip.address)
        if group.gate == "closed":
            text = "the gate before its addresses is closed though this is the active"
            yield _of("gate-closed", text, name)
    elif group.active == status.node and group.phase in _TAKING_OVER:
        text = f"it does not serve yet: {group.summary}"
        yield _of("not-serving", text, name)
    for service in group.services:
        if service.state == "failed":
            text = service.detail or f"service {service.name} is not well"
            yield _of("service-failed", text, name, about=service.name)
    yield from _problems(group, status.node)


def _takeover(
    group: admin_pb2.GroupStatus, status: admin_pb2.GetStatusResponse
) -> Iterator[Complaint]:
    """Whether somebody serves, and whether another would if that one failed."""
    me, reasons, name = status.node, "; ".join(group.not_eligible), group.group
    replicas = sorted(n.node for n in status.nodes if n.role == "replica")
    missing = [r for r in replicas if r not in group.in_sync]
    if not group.active and not status.raft.applied_index:
        return  # nothing is known yet, and 'no-majority' or 'not-voting' says so
    unserved = group.lease_over_ms if status.raft.has_quorum else 0
    if not group.active or unserved:
        why = "nobody is active"
        if unserved:
            why = f"the lease of {group.active} ran out {unserved // 1000} s ago"
        yield _of("nobody-active", f"{why}, so its addresses and services are down", name)
        if reasons:
            text = f"{me} does not take over by itself: {reasons}"
            yield _of("not-eligible", text, name)
        return
    if reasons and group.active != me:
        text = f"{me} would not take over if {group.active} failed now: {reasons}"
        # The active says that it is alone; one message is enough.
        yield _of("not-eligible", text, name, ours=me in group.in_sync and not group.maintenance)
        missing = [r for r in missing if r != me]
    elif group.maintenance:
        text = "maintenance is on, nothing is taken over automatically"
        yield _of("maintenance", text, name)
    for other in group.takeovers:
        told = [r for r in other.refusals if r.code not in {"not-in-sync", "maintenance"}]
        if told and other.node != me and other.heard_ms < _FRESH_MS:  # else it is not heard
            why = "; ".join(f"{r.reason}: {r.remedy}" for r in told)
            text = f"{other.node} would not take over if {group.active} failed now: {why}"
            yield _of("not-eligible", text, name, about=other.node, ours=False)
    if missing:
        are = "is" if len(missing) == 1 else "are"
        text = (
            f"{', '.join(missing)} {are} not in sync: if {group.active} fails now, nobody takes"
            " over by itself"
        )
        yield _of("alone", text, name, ours=group.active == me)


def maintained_text(entry: admin_pb2.MaintenanceStatus) -> str:
    """Who is in maintenance, since when and why."""
    hours, minutes = divmod(entry.lasts_ms // 60_000, 60)
    lasts = f"{hours} h {minutes} min" if hours else f"{minutes} min"
    why = f": {entry.reason}" if entry.reason else ""
    whom = entry.node or "the cluster"
    return f"{whom} has been in maintenance for {lasts} ({entry.requested_by}{why})"


def _problems(group: admin_pb2.GroupStatus, me: str) -> Iterator[Complaint]:
    """Of the group and its data worker, each text once: the daemon may repeat its worker's."""
    name = group.group
    told: list[data_worker_pb2.WorkerProblem] = [*group.problems]
    if group.HasField("trees"):
        told += group.trees.problems
        if group.trees.needs_reconcile:
            text = f"the trees are to be compared with the active's: {group.trees.needs_reconcile}"
            yield _of("needs-reconcile", text, name)
        damaged = group.trees.scrub.corrupt_lately
        # An active says by itself what it cannot heal.
        if damaged and group.trees.role != data_worker_pb2.WORKER_ROLE_ACTIVE:
            files = "a file" if damaged == 1 else f"{damaged} files"
            text = (
                f"the disk of this replica damaged {files} that nobody wrote; they were fetched"
                " anew, but the disk is not to be trusted: look at 'dmesg' and 'smartctl -a', and"
                " replace it"
            )
            yield _of("disk-corrupt", text, name)
    if group.HasField("stream"):
        told += group.stream.problems
        known = {problem.text for problem in told}
        for peer in group.stream.peers:
            if peer.problem and peer.problem not in known:
                yield _of("peer", f"{peer.node}: {peer.problem}", name, about=peer.node)
    by_text = {problem.text: problem.code for problem in reversed(told)}
    for text in dict.fromkeys(problem.text for problem in told):
        code = by_text[text]
        # Both replicas ask who has the addresses, and the active tells it.
        ours = code != "address-conflict" or group.active in {"", me}
        yield Complaint(GroupId(name), plain_code(code), text, _severity(code), code, ours)


def _severity(code: str) -> Severity:
    return Severity.CRITICAL if code in CRITICAL else Severity.WARNING


def plain_code(code: str) -> str:
    """The code without the name of a peer or a ring, which a worker puts behind it."""
    head = code.split("-", maxsplit=1)[0]
    return head if head in {"peer", "listen"} else code
