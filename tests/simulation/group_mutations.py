"""What keeps two groups of one host apart, taken out; see `mutations`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from simulation import groups
from simulation.daemon import GROUP, OTHER, Daemon
from simulation.patching import put
from staqraft.actions.watchdog import Watchdog


def _fed_by_any_group() -> None:
    """The renewals of one group keep the watchdog quiet while another cannot let go."""
    real = Watchdog._feed

    def feed(self: Watchdog) -> bool:
        kept = self._until
        newest = max(kept, key=lambda group: kept[group])
        self._until = {newest: kept[newest]}
        try:
            return real(self)
        finally:
            self._until = kept

    put(Watchdog, "_feed", feed)


def _renewals_of_any_group() -> None:
    """Whoever renews its lease of one group is taken to have renewed all that it had."""
    real = Daemon._observe

    def observe(self: Daemon) -> None:
        real(self)
        first = self.cluster.groups.get(GROUP)
        if self.core.settings.group == OTHER and first is not None and first.active is not None:
            self.core = replace(self.core, observed_ms=self.now_ms)

    put(Daemon, "_observe", observe)


def _word_of_another_group() -> None:
    """That a host has let go of the first group is taken for its word about the second."""
    put(groups, "of_second", lambda host: host.daemon)


_KINDS: Final = ("two_groups", "groups")
PATCHES: Final[tuple[tuple[str, Callable[[], None], tuple[str, ...]], ...]] = (
    ("groups: the watchdog is fed by any of them", _fed_by_any_group, _KINDS),
    ("groups: the lease of one is taken for the other's", _renewals_of_any_group, _KINDS),
    ("groups: the word about one counts for the other", _word_of_another_group, _KINDS),
)
