"""A replica's control process where there is no witness: mirrors `staqraft.daemon.pair_watch`.

The devices are modelled here: each host has one, which works, refuses or hangs. It turns the host
off some seconds after it was asked; somebody turns it on again later.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from simulation.daemon import _BEGIN_MS, _BEGIN_RETRY_MS, GROUP, Answer, Daemon
from simulation.drills import NAMES
from simulation.schedule import MS, S
from staqraft.consensus.ready import GoAlone, Ready
from staqraft.decision import commands as do
from staqraft.decision import events as on
from staqraft.decision import pair
from staqraft.decision.phases import Phase
from staqraft.model import (
    NO_EPOCH,
    Epoch,
    Farewell,
    FenceRung,
    Generation,
    GroupRecord,
    NodeId,
    ReadBarrier,
)

if TYPE_CHECKING:
    from simulation.host import Host
    from simulation.world import World

MOODS: Final = ("works", "works", "works", "refuses", "hangs")
_LOOK_MS: Final = 100
_RESTARTED_MS: Final = 300
_ALONE_MS: Final = 2_000
_HANGS_MS: Final = 20_000
_DAWDLES_MS: Final = 10_000  # from the end of the power to the word of it


@dataclass(slots=True)
class Memory:
    """What a host keeps as long as it has power: the proof that it was not off."""

    right: tuple[int, Epoch] | None = None
    mood: str = "works"  # of the device that turns it off


PairOff = Callable[[NodeId, Callable[[bool], None]], None]


class PairDaemon(Daemon):
    """One life of the control process of one of two."""

    def __init__(self, *, memory: Memory, pair_off: PairOff, **common: Any) -> None:
        self._memory = memory
        self._pair_off = pair_off
        self._confirmed: Generation | None = None
        self._asking = False
        self._said: on.RaftReported | None = None
        # Who would go on alone, in order: tokens of the core, and an operator.
        self._going: list[int | Callable[[str], None]] = []
        self._turning_off: set[int] = set()
        self._leaves = False
        self._began_ms = common["clock"].boot_ms()
        super().__init__(**common)
        self._look()

    # --- how it stands to the other ---------------------------------------------------------------

    def _begin(self) -> None:
        member, right = self.raft.member, self._memory.right
        asked_in = member.generation
        if asked_in.members == {self.me}:
            looks = right is None and self.now_ms < self._began_ms + _ALONE_MS
            if looks or member.membership.newer is not None:
                self.after_ms(_BEGIN_RETRY_MS, self._begin)
                return

        def answered(answer: Answer) -> None:
            if isinstance(answer, str) or member.generation != asked_in:
                if not self._may_go_on(asked_in, right):
                    self.after_ms(_BEGIN_RETRY_MS, self._begin)
                    return
                assert right is not None, "it may not without"
                self._start(asked_in, right[1])
                return
            self._back_in(asked_in)

        self.propose(
            ReadBarrier(node=self.me), answered, _RESTARTED_MS if right is not None else _BEGIN_MS
        )

    def _back_in(self, generation: Generation) -> None:
        """After a farewell the other knows that this one is back, before it has its right again."""
        if self.me not in self.cluster.groups.get(GROUP, GroupRecord()).away:
            self._start(generation, NO_EPOCH)
            return

        def known(answer: Answer) -> None:
            if isinstance(answer, str) or self.raft.member.generation != generation:
                self.after_ms(_BEGIN_RETRY_MS, self._begin)
            else:
                self._start(generation, NO_EPOCH)

        def said(answer: Answer) -> None:
            if isinstance(answer, str):
                self.after_ms(_BEGIN_RETRY_MS, self._begin)
            else:
                self.propose(ReadBarrier(node=self.me), known, _BEGIN_MS)

        self.propose(Farewell(node=self.me, group=GROUP, gone=False), said, _BEGIN_MS)

    def say_farewell(self) -> None:
        state = self.core.pair
        there = state is not None and state.reached
        if not there or not self.core.shutting_down or self.core.phase is not Phase.STANDBY:
            return
        self._leaves, self._memory.right = True, None
        self._checks.note("said farewell")
        self.propose(Farewell(node=self.me, group=GROUP, gone=True), lambda _: None, _BEGIN_MS)

    def _may_go_on(self, generation: Generation, right: tuple[int, Epoch] | None) -> bool:
        member = self.raft.member
        return (
            right is not None
            and right[0] == generation.number
            and member.generation == generation
            and member.membership.newer is None
            and not member.reachable
            and member.applied_index >= member.commit_index
        )

    def _start(self, generation: Generation, served: Epoch) -> None:
        self._confirmed, self._begun = generation, True
        self._report()
        record = self.cluster.groups.get(GROUP, GroupRecord())
        self._seen = record
        self.tell(on.RecordObserved(now_ms=self.now_ms, record=record, served=served))

    def _look(self) -> None:
        self.after_ms(_LOOK_MS, self._look)
        self._report()

    def _report(self) -> None:
        member = self.raft.member
        generation = member.generation
        if self._confirmed is not None and generation != self._confirmed:
            if generation.founder == self.me:
                self._confirmed = generation
            elif not self._asking:
                self._ask(generation)
        record = self.cluster.groups.get(GROUP, GroupRecord())
        active = record.active if record.active is not None and not record.released else None
        newer = member.membership.newer
        said = on.RaftReported(
            now_ms=0,
            generation=self._confirmed or generation,
            reached=bool(member.reachable) and self._confirmed in {None, generation},
            contacts=member.membership.contacts,
            newer=str(newer) if newer is not None else "",
            favoured=(active or self.core.settings.initial_active) == self.me,
        )
        if said != self._said:
            self._said = said
            self.tell(
                on.RaftReported(
                    now_ms=self.now_ms,
                    generation=said.generation,
                    reached=said.reached,
                    contacts=said.contacts,
                    newer=said.newer,
                    favoured=said.favoured,
                )
            )

    def _ask(self, generation: Generation) -> None:
        """It was taken in: its record counts when it is current in that generation."""
        self._asking = True

        def answered(answer: Answer) -> None:
            self._asking = False
            if not isinstance(answer, str) and self.raft.member.generation == generation:
                self._confirmed = generation
                self._report()

        self.propose(ReadBarrier(node=self.me), answered, _BEGIN_MS)

    def keep(self) -> None:
        started = self.core.phase is not Phase.STARTUP
        if self.core.pair is not None and started and not self._leaves:
            served = pair.epoch_kept(self.core)
            self._memory.right = (self.core.pair.generation.number, served)

    def force_alone(self, answer: Callable[[str], None]) -> None:
        """An operator vouches for the other, and accepts data loss; `answer` is told why not."""
        self._going.append(answer)
        contacts = self.raft.member.membership.contacts
        self.raft.put(GoAlone(FenceRung.OPERATOR, contacts, forced=True))

    # --- commands ---------------------------------------------------------------------------------

    def raft_said(self, ready: Ready) -> None:
        super().raft_said(ready)
        for refusal in ready.alone:
            token = self._going.pop(0)
            if callable(token):
                token(refusal)
            elif refusal:
                detail = on.ActionFailed(now_ms=self.now_ms, token=token, detail=refusal)
                self.tell(detail)
            else:
                self._checks.note("went on alone")
                self.tell(on.ActionDone(now_ms=self.now_ms, token=token))

    def _carry_out(self, command: do.Command) -> None:
        match command:
            case do.GoAlone(token=token, rung=rung, contacts=contacts):
                self._going.append(token)
                self.raft.put(GoAlone(rung, contacts))
            case do.TurnOff(token=token, loser=loser):
                self._turning_off.add(token)
                self._pair_off(loser, lambda done: self._turned_off(token, done=done))
            case do.StopTurnOff(token=token):
                self._turning_off.discard(token)
            case _:
                super()._carry_out(command)

    def _turned_off(self, token: int, *, done: bool) -> None:
        if token not in self._turning_off or not self.process.alive:
            return
        self._turning_off.discard(token)
        if done:
            self.tell(on.ActionDone(now_ms=self.now_ms, token=token, detail="a device says so"))
        else:
            failed = on.ActionFailed(now_ms=self.now_ms, token=token, detail="the device refused")
            self.tell(failed)


class Devices:
    """The fence devices of both hosts, and somebody who turns on what is off."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._rng = random.Random(f"devices {seed}")
        self.storm = True

    def begin(self) -> None:
        self._change_moods()

    def _change_moods(self) -> None:
        if not self.storm or self._world.plan.kind in NAMES:
            return  # a drill says itself in what mood they are
        for host in self._world.hosts.values():
            host.memory.mood = self._rng.choice(MOODS)
        pause_us = int(self._rng.uniform(3, 15) * S)
        self._world.schedule.after(pause_us, self._change_moods)

    def turn_off(self, asker: Host, loser: NodeId, answer: Callable[[bool], None]) -> None:
        """An agent runs on the asker's host; what it has begun when that dies still happens."""
        victim = self._world.hosts[loser]
        mood = victim.memory.mood
        self._world.checks.say(f"{asker.me}: has {loser} turned off; the device {mood}")
        daemon = asker.daemon
        assert daemon is not None, "somebody asks"
        self._world.checks.turns_off(daemon)

        def tell(*, done: bool) -> None:
            if asker.daemon is daemon and asker.powered:
                asker.control.do(lambda: answer(done))

        def off() -> None:
            done = mood in {"works", "dawdles"}
            if done:
                self._world.checks.note("turned off by a device")
                self._world.checks.turned_off(asker.me, loser)
                victim.power_off()
                again_us = int(self._rng.uniform(2, 4 if mood == "dawdles" else 25) * S)
                self._world.schedule.after(again_us, victim.power_on)
            answer_ms = _DAWDLES_MS if mood == "dawdles" else 300
            self._world.schedule.after(answer_ms * MS, lambda: tell(done=done))

        took_ms = _HANGS_MS if mood == "hangs" else int(self._rng.uniform(300, 4000))
        self._world.schedule.after(took_ms * MS, off)


__all__ = ["Devices", "Memory", "PairDaemon"]
