"""For each alert what makes it fire, and what nearly does; series as promtool writes them.

A case is a map from a series to its values, one a minute; the labels `cluster`, `node` and `group`
are there unless a series says otherwise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

Series = dict[str, str]
DAY: Final = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """`fires` and `quiet` are looked at `after` so many minutes."""

    alert: str
    fires: Series
    quiet: Series
    after: int


_NO_GROUP = re.compile(
    r"staqraft_(raft|wall|link|volume|clock|member|cert|fence_dev|notif|cluster|events|build)|up\b",
)


def full(series: str) -> str:
    """`active b`, `lag_seconds{peer="b"}`: with the whole name and all labels; b is the node."""
    match = re.fullmatch(r"(\w+)(?:\{(.*)\})?(?: (\w+))?", series)
    assert match is not None, series
    name, labels, node = match[1], match[2], match[3] or "a"
    if name == "up":
        return f"up{{{labels}}}"
    name = f"staqraft_{name}"
    own = [f'cluster="lab",node="{node}"']
    if not _NO_GROUP.match(name):
        own.append('group="default"')
    return f"{name}{{{','.join([*own, *([labels] if labels else [])])}}}"


def _case(alert: str, fires: Series, quiet: Series, after: int = 10) -> Case:
    return Case(alert=f"Staqraft{alert}", fires=fires, quiet=quiet, after=after)


# Codes that StaqraftProblem and StaqraftCriticalProblem leave to an alert of its own.
COVERED: Final = {
    "alone": "NotInSync",
    "clock": "ClockOffset",
    "config-differs": "ConfigDiffers",
    "disk-corrupt": "DiskCorrupt",
    "disk-failed": "DiskHangs",
    "disk-hung": "DiskHangs",
    "fence-device": "FenceDeviceDown",
    "gate-closed": "GateClosed",
    "link-address": "RingDown",
    "link-cable": "RingDown",
    "link-cut": "RingDown",
    "link-one-way": "RingDown",
    "link-port": "RingDown",
    "maintenance-long": "MaintenanceForgotten",
    "no-majority": "NoMajority",
    "nobody-active": "NobodyActive",
    "not-eligible": "NotEligible",
    "not-serving": "NobodyActive",
    "peer": "StreamDown",
    "service-failed": "ServiceFailed",
    "unreachable": "MemberUnreachable",
    "vip-not-held": "AddressMissing",
}
_AND_ACTIVE: Final = {"active": "1x60"}
_AND_STANDBY: Final = {"active": "0x60"}
CASES: Final = (
    _case(
        "NobodyActive",
        {"active": "0x60", "active b": "0x60"},
        {"active": "0x60", "active b": "1x60"},
    ),
    _case(
        "NobodyActive",  # in maintenance: the kernel goes on for 10m without the daemon
        {"active": "1x4 0x60", "active b": "0x60", "maintenance_seconds b": "60+60x60"},
        {"active": "1x20 0x60", "active b": "0x60", "maintenance_seconds b": "60+60x60"},
        after=28,
    ),
    _case(
        "TwoActive", {"active": "1x60", "active b": "1x60"}, {"active": "1x60", "active b": "0x60"}
    ),
    _case(
        "TwoActive",
        {
            'vip_held{vip="v"}': "1x60",
            'vip_held{vip="v"} b': "1x60",
            "gate_open": "1x60",
            "gate_open b": "1x60",
        },
        # The loser's kernel keeps the address a little longer, behind a closed gate.
        {
            'vip_held{vip="v"}': "1x60",
            'vip_held{vip="v"} b': "1x60",
            "gate_open": "1x60",
            "gate_open b": "0x60",
        },
    ),
    _case("NoMajority", {"raft_quorum": "0x60"}, {"raft_quorum": "1x60"}),
    _case(
        "ServiceFailed",
        {'service_state{service="nginx",state="failed"}': "1x60"},
        {'service_state{service="nginx",state="failed"}': "0x60"},
    ),
    _case(
        "ServiceFlapping",
        {'service_failures_total{service="nginx"}': "0+1x60"},
        {'service_failures_total{service="nginx"}': "0 0 1 1 1 2x60"},
        after=20,
    ),
    _case("ServiceMoved", {"service_moves": "0x4 1x60"}, {"service_moves": "0x60"}),
    _case(
        "AddressMissing",
        {'problem{code="vip-not-held",severity="critical"}': "1x60"},
        {'problem{code="vip-not-held",severity="critical"}': "_ _ 1 _x60"},
    ),
    _case(
        "GateClosed", {"gate_open": "0x60", **_AND_ACTIVE}, {"gate_open": "0x60", **_AND_STANDBY}
    ),
    _case(
        "Takeover",
        {'takeovers_total{fence="lease"}': "0x4 1x60"},
        {'takeovers_total{fence="released"}': "0x4 1x60"},  # a switchover
    ),
    _case(
        "TakeoverFailed", {"takeovers_failed_total": "0x4 1x60"}, {"takeovers_failed_total": "0x60"}
    ),
    _case(
        "FencingStuck",
        {'phase{phase="fencing"}': "1x60"},
        {'phase{phase="fencing"}': "_x8 1 stale"},
    ),
    _case(
        "FencingFailed",
        {'fencings_total{rung="device",result="failed"}': "0x4 1x60"},
        {'fencings_total{rung="confirmed",result="failed"}': "0x4 1x60"},  # it is dead: no wonder
    ),
    _case(
        "ForceActive",
        {'events_total{kind="force-active"}': "0x4 1x60"},
        {'events_total{kind="takeover"}': "0x4 1x60"},
    ),
    _case(
        "NotInSync",
        {'in_sync{replica="b"}': "0x60", **_AND_ACTIVE},
        {
            'in_sync{replica="b"}': "0x60",
            **_AND_STANDBY,
        },  # who stands by may have heard nothing yet
        after=20,
    ),
    _case(
        "StreamDown",
        {'stream_connected{peer="b"}': "0x60", **_AND_ACTIVE},
        {'stream_connected{peer="b"}': "1x60", **_AND_ACTIVE},
    ),
    _case(
        "Lag",
        {'lag_seconds{peer="b"}': "300x60", **_AND_ACTIVE},
        {'lag_seconds{peer="b"}': "50x60", **_AND_ACTIVE},
    ),
    _case(
        "JournalNearBound",
        {'lag_bytes{peer="b"}': "900x60", "journal_limit_bytes": "1000x60"},
        {'lag_bytes{peer="b"}': "700x60", "journal_limit_bytes": "1000x60"},
    ),
    _case(
        "RingDown",
        {'link_up{peer="b",ring="sync"}': "0x60", 'link_up{peer="a",ring="sync"} b': "1x60"},
        {'link_up{peer="b",ring="sync"}': "1x8 0x50", 'link_up{peer="a",ring="sync"} b': "1x60"},
    ),
    _case(
        "DiskHangs",
        {'volume_probe_seconds{volume="/srv"}': "0+60x60"},
        {'volume_probe_seconds{volume="/srv"}': "4x60"},
    ),
    _case(
        "ClockOffset",
        {"wall_clock_timestamp_seconds": "0+60x60", "wall_clock_timestamp_seconds b": "2+60x60"},
        {"wall_clock_timestamp_seconds": "5+60x60", "wall_clock_timestamp_seconds b": "5+60x60"},
    ),
    _case(
        "NotEligible",
        {"eligible": "0x60", "maintenance_seconds": "0x60"},
        {"eligible": "0x60", "maintenance_seconds": "300x60"},
        after=20,
    ),
    _case(
        "MemberUnreachable",
        {
            'raft_member_reachable{member="w"}': "0x60",
            'raft_member_reachable{member="w"} b': "1x60",
        },
        {
            'raft_member_reachable{member="w"}': "1x60",
            'raft_member_reachable{member="w"} b': "1x60",
        },
    ),
    _case(
        "FenceDeviceDown",
        {'fence_device_up{target="b",device="ipmi"}': "0x60"},
        {'fence_device_up{target="b",device="ipmi"}': "1 1 1 1 1 1 1 1 1 0x60"},
    ),
    _case(
        "MaintenanceForgotten",
        {"maintenance_seconds": "15000x60"},
        {"maintenance_seconds": "9000x60"},
    ),
    _case(
        "JournalDiskFull",
        {"journal_free_bytes": "1000x60"},
        {"journal_free_bytes": "9000000000x60"},
        30,
    ),
    _case(
        "JournalDiskFull",
        {"journal_free_bytes": "9000000000-100000000x60"},
        {"journal_free_bytes": "9000000000-1000000x60"},
        after=55,
    ),
    _case("Quarantine", {"quarantine_objects": "3x60"}, {"quarantine_objects": "0x60"}),
    _case("ScrubDrift", {"scrub_findings_total": "0x4 2x60"}, {"scrub_findings_total": "2x60"}),
    _case("DiskCorrupt", {"scrub_corrupt_total": "0x4 1x60"}, {"scrub_corrupt_total": "1x60"}),
    _case(
        "VerifyDifferences",
        {"verify_unrepaired_objects": "1x60"},
        {"verify_unrepaired_objects": "0x60"},
    ),
    _case(
        "WorkerRestarts",
        {'worker_restarts_total{process="trees"}': "0+1x60"},
        {'worker_restarts_total{process="trees"}': "0x4 1x60"},
    ),
    _case(
        "Down",
        {'up{job="staqraft",instance="192.0.2.1:9417"}': "0x60"},
        {'up{job="staqraft",instance="192.0.2.1:9417"}': "1x60"},
    ),
    _case(
        "NotServed",
        {'cluster_served{source="beta.yaml"}': "0x60"},
        {'cluster_served{source="beta.yaml"}': "1x60"},
    ),
    _case("RaftLogGrows", {"raft_log_entries": "30000x60"}, {"raft_log_entries": "2500x60"}, 30),
    _case(
        "RaftLate", {"raft_late_ticks_total": "0+60x60"}, {"raft_late_ticks_total": "0+1x60"}, 40
    ),
    _case(
        "VersionsDiffer",
        {
            'member_info{member="a",version="1"}': "1x200",
            'member_info{member="b",version="2"}': "1x200",
        },
        {
            'member_info{member="a",version="1"}': "1x200",
            'member_info{member="b",version="1"}': "1x200",
        },
        after=150,
    ),
    _case(
        "ConfigDiffers",
        {'member_config_differs{member="b"}': "1x60"},
        {'member_config_differs{member="b"}': "0x60"},
        after=20,
    ),
    _case(
        "CertificateEndsSoon",
        {'certificate_expiry_timestamp_seconds{certificate="certificate"}': f"{10 * DAY}x100"},
        {'certificate_expiry_timestamp_seconds{certificate="certificate"}': f"{40 * DAY}x100"},
        after=90,
    ),
    _case(
        "CertificateEnds",
        {'certificate_expiry_timestamp_seconds{certificate="authority"}': f"{DAY}x60"},
        {'certificate_expiry_timestamp_seconds{certificate="authority"}': f"{10 * DAY}x60"},
    ),
    _case(
        "NotificationsFail",
        {'notifications_waiting{receiver="admins"}': "4x60"},
        {'notifications_waiting{receiver="admins"}': "4x20 0x60"},
        after=45,
    ),
    _case(
        "NotificationsFail",
        {'notifications_dropped_total{receiver="admins"}': "0x4 3x60"},
        {
            'notifications_dropped_total{receiver="admins"}': "3x60",
            'notifications_held_back{receiver="admins"}': "70x60",
        },
        after=45,
    ),
    _case(
        "CriticalProblem",
        {'problem{code="journal-full",severity="critical"}': "1x60"},
        {'problem{code="vip-not-held",severity="critical"}': "1x60"},  # has an alert of its own
    ),
    _case(
        "Problem",
        {'problem{code="scrub",severity="warning"}': "1x60"},
        {
            'problem{code="unreachable",severity="warning"}': "1x60",  # has an alert of its own
            'problem{code="versions-differ",severity="info"}': "1x60",
        },
    ),
)
