"""One group on one replica: events in, one decision at a time, commands out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from staqraft.actions.services import ServiceHealth, State
from staqraft.config.schema import Config
from staqraft.daemon.clock import wall_ms
from staqraft.daemon.executor import Executor, Hands
from staqraft.daemon.pair_watch import PairWatch
from staqraft.daemon.right import Right
from staqraft.daemon.tally import Tally
from staqraft.daemon.timing import RETRY_MS, timing_of
from staqraft.daemon.watch import DataWatch
from staqraft.decision import events as on
from staqraft.decision import pair
from staqraft.decision.conflict import OnConflict
from staqraft.decision.defects import Defect
from staqraft.decision.insync import barrier_peers
from staqraft.decision.phases import HOLDING, SENTENCES, Phase
from staqraft.decision.state import GroupState, ServicePolicy, Settings
from staqraft.decision.step import step
from staqraft.decision.wake import wake_ms
from staqraft.errors import ConsensusError
from staqraft.model import (
    NO_EPOCH,
    ClusterRecord,
    Epoch,
    FenceRung,
    GroupId,
    GroupRecord,
    NodeId,
)

logger = logging.getLogger(__name__)

_LOOK_MS = 50  # whether the handing over before a stop is done
_LEFTOVERS_S = 0.1
_CLOCK_S = 0.5
_BEGIN_BARRIER_MS = 1_000
_ANY_EPOCH = Epoch(1 << 62)  # newer than any: no epoch is taken or kept after it
_LET_GO_TRIES = 6
_FENCE_ANSWER_S = 10.0  # how long a fence caller's request is worked on


def settings_of(config: Config, group: GroupId, *, gate: bool = False) -> Settings:
    """What the configuration, and whether there is a gate, say to the decision core."""
    alone = len(config.nodes) == len(config.replicas)
    rungs = frozenset(config.groups[group].fenced_by)
    failback = config.groups[group].failback
    return Settings(
        pair=alone,
        moves_for_health=config.health.failover,
        # Who cannot ask a majority goes on serving: without a witness no lease proves anything.
        fenced_by=rungs - {FenceRung.LEASE} if alone else rungs,
        watchdog_ms=config.watchdog.timeout_ms if config.watchdog else 0,
        devices={node: how.delay_ms for node, how in config.fencing.items()},
        node=config.node,
        group=group,
        replicas=config.replicas,
        initial_active=config.groups[group].initial_active,
        services={
            service.name: ServicePolicy(
                restarts=service.restarts,
                window_ms=service.restart_window_ms,
                failover=service.failover,
            )
            for service in config.groups[group].services
        },
        moves_most=config.groups[group].flapping.moves,
        moves_window_ms=config.groups[group].flapping.window_ms,
        gate=gate,
        on_conflict=config.groups[group].address_conflict
        if config.groups[group].vips
        else OnConflict.IGNORE,
        prefer=failback.prefer if failback else None,
        failback_ms=failback.after_ms if failback else 0,
        timing=timing_of(config, group, gate=gate),
    )


class GroupLoop:
    """Runs the decision core of one group. `state` may be read at any time, from the loop."""

    def __init__(
        self,
        config: Config,
        group: GroupId,
        hands: Hands,
        *,
        now_ms: Callable[[], int],
    ) -> None:
        self.group = group
        self.hands = hands
        self.state = GroupState(settings=settings_of(config, group, gate=hands.vips.gated))
        self._now_ms = now_ms
        self._queue: asyncio.Queue[on.Event] = asyncio.Queue()
        self._changed = asyncio.Event()
        self._alarm: asyncio.TimerHandle | None = None
        self._fence_token = 0
        self._told_services: dict[str, State] = {}
        self._last_record: GroupRecord | None = None
        self.tally = Tally()
        self.executor = Executor(
            group,
            config.node,
            hands,
            now_ms=now_ms,
            post=self._queue.put_nowait,
            service_changed=self._service_changed,
            tally=self.tally,
            serving=lambda: self.state.phase is Phase.ACTIVE,
        )
        self._pair = self._pair_watch(config) if self.state.settings.pair else None
        self.watch = DataWatch(hands.data, post=self._queue.put_nowait, now_ms=now_ms)

    def _pair_watch(self, config: Config) -> PairWatch:
        return PairWatch(
            self.hands.raft,
            Right(config.run_dir / f"{self.group}.right.json"),
            self.state.settings,
            post=self._queue.put_nowait,
            now_ms=self._now_ms,
        )

    async def run(self) -> None:
        """Decide and act until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.executor.run())
            tasks.create_task(self.watch.run())
            tasks.create_task(self._begin())
            tasks.create_task(self._end_leftovers())
            tasks.create_task(self._watch_the_clock())
            if self._pair is not None:
                tasks.create_task(self._pair.run())
            try:
                self._set_alarm(self._now_ms())
                while True:
                    self._take(await self._queue.get())
            finally:
                if self._alarm is not None:
                    self._alarm.cancel()

    async def _end_leftovers(self) -> None:
        """Until the lease is renewed or lost, nobody else watches what an earlier life left."""
        while self.state.phase in {Phase.STARTUP, Phase.RESUMING}:
            self.executor.end_what_is_over()
            await asyncio.sleep(_LEFTOVERS_S)

    async def _watch_the_clock(self) -> None:
        """Tells the core of the active when the time of a scheduled switchover has come."""
        while True:
            entry = self.state.record.scheduled
            if entry is not None and self.state.phase is Phase.ACTIVE:
                late_ms = wall_ms() - entry.at_ms
                if late_ms >= 0:
                    self._queue.put_nowait(
                        on.ScheduleDue(
                            now_ms=self._now_ms(), schedule=entry.log_index, late_ms=late_ms
                        )
                    )
            await asyncio.sleep(_CLOCK_S)

    async def _begin(self) -> None:
        """The first record comes after a read barrier: it is not older than our start."""
        served = await self._current()
        self.hands.raft.subscribe(self._on_raft)
        self._on_raft(self.hands.raft.state, served)

    async def _current(self) -> Epoch:
        """Returns when Raft's state is current, with the epoch that this node may go on in."""
        said = False
        while True:
            try:
                if self._pair is None:
                    await self.hands.raft.barrier(_BEGIN_BARRIER_MS)
                    return NO_EPOCH
                if (served := await self._pair.begin()) is not None:
                    return served
            except ConsensusError as error:
                if not said:
                    logger.warning("group %s waits for the Raft majority: %s", self.group, error)
                said = True
            await asyncio.sleep(RETRY_MS / 1000)

    def _set_alarm(self, now_ms: int) -> None:
        """After each step, which may have moved any instant, in either direction."""
        if self._alarm is not None:
            self._alarm.cancel()
        pause_s = (wake_ms(self.state, now_ms) - now_ms) / 1000
        self._alarm = asyncio.get_running_loop().call_later(pause_s, self._tick)

    def _tick(self) -> None:
        self._queue.put_nowait(on.Tick(now_ms=self._now_ms()))

    def _on_raft(self, cluster: ClusterRecord, served: Epoch = NO_EPOCH) -> None:
        record = cluster.groups.get(self.group, GroupRecord())
        if record != self._last_record:
            self._last_record = record
            now_ms = self._now_ms()
            self._queue.put_nowait(on.RecordObserved(now_ms=now_ms, record=record, served=served))

    def _take(self, event: on.Event) -> None:
        before = self.state
        # Stamped anew: this process may have been stopped while the event waited.
        now_ms = self._now_ms()
        self.state, commands = step(before, replace(event, now_ms=now_ms))
        self._set_alarm(now_ms)
        if self.state.phase is not before.phase:
            self._log_phase(before.phase)
            self.tally.moved(before, self.state, now_ms)
        if self._pair is not None:
            self._pair.keep(before, self.state)
        for command in commands:
            self.executor.carry_out(command)
        if self.state is not before:
            self._changed.set()
            self._changed = asyncio.Event()

    def _log_phase(self, before: Phase) -> None:
        state = self.state
        logger.info(
            "group %s: %s -> %s in epoch %d: %s %s%s",
            self.group,
            before.value,
            state.phase.value,
            state.record.epoch,
            state.settings.node,
            SENTENCES[state.phase],
            f" ({state.reason})" if state.reason else "",
        )

    def _service_changed(self, health: ServiceHealth) -> None:
        problem = health.detail if health.state is State.FAILED else ""
        self._queue.put_nowait(
            on.ServiceReported(
                now_ms=self._now_ms(), service=health.name, problem=problem, stuck=health.stuck
            )
        )
        if self._told_services.get(health.name) is health.state:
            return
        self._told_services[health.name] = health.state
        level = logging.ERROR if health.state is State.FAILED else logging.INFO
        if health.state is State.FAILED:
            self.tally.service_failures[health.name] += 1
        logger.log(
            level,
            "group %s: service %s is %s%s",
            self.group,
            health.name,
            health.state.value,
            f": {health.detail}" if health.detail else "",
        )

    # --- asked from outside -----------------------------------------------------------------------

    def barrier_peers(self) -> frozenset[NodeId]:
        """The replicas, besides this one, that a barrier must wait for now."""
        return barrier_peers(self.state)

    def waits_for(self, loser: NodeId) -> bool:
        """Whether this group waits until `loser` is known to be off."""
        state = self.state
        if state.fencing is not None and state.fencing.loser == loser:
            return True
        return state.settings.pair and pair.lost(state) and not self.why_not_alone()

    def why_not_alone(self) -> str:
        """Why this node would not go on alone even if the other were off; "" if it would."""
        return pair.why_not(self.state, self._now_ms()) or ""

    def story(self) -> str:
        """Of two replicas without a witness: what it means that the other is lost, if it is."""
        return pair.story(self.state, self._now_ms()) if self.state.settings.pair else ""

    def vouch_off(self, node: NodeId, by: str) -> None:
        """Somebody says that `node` is off."""
        self._queue.put_nowait(on.OffConfirmed(now_ms=self._now_ms(), node=node, by=by))

    def tell_health(
        self, node: NodeId, defects: tuple[Defect, ...], *, ready: bool = True, age_ms: int = 0
    ) -> None:
        """How `node` is, by its own word; see `decision.health`."""
        self._queue.put_nowait(
            on.HealthReported(
                now_ms=self._now_ms(), node=node, defects=defects, ready=ready, age_ms=age_ms
            )
        )

    async def changed(self) -> None:
        """Return when the state changed after the call."""
        await self._changed.wait()

    async def let_go(self, epoch: Epoch) -> tuple[bool, str]:
        """Another node acquired `epoch`: let go of every older one; (False, why) if it cannot."""
        self._fence_token -= 1  # negative: never mixed up with the core's own tokens
        answer = self.executor.expect_fence_answer(self._fence_token)
        self._queue.put_nowait(
            on.FenceRequested(now_ms=self._now_ms(), epoch=epoch, token=self._fence_token)
        )
        try:
            async with asyncio.timeout(_FENCE_ANSWER_S):
                return await answer
        except TimeoutError:
            phase = SENTENCES[self.state.phase]
            return False, f"{self.state.settings.node} has not let go yet: it {phase}"

    async def let_go_for_good(self) -> None:
        """Let go of everything, for the rest of this life: Raft cannot be followed any more.

        Returns after a minute even if services do not stop; the addresses went first.
        """
        for _ in range(_LET_GO_TRIES):
            let_go, detail = await self.let_go(_ANY_EPOCH)
            if let_go:
                return
            logger.error("group %s: %s", self.group, detail)

    async def hand_over_before_stop(self, timeout_ms: int) -> None:
        """The daemon is to stop: hand over if a standby is in sync; returns when that is over.

        In maintenance nothing is handed over: addresses and services go on without the daemon.
        """
        self._queue.put_nowait(on.ShutdownRequested(now_ms=self._now_ms()))
        deadline = self._now_ms() + timeout_ms
        while self._now_ms() < deadline:
            await asyncio.sleep(_LOOK_MS / 1000)
            if self.state.phase is Phase.RESTED:
                await self.executor.settled("watchdog")  # from now on nobody would kick it
                return
            if self.state.phase not in HOLDING:
                return
            leaves = self._somebody_to_hand_to() or self.state.record.maintenance
            if self.state.phase is Phase.ACTIVE and not leaves:
                return

    def may_leave(self) -> bool:
        """Of two replicas without a witness: it stops, holds nothing, and the other is there."""
        state = self.state
        there = state.pair is not None and state.pair.reached
        return there and state.shutting_down and state.phase is Phase.STANDBY

    def give_up_right(self) -> None:
        """Before `say_farewell` of any group. ActionError when the right cannot be taken away."""
        if self._pair is not None:
            self._pair.give_up_right()

    async def say_farewell(self) -> None:
        """Tell the other that this node stops in order, so that it is not turned off for that."""
        if self._pair is not None:
            await self._pair.say_farewell()

    def _somebody_to_hand_to(self) -> bool:
        return bool(self.state.record.in_sync - {self.state.settings.node})
