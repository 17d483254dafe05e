"""Who knocked on a TLS port and never said who it is: logged once, though gRPC hides it.

gRPC's core refuses a failed handshake by itself and tells Python nothing, neither that nor by whom.
But it asks for the server's certificate before each handshake. At that moment the connection is
among this process's sockets, so its address can be read there. An address from which nobody has
identified itself some seconds later is a stranger's.

All of it is bounded: the addresses remembered, and the looks at the sockets a second, so that a
storm of connections costs no more than gRPC's own work for them. It is a help for people; who gets
in is decided by TLS and `tls.require_peer` alone.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from staqraft.logs import Once, log_once

logger = logging.getLogger(__name__)

WAIT_S = 5.0  # a right peer identifies itself within milliseconds; a slow link gets its time
CAPACITY = 256
LOOKS = 20  # at once, after a quiet time
LOOKS_PER_S = 2.0

Later = Callable[[float, Callable[[], None]], None]


class Visitors:
    """Addresses that knocked, until they are known or strangers. Thread-safe.

    `clock` is monotonic seconds, `later(delay, action)` runs an action once, `look` returns the
    addresses that are connected to this process's listening ports now.
    """

    def __init__(
        self, clock: Callable[[], float], later: Later, look: Callable[[], Iterable[str]]
    ) -> None:
        self._clock = clock
        self._later = later
        self._look = look
        self._lock = threading.Lock()
        self._pending: OrderedDict[str, float] = OrderedDict()
        self._known = Once(CAPACITY)
        self._said = Once(CAPACITY)
        self._members: frozenset[str] = frozenset()
        self._looks = float(LOOKS)
        self._looked_at = clock()
        self._sweep_is_due = False

    @property
    def pending(self) -> int:
        """How many addresses are not decided yet."""
        return len(self._pending)

    def expect(self, addresses: Iterable[str]) -> None:
        """The cluster's own addresses are never called strangers.

        A node connects over all rings at once and speaks over one; if its certificate is refused,
        its own log says so, and the status of this node that it is not heard.
        """
        with self._lock:
            self._members |= frozenset(addresses)

    def knocked(self) -> None:
        """Somebody connected, and the handshake is about to begin."""
        with self._lock:
            now = self._clock()
            self._looks = min(LOOKS, self._looks + (now - self._looked_at) * LOOKS_PER_S)
            self._looked_at = now
            if self._looks < 1:
                return
            self._looks -= 1
            for address in self._look():
                unknown = address not in self._known and address not in self._members
                if unknown and len(self._pending) < CAPACITY:
                    self._pending.setdefault(address, now + WAIT_S)
            self._schedule()

    def identified(self, address: str) -> None:
        """Somebody at `address` showed a certificate of ours; what it may do is not our matter."""
        with self._lock:
            self._known.first(address)
            self._pending.pop(address, None)

    def _schedule(self) -> None:
        if self._pending and not self._sweep_is_due:
            self._sweep_is_due = True
            first = next(iter(self._pending.values()))
            self._later(max(first - self._clock(), 0.0), self._sweep)

    def _sweep(self) -> None:
        """Names those who have had their time."""
        with self._lock:
            self._sweep_is_due = False
            now = self._clock()
            strangers = [address for address, due in self._pending.items() if due <= now]
            for address in strangers:
                del self._pending[address]
            self._schedule()
        for address in strangers:
            log_once(
                self._said,
                address,
                logger,
                logging.WARNING,
                "refused a stranger: it connected and showed no certificate of this cluster;"
                " not logged again. If it is a node, check its tls files and its clock",
                address=address,
            )


def inbound_addresses(plain_ports: Collection[int]) -> list[str]:
    """Who is connected to the listening TCP ports of this process, `plain_ports` left out."""
    listening: set[int] = set()
    connected: list[tuple[int, str]] = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            if not str(descriptor.readlink()).startswith("socket:"):
                continue
            # A copy of the descriptor: closing it leaves gRPC's own alone.
            with socket.socket(fileno=os.dup(int(descriptor.name))) as copy:
                if copy.family not in {socket.AF_INET, socket.AF_INET6}:
                    continue
                port = copy.getsockname()[1]
                if copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    listening.add(port)
                else:
                    connected.append((port, copy.getpeername()[0]))
        except OSError:  # closed or reset since it was listed: nobody to name any more
            continue
    return [
        address.removeprefix("::ffff:")
        for port, address in connected
        if port in listening and port not in plain_ports
    ]
