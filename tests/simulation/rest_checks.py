"""Who left its addresses to the kernel in maintenance, and whether by a commit or alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from staqraft.model import NodeId

if TYPE_CHECKING:
    from simulation.daemon import Daemon


class Rested:
    """Daemons that rest, until they took their addresses anew."""

    def __init__(self) -> None:
        self._unwatched: set[NodeId] = set()  # nobody kicks their watchdog, so it was disarmed
        self._alone: set[NodeId] = set()

    def left(self, daemon: Daemon) -> None:
        """Its daemon leaves the addresses to the kernel.

        Of a pair whose other replica is lost nothing commits, and no lease is proof of anything.
        """
        self._unwatched.add(daemon.me)
        core = daemon.core
        if core.settings.pair and not core.record.resting_ms:
            self._alone.add(daemon.me)

    def back(self, me: NodeId) -> None:
        """A daemon of it took its addresses again."""
        self._unwatched.discard(me)

    def is_unwatched(self, me: NodeId) -> bool:
        """No watchdog would reset it."""
        return me in self._unwatched

    def is_kept(self, daemon: Daemon, *, too_long: bool) -> bool:
        """Whether its kernel may keep the addresses longer than the lease of the daemon says.

        The others wait for as long as it may rest, until it says that this is over; who rests alone
        says so to nobody, and has its lifetimes short again once they were set anew.
        """
        if not too_long:
            self._alone.discard(daemon.me)
        return bool(daemon.core.record.resting_ms) or daemon.me in self._alone
