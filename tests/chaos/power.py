"""Hosts that lose their power."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from chaos.ground import Ground
from chaos.nemesis import Nemesis


class Power(Nemesis):
    """The power of hosts is cut in this order and comes back in that order."""

    def __init__(
        self,
        roles: Sequence[str],
        hold_s: float,
        *,
        back: Sequence[str] | None = None,
        between_s: float = 0.0,
    ) -> None:
        order = list(back or roles)
        names = " and ".join(roles)
        way = f", back first: {order[0]}" if len(order) > 1 else ""
        super().__init__(f"power cut of {names}", f"power cut of {names}{way}", hold_s)
        self._roles = list(roles)
        self._back = order
        self._between_s = between_s

    def inject(self, ground: Ground) -> None:
        hosts = [ground.host(role) for role in self._back]

        def restore() -> None:
            for number, host in enumerate(hosts):
                if number:
                    threading.Event().wait(self._between_s)
                ground.power_on(host)

        self._repairs.callback(restore)
        for role in self._roles:
            ground.power_off(ground.host(role))
