"""What is looked at on a node: the section `health`, and what its values must be to each other."""

from __future__ import annotations

from collections.abc import Iterator

from staqraft.config import values
from staqraft.config.document import Finding, Section
from staqraft.config.schema import GATEWAY, Config, DiskHealth, Health, PingHealth

MAX_TARGETS = 16
PINGS_IN_LOSS = 3  # a lost packet or two are no lost uplink

_disk_ms = values.duration_between("100ms", "10m")
_ping_ms = values.duration_between("100ms", "1m")
_patience_ms = values.duration_to("10m")
_steady_ms = values.duration_to("1h")


def read(section: Section) -> Health:
    """The section; problems are noted in its document."""
    default = Health()
    with section:
        return Health(
            disk=_disk(section.section("disk")),
            ping=_ping(section.section("ping")),
            memory_percent=section.read("memory", values.percent, default.memory_percent),
            clock_ms=section.read("clock", _patience_ms, default.clock_ms),
            steady_ms=section.read("steady", _steady_ms, default.steady_ms),
            failover=section.read("failover", values.boolean, default=default.failover),
        )


def _disk(section: Section) -> DiskHealth:
    default = DiskHealth()
    with section:
        return DiskHealth(
            interval_ms=section.read("interval", _disk_ms, default.interval_ms),
            slow_ms=section.read("slow", _patience_ms, default.slow_ms),
            hung_ms=section.read("hung", _patience_ms, default.hung_ms),
            warn_percent=section.read("warn", values.percent, default.warn_percent),
            critical_percent=section.read("critical", values.percent, default.critical_percent),
        )


def _ping(section: Section) -> PingHealth:
    default = PingHealth()
    with section:
        return PingHealth(
            targets=section.values("targets", _target, default.targets),
            need=section.read("need", values.integer(1, MAX_TARGETS), default.need),
            interval_ms=section.read("interval", _ping_ms, default.interval_ms),
            lost_after_ms=section.read("lost_after", _patience_ms, default.lost_after_ms),
        )


def _target(text: str) -> str:
    return text if text == GATEWAY else values.address(text)


def check(config: Config) -> Iterator[Finding]:
    """Limits in their order, and enough targets and pings to judge by."""
    disk, ping = config.health.disk, config.health.ping
    if disk.hung_ms <= disk.slow_ms:
        yield Finding(
            key=("health", "disk", "hung"),
            text=f"{disk.hung_ms} ms is to be longer than slow ({disk.slow_ms} ms)",
            reads=(("health", "disk", "slow"),),
        )
    if disk.warn_percent < disk.critical_percent:
        yield Finding(
            key=("health", "disk", "critical"),
            text=f"{disk.critical_percent}% is not to be more than warn ({disk.warn_percent}%)",
            reads=(("health", "disk", "warn"),),
        )
    if ping.lost_after_ms < PINGS_IN_LOSS * ping.interval_ms:
        yield Finding(
            key=("health", "ping", "lost_after"),
            text=f"{ping.lost_after_ms} ms is to be at least {PINGS_IN_LOSS} times interval"
            f" ({ping.interval_ms} ms): a lost packet is no lost uplink",
            reads=(("health", "ping", "interval"),),
        )
    targets = len(set(ping.targets))
    if ping.targets and ping.need > targets:
        yield Finding(
            key=("health", "ping", "need"),
            text=f"{ping.need} is more than there are targets ({targets})",
            reads=(("health", "ping", "targets"),),
        )
    if targets > MAX_TARGETS:
        yield Finding(
            key=("health", "ping", "targets"),
            text=f"has {targets} targets: a handful will do, and {MAX_TARGETS} is the most",
        )
    for place, target in enumerate(ping.targets, start=1):
        if target in config.addresses:
            yield Finding(
                key=("health", "ping", "targets", str(place)),
                text=f"{target} is a node of the cluster: name a router or a host beyond it, which"
                " both replicas are to reach",
                reads=(("nodes",),),
            )
