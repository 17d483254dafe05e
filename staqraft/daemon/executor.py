"""Carries the decision core's commands out and answers each with one event.

Commands run in lanes: what belongs together (addresses, services, roles of the data worker) runs
one after the other in the order given; different lanes do not wait for each other, so a service
that takes its time to stop never delays the removal of an address.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, assert_never

from staqraft.actions.announce import Announcer
from staqraft.actions.fence import FenceClient
from staqraft.actions.fence_agent import FenceDevices
from staqraft.actions.services import ServiceHealth, ServiceManager, State
from staqraft.actions.vip import VipHolder
from staqraft.actions.watchdog import Watchdog
from staqraft.consensus.group import Group as RaftGroup
from staqraft.daemon.absences import Absences
from staqraft.daemon.clock import wall_ms
from staqraft.daemon.conflicts import Claims, Conflicts
from staqraft.daemon.services_lane import ServicesLane
from staqraft.daemon.tally import Tally
from staqraft.daemon.workers import DataWorker
from staqraft.decision import commands as do
from staqraft.decision import events as on
from staqraft.errors import ActionError, ConsensusError, OutcomeUnknown, StaqraftError
from staqraft.model import (
    ORIGIN,
    Accepted,
    Admission,
    FenceRung,
    GroupId,
    NodeId,
    Position,
    Refused,
)

logger = logging.getLogger(__name__)

_FENCE_MS = 2_000
_FLUSH_S = 10.0
_SAID_AGAIN_MS = 60_000  # what is tried again all the time and fails in the same way
_BARRIER_S = 10.0
_LEAVING_MS = 5_000  # on top of what the services may take to stop, before the machine is reset


_LANES = ("data", "barriers", "vips", "services", "watchdog")
_Action = (
    do.FinishData
    | do.Flush
    | do.JoinBarrier
    | do.StartServices
    | do.StopServices
    | do.RestartService
    | do.TakeVips
    | do.DropVips
    | do.ArmWatchdog
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """What the executor works with."""

    raft: RaftGroup
    data: DataWorker
    vips: VipHolder
    announcer: Announcer
    services: ServiceManager
    fence: FenceClient
    devices: FenceDevices
    watchdog: Watchdog | None = None
    conflicts: Conflicts | None = None  # who else has the addresses; None: nobody is asked
    absences: Absences | None = None  # which services could not run here; None: nobody looks
    stop_ms: int = 0  # what the services may take to stop, all together


# One at a time for all groups, and a driver that hangs hangs nothing else.
_watchdog_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="watchdog")


async def _in_its_thread(call: Callable[..., None], *arguments: object) -> None:
    await asyncio.get_running_loop().run_in_executor(_watchdog_thread, call, *arguments)


class Executor:
    """Carries out commands of one group; `post` takes the answers."""

    def __init__(
        self,
        group: GroupId,
        node: NodeId,
        hands: Hands,
        *,
        now_ms: Callable[[], int],
        post: Callable[[on.Event], None],
        service_changed: Callable[[ServiceHealth], None],
        tally: Tally,
        serving: Callable[[], bool],
    ) -> None:
        self._group = group
        self._node = node
        self._hands = hands
        self._now_ms = now_ms
        self._post = post
        self._tally = tally
        self._services = ServicesLane(hands.services, service_changed, serving)
        self._lanes: dict[str, asyncio.Queue[Coroutine[Any, Any, None]]] = {
            lane: asyncio.Queue() for lane in _LANES
        }
        self._loose: asyncio.TaskGroup | None = None
        self._fence_answers: dict[int, asyncio.Future[tuple[bool, str]]] = {}
        self._turning_off: dict[int, asyncio.Task[None]] = {}
        self._hold_until_ms = 0
        self._said: dict[str, int] = {}  # what failed, and when the log said it last
        self.vip_problem = ""
        self.watchdog_problem = ""

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._loose = tasks
            for queue in self._lanes.values():
                tasks.create_task(self._work(queue))

    async def _work(self, queue: asyncio.Queue[Coroutine[Any, Any, None]]) -> None:
        while True:
            await (await queue.get())

    def carry_out(self, command: do.Command) -> None:
        """Take a command; returns at once."""
        match command:
            case do.Propose():
                self._spawn(self._propose(command))
            case do.FenceLoser():
                self._spawn(self._fence(command))
            case do.TurnOff():
                self._turn_off(command)
            case do.GoAlone():
                self._spawn(self._go_alone(command))
            case do.StopTurnOff():
                if (task := self._turning_off.pop(command.token, None)) is not None:
                    task.cancel()
            case do.AnswerFence():
                self._answer_fence(command)
            case do.CheckVips():
                self._spawn(self._check(command))
            case do.StartCapture():
                self._lane("data", self._start_capture(command))
            case do.FollowActive():
                self._lane("data", self._follow(command))
            case do.KickWatchdog() | do.LeaveWatchdog() | do.DisarmWatchdog():
                self._lane("watchdog", self._tell_watchdog(command))
            case do.HoldVips():
                # On a busy machine this waits for its turn, and the deadline that came with it may
                # be over when it gets it, while a newer renewal is granted already: that counts.
                self._hold_until_ms = max(self._hold_until_ms, command.deadline_ms)
                self._lane("vips", self._hold(command))
            case _:
                if isinstance(command, do.DropVips):
                    self._hold_until_ms = 0  # what was granted is given back
                lane, work = self._action(command)
                self._lane(lane, self._answered(command.token, work))

    def _action(self, command: _Action) -> tuple[str, Coroutine[Any, Any, Position | None]]:
        """The lane and the work of a command that is answered as done or failed."""
        data = self._hands.data
        match command:
            case do.FinishData():
                return "data", data.finish(command.epoch, accept_loss=command.accept_data_loss)
            case do.Flush():
                return "barriers", self._flush(command)
            case do.JoinBarrier():
                return "barriers", data.capture_barrier(_BARRIER_S)
            case do.StartServices() | do.StopServices() | do.RestartService():
                return "services", self._on_services(command)
            case do.TakeVips():
                return "vips", self._take(command)
            case do.DropVips():
                return "vips", self._drop()
            case do.ArmWatchdog():
                return "watchdog", self._arm(command.deadline_ms)
            case _:
                assert_never(command)

    def _lane(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self._lanes[name].put_nowait(work)

    async def settled(self, lane: str) -> None:
        """Returns when everything is done that was put into this lane before."""
        done = asyncio.Event()

        async def last() -> None:
            done.set()

        self._lane(lane, last())
        await done.wait()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        assert self._loose is not None, "the executor does not run"
        return self._loose.create_task(work)

    async def _answered(self, token: int, work: Coroutine[Any, Any, Position | None]) -> None:
        """Do the work and answer the token, whatever comes of it."""
        try:
            position = await work
        except StaqraftError as error:
            self._log_failure(str(error))
            self._post(on.ActionFailed(now_ms=self._now_ms(), token=token, detail=str(error)))
        else:
            answer = on.ActionDone(now_ms=self._now_ms(), token=token, position=position or ORIGIN)
            self._post(answer)

    def _log_failure(self, text: str) -> None:
        """Letting go is tried four times a second: the log is not filled with that."""
        now_ms = self._now_ms()
        said = {t: at_ms for t, at_ms in self._said.items() if now_ms - at_ms < _SAID_AGAIN_MS}
        if text not in said:
            logger.warning("group %s: %s", self._group, text)
        self._said = {text: now_ms, **said}

    # --- Raft -------------------------------------------------------------------------------------

    async def _propose(self, command: do.Propose) -> None:
        proposal = replace(command.proposal, wall_ms=wall_ms())
        try:
            outcome = await self._hands.raft.propose(proposal)
        except (OutcomeUnknown, ConsensusError) as error:
            self._post(
                on.ProposalUnknown(now_ms=self._now_ms(), token=command.token, detail=str(error))
            )
            return
        match outcome:
            case Accepted():
                event: on.Event = on.ProposalAccepted(now_ms=self._now_ms(), token=command.token)
            case Refused():
                name = type(proposal).__name__
                logger.info("group %s: %s refused: %s", self._group, name, outcome.reason)
                event = on.ProposalRefused(
                    now_ms=self._now_ms(), token=command.token, reason=outcome.reason
                )
            case _:
                assert_never(outcome)
        self._post(event)

    # --- fencing ----------------------------------------------------------------------------------

    async def _fence(self, command: do.FenceLoser) -> None:
        answer = await self._hands.fence.fence(self._group, command.epoch, command.loser, _FENCE_MS)
        now_ms = self._now_ms()
        self._tally.fenced(FenceRung.CONFIRMED, proved=answer.let_go)
        if answer.let_go:
            self._post(on.ActionDone(now_ms=now_ms, token=command.token, detail=answer.detail))
        else:
            self._post(on.ActionFailed(now_ms=now_ms, token=command.token, detail=answer.detail))

    def _turn_off(self, command: do.TurnOff) -> None:
        task = self._spawn(self._turned_off(command))
        self._turning_off[command.token] = task
        task.add_done_callback(lambda _: self._turning_off.pop(command.token, None))

    async def _turned_off(self, command: do.TurnOff) -> None:
        """Cancelled when another proof came first: what the agent has not done, it does not do."""
        token, loser = command.token, command.loser
        logger.warning("group %s: %s is turned off by its fence devices", self._group, loser)
        try:
            detail = await self._hands.devices.turn_off(loser)
        except StaqraftError as error:
            self._tally.fenced(FenceRung.DEVICE, proved=False)
            logger.error("group %s: %s: %s", self._group, loser, error)  # noqa: TRY400 - a sentence
            self._post(on.ActionFailed(now_ms=self._now_ms(), token=token, detail=str(error)))
        else:
            self._tally.fenced(FenceRung.DEVICE, proved=True)
            self._post(on.ActionDone(now_ms=self._now_ms(), token=token, detail=detail))

    async def _go_alone(self, command: do.GoAlone) -> None:
        try:
            await self._hands.raft.go_alone(command.rung, command.contacts)
        except ConsensusError as error:
            logger.warning("group %s: %s", self._group, error)
            event: on.Event = on.ActionFailed(
                now_ms=self._now_ms(), token=command.token, detail=str(error)
            )
        else:
            event = on.ActionDone(now_ms=self._now_ms(), token=command.token)
        self._post(event)

    def expect_fence_answer(self, token: int) -> asyncio.Future[tuple[bool, str]]:
        """The answer that the core will give to the `FenceRequested` with this token."""
        future: asyncio.Future[tuple[bool, str]] = asyncio.get_running_loop().create_future()
        self._fence_answers[token] = future
        future.add_done_callback(lambda _: self._fence_answers.pop(token, None))
        return future

    def _answer_fence(self, command: do.AnswerFence) -> None:
        future = self._fence_answers.get(command.token)
        if future is not None and not future.done():
            future.set_result((command.let_go, command.detail))

    # --- data -------------------------------------------------------------------------------------

    async def _start_capture(self, command: do.StartCapture) -> None:
        hands = self._hands
        try:
            continued = await hands.data.start_capture(
                command.epoch, command.epoch_starts, self._node
            )
        except StaqraftError as error:
            detail = str(error)
            self._post(on.ActionFailed(now_ms=self._now_ms(), token=command.token, detail=detail))
            return
        event = on.ActionDone if continued else on.EpochNotContinuable
        self._post(event(now_ms=self._now_ms(), token=command.token))

    async def _follow(self, command: do.FollowActive) -> None:
        try:
            await self._hands.data.follow(command.epoch, command.active, command.epoch_starts)
        except StaqraftError as error:
            # The wanted role is kept and told again when a process was restarted; asked again too.
            logger.warning("group %s: cannot follow %s yet: %s", self._group, command.active, error)

    async def _flush(self, command: do.Flush) -> Position:
        position = await self._hands.data.capture_barrier(_FLUSH_S)
        await self._hands.data.wait_acknowledged(command.target, position, _FLUSH_S)
        return position

    # --- services ---------------------------------------------------------------------------------

    def _on_services(
        self, command: do.StartServices | do.StopServices | do.RestartService
    ) -> Coroutine[Any, Any, None]:
        match command:
            case do.StartServices():
                return self._services.start()
            case do.StopServices():
                return self._services.stop()
            case do.RestartService(service=name):
                return self._services.restart(name)
            case _:
                assert_never(command)

    def services_running(self) -> bool:
        """No service of this group is known to be down."""
        return all(h.state is not State.FAILED for h in self._hands.services.health)

    # --- addresses --------------------------------------------------------------------------------

    async def _take(self, command: do.TakeVips) -> None:
        until_ms = max(command.deadline_ms, self._hold_until_ms)
        held = await self._hands.vips.hold(until_ms, command.admit)
        addresses = await self._hands.vips.held()
        if addresses and held.lifetime_s == 0:
            raise ActionError("too little of the lease is left to take the addresses")
        self.vip_problem = ""
        # All of them, also those that outlived a restart of this daemon: they are repeated, too.
        if held.admits is Admission.OPEN:
            self._hands.announcer.announce(tuple(addresses))

    async def _check(self, command: do.CheckVips) -> None:
        conflicts = self._hands.conflicts
        claims = Claims() if conflicts is None else await conflicts.before_taking()
        self._post(
            on.VipsChecked(
                now_ms=self._now_ms(),
                token=command.token,
                others=claims.others,
                former=claims.former,
            )
        )

    async def _hold(self, command: do.HoldVips) -> None:
        try:
            if command.only_if_held and not all((await self._hands.vips.held()).values()):
                return
            held = await self._hands.vips.hold(max(command.deadline_ms, self._hold_until_ms))
        except StaqraftError as error:
            if str(error) != self.vip_problem:
                logger.error("group %s: %s", self._group, error)  # noqa: TRY400 - a sentence
            self.vip_problem = str(error)
            return
        self.vip_problem = ""
        if held.added and held.admits is Admission.OPEN:
            logger.warning(
                "group %s: the kernel had taken addresses away; back and announced: %s",
                self._group,
                ", ".join(str(vip.address) for vip in held.added),
            )
            self._hands.announcer.announce(held.added)

    def end_what_is_over(self) -> None:
        """Addresses of an earlier life whose lease is over go; after whatever is under way."""
        self._lane("vips", self._end_what_is_over())

    async def _end_what_is_over(self) -> None:
        try:
            ended = await self._hands.vips.end_what_is_over()
        except StaqraftError as error:
            if str(error) != self.vip_problem:
                logger.error("group %s: %s", self._group, error)  # noqa: TRY400 - a sentence
            self.vip_problem = str(error)
            return
        if ended:
            logger.warning(
                "group %s: the lease ran out while this machine slept or staqraftd was down;"
                " removed: %s",
                self._group,
                ", ".join(str(vip.address) for vip in ended),
            )

    async def _drop(self) -> None:
        await self._hands.announcer.stop()
        await self._hands.vips.drop()
        self.vip_problem = ""

    # --- the watchdog -----------------------------------------------------------------------------

    async def _arm(self, deadline_ms: int) -> None:
        watchdog = self._hands.watchdog
        assert watchdog is not None, "a watchdog that is not configured"
        await _in_its_thread(watchdog.arm, self._group, deadline_ms)
        self.watchdog_problem = ""

    async def _tell_watchdog(
        self, command: do.KickWatchdog | do.LeaveWatchdog | do.DisarmWatchdog
    ) -> None:
        """What fails is tried again with the next renewal, or the machine is reset."""
        watchdog = self._hands.watchdog
        assert watchdog is not None, "a watchdog that is not configured"
        try:
            match command:
                case do.KickWatchdog(deadline_ms=deadline_ms):
                    await _in_its_thread(watchdog.kick, self._group, deadline_ms)
                case do.LeaveWatchdog():
                    grace_ms = self._hands.stop_ms + _LEAVING_MS
                    await _in_its_thread(watchdog.leave, self._group, grace_ms)
                case do.DisarmWatchdog():
                    await _in_its_thread(watchdog.disarm, self._group)
                case _:
                    assert_never(command)
        except StaqraftError as error:
            if str(error) != self.watchdog_problem:
                logger.error("group %s: %s", self._group, error)  # noqa: TRY400 - a sentence
            self.watchdog_problem = str(error)
        else:
            self.watchdog_problem = ""
