"""What a status says that an administrator should read, in lines. Pure."""

from __future__ import annotations

from staqraft.api import concerns as api
from staqraft.api.concerns import maintained_text
from staqraft.cli.times import local_time
from staqraft.wire.v1 import admin_pb2


def concerns(status: admin_pb2.GetStatusResponse) -> list[str]:
    """What is wrong, each with what to do; none: everything is as it should be."""
    node_s_own = {problem.text for problem in status.problems}
    found = []
    for one in api.concerns(status):
        if one.group is not None:
            found.append(f"group {one.group}: {one.text}")
        else:
            found.append(f"{status.node}: {one.text}" if one.text in node_s_own else one.text)
    return found


def notices(status: admin_pb2.GetStatusResponse) -> list[str]:
    """What is worth knowing but is not wrong."""
    found = [
        f"{one.text}: {one.remedy}" for one in status.findings if one.node not in {"", status.node}
    ]
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
        if group.HasField("scheduled"):
            later = group.scheduled
            found.append(
                f"group {group.group}: a switchover to {later.target} is scheduled for"
                f" {local_time(later.at_ms)} ({later.requested_by}"
                f"{f': {later.reason}' if later.reason else ''}): 'staqctl switchover --cancel' if"
                " it is not to be"
            )
        if group.failback:
            found.append(f"group {group.group}: failback: {group.failback}")
    return found
