"""Whether this replica could run the services of its group at all, asked before it has to.

A standby on which a package was never installed looks well until the night in which it takes over:
it would serve without that service, and the group would not be better off for moving. The other
replica is told, so that it does not move the group here because of that service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from staqraft.decision.defects import Defect, absent_service

PERIOD_S = 60.0


class Absences:
    """Of one group on one replica. `problems` are for status, a sentence each, with the remedy;
    `defects` for the other replica.
    """

    def __init__(
        self, node: str, missing: Callable[[], Awaitable[tuple[tuple[str, str], ...]]]
    ) -> None:
        """`missing` looks: `ServiceManager.missing`."""
        self._node = node
        self._missing = missing
        self.problems: tuple[str, ...] = ()
        self.defects: tuple[Defect, ...] = ()

    async def run(self) -> None:
        """Look now and then until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(PERIOD_S)

    async def look(self) -> None:
        """Once."""
        found = [(name, f"on {self._node} {text}") for name, text in await self._missing()]
        self.problems = tuple(
            f"{text}. Install it as on the other replica, or mend the configuration; until then the"
            " group would be served here without it"
            for _, text in found
        )
        self.defects = tuple(
            absent_service(name, text, "install it as on the other replica") for name, text in found
        )
