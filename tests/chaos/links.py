"""Paths, cables and networks that are cut, one way or both, for a while or again and again."""

from __future__ import annotations

import random
from collections.abc import Sequence

from chaos.ground import Ground
from chaos.nemesis import Nemesis, repeat


class Cut(Nemesis):
    """A path between two hosts, one way or both, on one network or all; carriers stay."""

    def __init__(
        self, ends: tuple[str, str], hold_s: float, *, one_way: bool, network: str = ""
    ) -> None:
        arrow = "->" if one_way else "<->"
        where = f" ({network})" if network else ""
        kind = "one-way cut" if one_way else "two-way cut"
        super().__init__(kind, f"{kind} {ends[0]} {arrow} {ends[1]}{where}", hold_s)
        self._ends = ends
        self._one_way = one_way
        self._network = network

    def inject(self, ground: Ground) -> None:
        sender, target = (ground.host(role) for role in self._ends)
        link = f"{sender}-{target}" + (f":{self._network}" if self._network else "")
        only = sender if self._one_way else None
        self._repairs.callback(ground.lab.heal, link, only)
        ground.lab.cut(link, only)


class Unplug(Nemesis):
    """Cables of a host, or of a whole network."""

    def __init__(self, kind: str, links: Sequence[tuple[str, str]], hold_s: float) -> None:
        name = ", ".join(":".join(part for part in link if part) for link in links)
        super().__init__(kind, f"{kind} ({name})", hold_s)
        self._links = links

    def inject(self, ground: Ground) -> None:
        for role, network in self._links:
            link = f"{ground.host(role)}:{network}" if role else network
            self._repairs.callback(ground.lab.heal, link)
            ground.lab.cut(link)


class Flap(Nemesis):
    """A path that comes and goes."""

    def __init__(
        self, ends: tuple[str, str], hold_s: float, rng: random.Random, *, one_way: bool = False
    ) -> None:
        kind = "flapping link, one way" if one_way else "flapping link"
        arrow = "->" if one_way else "<->"
        super().__init__(kind, f"{kind} {ends[0]} {arrow} {ends[1]}", hold_s)
        self._ends = ends
        self._one_way = one_way
        self._pauses = [rng.uniform(0.1, 1.2) for _ in range(64)]

    def inject(self, ground: Ground) -> None:
        sender, target = (ground.host(role) for role in self._ends)
        link = f"{sender}-{target}"
        only = sender if self._one_way else None
        cut = False
        turn = 0

        def toggle() -> None:
            nonlocal cut
            (ground.lab.heal if cut else ground.lab.cut)(link, only)
            cut = not cut

        def pause() -> float:
            nonlocal turn
            turn += 1
            return self._pauses[turn % len(self._pauses)]

        self._repairs.callback(ground.lab.heal, link, only)
        toggle()
        self._repairs.callback(repeat(toggle, pause))
