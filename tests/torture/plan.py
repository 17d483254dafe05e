"""PURE: what happens in a round, drawn from a seed. The same seed and wishes draw the same."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from torture.deeds import WEIGHTS

TROUBLES: dict[str, int] = {
    "kill": 10,  # one process or both of a replica, kill -9
    "kill-again": 5,  # the same twice, the second time while it begins
    "stop": 3,  # SIGTERM
    "freeze": 3,  # SIGSTOP for a while
    "cut": 5,  # a link or both
    "hang": 3,  # a link or both, and nobody is told
    "fill": 4,  # a volume
    "clock": 3,  # a step of a wall clock
    "away": 2,  # a standby that is away while much is written
    "power": 2,  # a standby that loses its power, as far as it can tell
    "damage": 2,  # of an index or a journal
    "compare": 2,  # a comparison is asked for, and something happens meanwhile
}
ENDINGS: dict[str, int] = {"settle": 6, "failover": 4, "switchover": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Something that goes wrong while the writers work. The number decides the rest."""

    kind: str
    number: int
    after_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Writers work, things go wrong, and at the end everything is as it should be."""

    writers: tuple[tuple[tuple[str, int], ...], ...]  # the deeds of each, kind and number
    troubles: tuple[Trouble, ...]
    ending: str
    number: int  # for whatever else is drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What is to be drawn. Leaving out a kind changes nothing about the others."""

    phases: int = 4
    writers: int = 3
    deeds: int = 250  # of each writer in each phase
    without: frozenset[str] = frozenset()  # kinds of deeds, troubles and endings
    inotify: frozenset[str] = frozenset()  # nodes that watch their trees by it

    def words(self) -> str:
        """As options of the command."""
        text = f"--phases {self.phases} --writers {self.writers} --deeds {self.deeds}"
        text += "".join(f" --inotify {node}" for node in sorted(self.inotify))
        return text + "".join(f" --without {kind}" for kind in sorted(self.without))


def draw(seed: int, wishes: Wishes) -> list[Phase]:
    """The phases of a round."""
    return [_phase(random.Random(f"{seed}/{number}"), wishes) for number in range(wishes.phases)]


def _phase(dice: random.Random, wishes: Wishes) -> Phase:
    own = dice.getrandbits(32)
    ending = _one(dice, ENDINGS)
    troubles = tuple(
        Trouble(
            kind=_one(dice, TROUBLES), number=dice.getrandbits(32), after_ms=dice.choice(_PAUSES)
        )
        for _ in range(dice.choice((0, 1, 2, 3, 4)))
    )
    return Phase(
        writers=tuple(
            _deeds(random.Random(f"{own}/{writer}"), wishes) for writer in range(wishes.writers)
        ),
        troubles=tuple(trouble for trouble in troubles if trouble.kind not in wishes.without),
        ending="settle" if ending in wishes.without else ending,
        number=own,
    )


_PAUSES = (0, 0, 5, 30, 100, 300, 700)


def _one(dice: random.Random, weights: dict[str, int]) -> str:
    return dice.choices(list(weights), list(weights.values()))[0]


def _deeds(dice: random.Random, wishes: Wishes) -> tuple[tuple[str, int], ...]:
    drawn = [(_one(dice, WEIGHTS), dice.getrandbits(32)) for _ in range(wishes.deeds)]
    return tuple(deed for deed in drawn if deed[0] not in wishes.without)


def smaller(wishes: Wishes, seen: Sequence[Phase]) -> list[Wishes]:
    """Wishes for less, the boldest first: for finding the least that still fails."""
    kinds = {kind for phase in seen for writer in phase.writers for kind, _ in writer}
    kinds |= {trouble.kind for phase in seen for trouble in phase.troubles}
    kinds |= {phase.ending for phase in seen} - {"settle"}
    found = []
    if wishes.writers > 1:
        found.append(_with(wishes, writers=1))
    if wishes.deeds > 10:
        found.append(_with(wishes, deeds=wishes.deeds // 2))
    halves = sorted(kinds)
    middle = len(halves) // 2
    if middle > 1:
        found += [_with(wishes, without=part) for part in (halves[:middle], halves[middle:])]
    return found + [_with(wishes, without=[kind]) for kind in halves]


def _with(
    wishes: Wishes, *, writers: int = 0, deeds: int = 0, without: Sequence[str] = ()
) -> Wishes:
    return Wishes(
        phases=wishes.phases,
        writers=writers or wishes.writers,
        deeds=deeds or wishes.deeds,
        without=wishes.without | frozenset(without),
        inotify=wishes.inotify,
    )
