"""When the kernel ends an address: whole seconds, and later than that.

Read from `check_lifetime` (net/ipv4/devinet.c) and `addrconf_verify_rtnl` (net/ipv6/addrconf.c),
and seen: an address with a lifetime of 2 s was there for 2.94 s because another one was added
1.9 s after it. The constants are the kernel's, of include/net/addrconf.h.
"""

from __future__ import annotations

FUZZ_MS = 250  # ADDRCONF_TIMER_FUZZ: ends that lie close together are dealt with at once
LATE_PER_S_MS = 125  # a timer of the wheel may be late by an eighth of its length
# ADDRCONF_TIMER_FUZZ_MAX, and an eighth: the kernel looks at all ends at once, and after one look
# the next is not sooner than that. Every address that anybody adds causes a look (before Linux 6.14
# in any network namespace: a container that starts); one shortly before an end puts it off.
PUT_OFF_MS = 1000 + LATE_PER_S_MS


def ends_within_ms(lifetime_s: int) -> int:
    """After how many ms an address of that lifetime has surely gone."""
    return max(lifetime_s * (1000 + LATE_PER_S_MS) + FUZZ_MS, lifetime_s * 1000 + PUT_OFF_MS)


def whole_lifetime_s(remaining_ms: int) -> int:
    """The longest lifetime in whole seconds that the kernel is sure to end within `remaining_ms`.

    0 when no address can be given away so shortly. The inverse of `ends_within_ms`.
    """
    by_itself_s = (remaining_ms - FUZZ_MS) // (1000 + LATE_PER_S_MS)
    return max(0, min(by_itself_s, (remaining_ms - PUT_OFF_MS) // 1000))


def lasting_lifetime_s(remaining_ms: int) -> int:
    """The shortest lifetime in whole seconds that does not end within `remaining_ms`.

    0 when nothing remains. The kernel may look early, too (2 s of IPv6 were gone after 1.9 s).
    """
    return -(-(remaining_ms + FUZZ_MS) // 1000) if remaining_ms > 0 else 0
