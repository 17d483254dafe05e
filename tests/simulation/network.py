"""Networks between machines, and sessions over them that keep what TCP and our transport promise.

A session delivers in order and nothing twice. A cut network keeps messages back; when it heals
before an end has noticed, they arrive late, else they are lost. The two ends notice apart from each
other, so that one may open the next session while the other still believes in the old one.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from simulation.machine import Process
from simulation.schedule import MS, Schedule
from staqraft.model import NodeId

Pair = tuple[NodeId, NodeId]


class Network:
    """Which machine reaches which over which ring, one way at a time, and how fast."""

    def __init__(
        self, schedule: Schedule, rng: random.Random, rings: dict[str, tuple[NodeId, ...]]
    ) -> None:
        self.schedule = schedule
        self.rng = rng
        self.rings = rings
        self._cuts: dict[tuple[str, NodeId, NodeId], int] = {}
        self.slow_us: dict[Pair, int] = {}
        self.lossy: set[Pair] = set()
        self.dark: set[NodeId] = set()  # machines without power, or asleep
        self.on_heal: list[Callable[[], None]] = []

    def cut(self, ring: str, source: NodeId, target: NodeId) -> None:
        """One way. Cuts add up."""
        key = (ring, source, target)
        self._cuts[key] = self._cuts.get(key, 0) + 1

    def heal(self, ring: str, source: NodeId, target: NodeId) -> None:
        key = (ring, source, target)
        if self._cuts.get(key, 0) > 1:
            self._cuts[key] -= 1
        else:
            self._cuts.pop(key, None)
        self.healed()

    def heal_all(self) -> None:
        self._cuts.clear()
        self.slow_us.clear()
        self.lossy.clear()
        self.healed()

    @property
    def faultless(self) -> bool:
        """Whoever has power reaches the others, without delay."""
        return not (self.slow_us or self.lossy or any(self._cuts.values()))

    def healed(self) -> None:
        for act in self.on_heal:
            act()

    def passes(self, ring: str, source: NodeId, target: NodeId) -> bool:
        """Whether a packet gets there now."""
        if self.dark and (source in self.dark or target in self.dark):
            return False
        return not (self._cuts and self._cuts.get((ring, source, target)))

    def both_ways(self, ring: str, one: NodeId, other: NodeId) -> bool:
        return self.passes(ring, one, other) and self.passes(ring, other, one)

    def ring_between(self, one: NodeId, other: NodeId) -> str | None:
        """The first ring over which the two can talk."""
        for ring, members in self.rings.items():
            if one in members and other in members and self.both_ways(ring, one, other):
                return ring
        return None

    def delay_us(self, source: NodeId, target: NodeId) -> int:
        """How long a packet takes now."""
        pair = (source, target)
        delay = 150 + int(self.rng.random() * 500)
        if self.slow_us or self.lossy:
            if slow := self.slow_us.get(pair):
                delay += int(slow * (0.5 + self.rng.random()))
            if pair in self.lossy and self.rng.random() < 0.3:
                delay += int((0.2 + 0.4 * self.rng.random()) * 1_000 * MS)  # sent again
        return delay


@dataclass(slots=True)
class _End:
    process: Process
    deliver: Callable[[Any], None]
    ended: Callable[[], None]
    alive: bool = True
    last_at: int = 0  # when the last message to this end arrives: order is kept
    stuck: list[Any] = field(default_factory=list)


class Session:
    """One session between two processes over one ring."""

    def __init__(self, network: Network, ring: str, dead_us: int) -> None:
        self._network = network
        self.ring = ring
        self._dead_us = dead_us
        self._ends: dict[NodeId, _End] = {}
        self._others: dict[NodeId, NodeId] = {}
        self._watched = False
        network.on_heal.append(self._flush)

    def attach(
        self,
        node: NodeId,
        process: Process,
        deliver: Callable[[Any], None],
        ended: Callable[[], None],
    ) -> None:
        self._ends[node] = _End(process, deliver, ended)
        if len(self._ends) == 2:
            one, other = self._ends
            self._others = {one: other, other: one}

    def other(self, node: NodeId) -> NodeId:
        return self._others[node]

    def alive(self, node: NodeId) -> bool:
        return self._ends[node].alive

    @property
    def open(self) -> bool:
        """Both ends believe in it and packets pass."""
        one, other = self._ends
        return all(end.alive for end in self._ends.values()) and self._network.both_ways(
            self.ring, one, other
        )

    def send(self, source: NodeId, message: Any, long_us: int = 0) -> None:
        """A long one takes so much longer to pass."""
        if not self._ends[source].alive:
            return
        target = self._others[source]
        end = self._ends[target]
        schedule = self._network.schedule
        at = max(schedule.now + self._network.delay_us(source, target), end.last_at) + long_us
        end.last_at = at
        schedule.after(at - schedule.now, partial(self._arrive, source, target, message))

    def _arrive(self, source: NodeId, target: NodeId, message: Any) -> None:
        end = self._ends[target]
        if not end.alive:
            return
        if not end.process.alive:
            self.end(target, tell=False)  # nobody is there any more: a reset comes back
        elif end.stuck or not self._network.passes(self.ring, source, target):
            end.stuck.append(message)
            self.suspect()
        else:
            self._hand(end, message)

    @staticmethod
    def _hand(end: _End, message: Any) -> None:
        process = end.process
        if process.runs:
            end.deliver(message)
        else:
            process.do(lambda: end.deliver(message))  # it waits in the socket

    def _flush(self) -> None:
        for target, end in self._ends.items():
            if end.stuck and self._network.passes(self.ring, self.other(target), target):
                waiting, end.stuck = end.stuck, []
                for message in waiting:
                    self._hand(end, message)

    def suspect(self) -> None:
        """Something is wrong: each end looks when its patience is over, and again later."""
        if self._watched:
            return
        self._watched = True
        for node in self._ends:
            patience = int(self._dead_us * (0.6 + 0.5 * self._network.rng.random()))
            self._network.schedule.after(patience, lambda n=node: self._look(n))  # type: ignore[misc]

    def _look(self, node: NodeId) -> None:
        self._watched = False
        if not self._ends[node].alive:
            return
        other = self.other(node)
        silent = self._ends[other].process.stopped or not self._ends[other].alive
        if silent or not self._network.both_ways(self.ring, node, other):
            self.end(node)

    def end(self, node: NodeId, *, tell: bool = True) -> None:
        """This end is over. The other hears of it if packets pass, else by its own patience."""
        end = self._ends[node]
        if not end.alive:
            return
        end.alive = False
        end.stuck.clear()
        if tell:
            end.process.do(end.ended)
        other = self.other(node)
        if not self._ends[other].alive:
            if self._flush in self._network.on_heal:
                self._network.on_heal.remove(self._flush)
        elif self._network.both_ways(self.ring, node, other):
            delay = max(
                self._network.delay_us(node, other),
                self._ends[other].last_at - self._network.schedule.now,
            )
            self._network.schedule.after(delay, lambda: self.end(other))
        else:
            self.suspect()
