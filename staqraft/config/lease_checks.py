"""What the lease and the gate before the addresses must be; called by `checks`."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

from staqraft.config.document import Finding, own_role
from staqraft.config.fence_checks import ELECTIONS_IN_LEASE, RENEWALS_IN_LEASE
from staqraft.config.schema import GATE_AUTO, GATE_OFF, GATE_ON, LET_GO_GATED_MS, Config
from staqraft.lifetimes import ends_within_ms, whole_lifetime_s

MILLION = 1_000_000
GATE_LIBRARY = "libnftables.so.1"


def lifetime(config: Config) -> Iterator[Finding]:
    """A Raft leader change costs neither the lease nor the VIP.

    Renewals stop while a leader is elected, at worst twice, and one may have been missed: the
    lease, and the VIP with it, must last. Behind a gate the VIP lasts as long as the lease is
    relied upon; without one it has whole seconds, which surely end within what is left of the
    lease when the renewal that they follow took as long as until the next. A host that may do
    without a gate (auto) is only warned.
    """
    lease, raft = config.lease, config.consensus
    needed = RENEWALS_IN_LEASE * lease.renew_ms + ELECTIONS_IN_LEASE * raft.election_max_ms
    effective, what = lease.ttl_ms, "it lasts"
    advice = f"set ttl to {needed + 1}ms or more"
    gated = lease.gate == GATE_ON or (lease.gate == GATE_AUTO and _gate_possible(config))
    if _has_vips(config) and gated:
        effective = lease.ttl_ms - lease.let_go_gated_ms
        what = "a VIP behind its gate lives"
        advice = f"set ttl to {needed + LET_GO_GATED_MS + 1}ms or more"
    elif _has_vips(config):
        effective = 1000 * whole_lifetime_s(lease.ttl_ms - lease.renew_ms)
        what = "a VIP without a gate lives"
        enough_ms = ends_within_ms(needed // 1000 + 1) + lease.renew_ms
        advice = f"set ttl to {enough_ms}ms or more"
        if needed < lease.ttl_ms - lease.let_go_gated_ms:
            advice += ", or have a gate (see 'gate')"
    if needed >= effective:
        yield Finding(
            key=("lease", "ttl"),
            text=f"with {lease.ttl_ms} ms {what} {effective} ms, but two renewals and two elections"
            f" take up to {needed} ms: {advice}, or shorten renew"
            " or consensus.election_max",
            reads=(
                ("lease", "renew"),
                ("lease", "gate"),
                ("consensus", "election_max"),
                *own_role(config.node),
            ),
            fatal=gated or lease.gate == GATE_OFF or needed >= lease.ttl_ms,
        )


def margin(config: Config) -> Iterator[Finding]:
    """What is added to the lease for clocks leaves most of it."""
    lease = config.lease
    slack = lease.ttl_ms * lease.drift_ppm // MILLION + lease.margin_ms
    if slack * 2 >= lease.ttl_ms:
        yield Finding(
            key=("lease", "margin"),
            text=f"margin and clock drift together ({slack} ms) are half of the ttl or more",
            reads=(("lease", "ttl"), ("lease", "drift_ppm")),
        )


def gate_usable(config: Config) -> Iterator[Finding]:
    """A replica that is to have a gate before its VIPs can make one. Says nothing of the kernel."""
    gate = config.lease.gate
    if gate != GATE_OFF and _has_vips(config) and not _gate_possible(config):
        yield Finding(
            key=("lease", "gate"),
            text=f"is {gate!r}, and this host has no {GATE_LIBRARY}: install the"
            " package libnftables1" + ("" if gate == GATE_ON else ", or write 'off' to do without"),
            reads=own_role(config.node),
            fatal=gate == GATE_ON,
        )


def _has_vips(config: Config) -> bool:
    return any(group.vips for group in config.groups.values())


def _gate_possible(config: Config) -> bool:
    """Whether this host has the library, or needs none because it holds no addresses."""
    if config.node not in config.replicas:
        return True
    try:
        ctypes.CDLL(GATE_LIBRARY)
    except OSError:
        return False
    return True
