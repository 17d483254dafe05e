"""Who else has a group's virtual addresses: asked before they are taken, and every minute.

The standby learns which MAC the active's addresses have, so that in a takeover a stale answer for
that one is told from a third host's claim. A conflict that is there already is an alarm before it
is needed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from staqraft.actions.whohas import reason, who_has
from staqraft.config.schema import Vip
from staqraft.decision.conflict import OnConflict
from staqraft.decision.phases import Phase
from staqraft.decision.state import GroupState
from staqraft.model import Epoch

logger = logging.getLogger(__name__)

_AT_ONCE_MS = 40  # in a takeover, beside what takes longer anyway
_CALMLY_MS = 300
_LIMIT_S = 0.8  # the core is answered within a second, whatever the kernel does
_PERIOD_S = 60.0
_LOOK_S = 5.0  # whether the active is another one

Ask = Callable[[Sequence[Vip], int], Mapping[Vip, frozenset[str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """Who claimed an address, a sentence each; `former`: the host that had it as the active."""

    others: tuple[str, ...] = ()
    former: tuple[str, ...] = ()


class Conflicts:
    """Of one group on one replica. `problem` is for status: "" while all is well."""

    def __init__(self, group: str, vips: Sequence[Vip], *, ask: Ask = who_has) -> None:
        self._group = group
        self._vips = tuple(vips)
        self._ask = ask
        self._active_macs: dict[Vip, str] = {}
        self._noted: frozenset[str] = frozenset()  # what the history has of the present claims
        self.problem = ""
        # Its calls wait for the network on purpose, and closing a packet socket waits, too.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"whohas-{group}")

    async def before_taking(self) -> Claims:
        """Who has the addresses that this node is about to take. Answers within a second."""
        try:
            async with asyncio.timeout(_LIMIT_S):
                found = await self._found(_AT_ONCE_MS)
        except TimeoutError:
            self._cannot("the kernel did not answer in time")
            return Claims()
        others: list[str] = []
        former: list[str] = []
        for vip, macs in found.items():
            for mac in sorted(macs):
                text = _claim(vip, mac)
                (former if mac == self._active_macs.get(vip) else others).append(text)
        self.problem = self._sentence(others)
        self._noted = frozenset(others)  # by the core
        return Claims(others=tuple(others), former=tuple(former))

    async def run(
        self, state: Callable[[], GroupState], note: Callable[[str], Awaitable[None]]
    ) -> None:
        """Ask every minute, and when the active is another one, until cancelled."""
        on_conflict = state().settings.on_conflict
        if not self._vips or on_conflict is OnConflict.IGNORE:
            return
        looked: tuple[Epoch, Phase] | None = None
        left = 0.0
        while True:
            await asyncio.sleep(_LOOK_S)
            left -= _LOOK_S
            now = state()
            key = now.record.epoch, now.phase
            if now.phase not in {Phase.ACTIVE, Phase.STANDBY} or (key == looked and left > 0):
                continue
            looked, left = key, _PERIOD_S
            await self._look(state, note)

    async def _look(
        self, state: Callable[[], GroupState], note: Callable[[str], Awaitable[None]]
    ) -> None:
        before = state()
        found = await self._found(_CALMLY_MS)
        now = state()
        if (now.record.epoch, now.phase) != (before.record.epoch, before.phase):
            return  # whoever answered may have been right to
        if now.phase is Phase.ACTIVE:
            told = [_claim(vip, mac) for vip, macs in found.items() for mac in sorted(macs)]
        elif now.record.active in {None, now.settings.node} or now.record.released:
            told = []
        else:
            self._active_macs = {vip: min(m) for vip, m in found.items() if len(m) == 1}
            told = [
                f"{_claim(vip, ' and '.join(sorted(macs)))} (one of them is the active)"
                for vip, macs in found.items()
                if len(macs) > 1
            ]
        self.problem = self._sentence(told)
        if now.phase is Phase.ACTIVE:
            fresh = not self._noted.issuperset(told)
            self._noted = frozenset(told)
            if fresh:
                logger.error("group %s: %s", self._group, self.problem)
                await note(self.problem)

    def _sentence(self, told: Sequence[str]) -> str:
        if not told:
            return ""
        return (
            f"a virtual address is used by another host, too: {'; '.join(told)}. Clients reach"
            " either: find that host by its MAC (the switch knows its port) and take the address"
            " from it"
        )

    async def _found(self, wait_ms: int) -> Mapping[Vip, frozenset[str]]:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, self._ask, self._vips, wait_ms)
        except OSError as error:
            self._cannot(reason(error))
            return {}

    def _cannot(self, why: str) -> None:
        logger.warning(
            "group %s: the network cannot be asked who has the virtual addresses (%s): they are"
            " taken without",
            self._group,
            why,
        )

    def close(self) -> None:
        """Gives the thread back."""
        self._thread.shutdown(wait=False)


def _claim(vip: Vip, macs: str) -> str:
    return f"{macs} {'have' if ' and ' in macs else 'has'} {vip.address.ip} on {vip.interface}"
