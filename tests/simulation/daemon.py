"""A replica's control process: `staqraft.daemon`'s loop, executor and watch in virtual time.

The decisions are `staqraft.decision.step`'s, the addresses `VipHolder`'s; what is mirrored here is
asyncio only: one event at a time, stamped when it is taken; lanes in which commands wait for each
other; proposals that are repeated under one identity until their deadline.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, assert_never, cast

from simulation.data_hands import DataHands
from simulation.fence_hands import FenceHands
from simulation.kernel import VIP, FakeKernel
from simulation.lanes import Done, Lane, Services, Trouble
from simulation.machine import Clock, Process
from simulation.raft import RaftNode
from simulation.schedule import MS
from simulation.services import hands_of
from simulation.upgrades import release
from simulation.worker import Worker
from staqraft.actions.fence_plan import Verdict
from staqraft.actions.gate import Gate
from staqraft.actions.vip import VipHolder
from staqraft.actions.watchdog import Watchdog
from staqraft.consensus.codec import ID_BYTES, encode_proposal
from staqraft.consensus.ready import Failure, Ready
from staqraft.decision import commands as do
from staqraft.decision import events as on
from staqraft.decision import step as core
from staqraft.decision.phases import Phase
from staqraft.decision.state import GroupState, Settings
from staqraft.decision.wake import wake_ms
from staqraft.errors import ActionError
from staqraft.model import (
    ORIGIN,
    Accepted,
    ClusterRecord,
    Command,
    DataRole,
    Epoch,
    GroupId,
    GroupRecord,
    NodeId,
    Outcome,
    Position,
    ReadBarrier,
    Refused,
)

if TYPE_CHECKING:
    from simulation.checks import Checks

GROUP: Final = GroupId("default")
OTHER: Final = GroupId("other")
_WATCH_MS: Final = 250
_LEFTOVERS_MS: Final = 100
_PROPOSE_MS: Final = 2000
_BEGIN_MS: Final = 1000
_RETRY_MS: Final = 30
_BEGIN_RETRY_MS: Final = 200
_LANES: Final = ("data", "barriers", "vips", "services", "watchdog")
_LEAVING_MS: Final = 6000  # for services to stop, before the machine is reset

Answer = Outcome | str  # a sentence: why the outcome is not known


@dataclass(slots=True)
class Proposal:
    """One that waits; `answer` is called once."""

    data: bytes
    answer: Callable[[Answer], None]


class Daemon:
    """One life of the control process of a replica."""

    def __init__(
        self,
        *,
        settings: Settings,
        process: Process,
        clock: Clock,
        kernel: FakeKernel,
        raft: RaftNode,
        worker_of: Callable[[], Worker | None],
        rng: random.Random,
        checks: Checks,
        trouble: Trouble,
        services: Services,
        ask_loser: Callable[[NodeId, Epoch, Callable[[bool], None]], None],
        turn_off: Callable[[NodeId, Callable[[Verdict], None]], int],
        stop_agent: Callable[[int], None],
        watchdog: Watchdog | None,
    ) -> None:
        self.core = GroupState(settings=settings)
        self.me = settings.node
        self._group = settings.group
        self.process = process
        self.clock = clock
        self.raft = raft
        self.cluster: ClusterRecord = raft.member.record
        self.on_change: list[Callable[[], None]] = []  # of the core's state; each is called once
        self.probe: Callable[[], None] = lambda: None
        self.capture_broken = False  # the worker restarted, and cannot go on in this epoch
        self._kernel = kernel
        self.worker_of = worker_of
        self._rng = rng
        self._checks = checks
        self.trouble = trouble
        self._services = hands_of(self, services)
        self._watchdog = watchdog
        gate = cast("Gate", kernel) if settings.gate else None
        self._vips = VipHolder(
            self._group,
            [VIP],
            gate=gate,
            note=kernel.note,
            clock=kernel.clock_ms,
            kernel=lambda: kernel,
        )
        self._lanes = {
            name: Lane() for name in ("data", "barriers", "vips", "services", "watchdog")
        }
        self._data = DataHands(self)
        self.fence = FenceHands(self, ask_loser=ask_loser, turn_off=turn_off, stop_agent=stop_agent)
        self._pending: dict[bytes, Proposal] = {}
        self._begun = False
        self._seen: GroupRecord | None = None
        self._due_us = 0  # when the core wants to be asked
        self._alarm_us = 0  # the earliest alarm that is set
        self._begin()
        self._end_leftovers()
        self._set_alarm(clock.boot_ms())
        self.after_ms(rng.random() * _WATCH_MS, self._watch)

    @property
    def now_ms(self) -> int:
        """What this host's clock shows."""
        return self.clock.boot_ms()

    @property
    def true_now_us(self) -> int:
        """For those who judge."""
        return self._checks.now

    def after_ms(self, delay_ms: float, action: Callable[[], None]) -> None:
        self.process.after(self.clock.true_us(delay_ms), action)

    # --- the loop ---------------------------------------------------------------------------------

    def tell(self, event: on.Event) -> None:
        """One event, of this instant: here none waits in a queue."""
        before = self.core
        after, commands = core.step(before, event)
        self.core = after
        self._set_alarm(event.now_ms)
        if after is not before:
            self._checks.decided(self, before, event)
        self.keep()
        for command in commands:
            self._carry_out(command)
        if self.on_change and after is not before:
            waiting, self.on_change = self.on_change, []
            for act in waiting:
                act()

    def keep(self) -> None:
        """What the next life of this process may go on with; see `pair`."""

    def _set_alarm(self, now_ms: int) -> None:
        """One alarm, moved after each step; one that is set already looks again when it rings."""
        now = self._checks.now
        self._due_us = now + self.clock.true_us(wake_ms(self.core, now_ms) - now_ms)
        if self._alarm_us <= now or self._due_us < self._alarm_us:
            self._ring_at(self._due_us, now)

    def _ring_at(self, at_us: int, now: int) -> None:
        self._alarm_us = at_us
        self.process.after(at_us - now, self._rung)

    def _rung(self) -> None:
        now = self._checks.now
        if now >= self._due_us:
            self.tell(on.Tick(now_ms=self.now_ms))
        elif self._alarm_us <= now:
            self._ring_at(self._due_us, now)

    def _begin(self) -> None:
        def answered(answer: Answer) -> None:
            if isinstance(answer, str):
                self.after_ms(_BEGIN_RETRY_MS, self._begin)
                return
            self._begun = True
            self._observe()

        self.propose(ReadBarrier(node=self.me), answered, _BEGIN_MS)

    def _observe(self) -> None:
        record = self.cluster.groups.get(self._group, _NO_RECORD)
        if record is not self._seen and record != self._seen:
            self._seen = record
            self.tell(on.RecordObserved(now_ms=self.now_ms, record=record))

    def _watch(self) -> None:
        """What the data worker says of itself."""
        self.after_ms(_WATCH_MS, self._watch)
        self.probe()
        self._look_at_the_clock()
        worker = self.worker_of()
        if worker is None or worker.process.stopped:
            down = "the data worker does not answer"
            self.tell(on.DataReported(now_ms=self.now_ms, blockers=(down,)))
            return
        journal = worker.journal
        blockers = (journal.needs_reconcile,) if journal.needs_reconcile else ()
        self.tell(on.DataReported(now_ms=self.now_ms, blockers=blockers, last=journal.last))
        if self.capture_broken:
            self.tell(on.CaptureBroken(now_ms=self.now_ms))
        if worker.role is DataRole.ACTIVE:
            worker.heard()
            now = self._checks.now
            self.tell(
                on.PeerReported(
                    now_ms=self.now_ms,
                    peer=self.core.settings.peers[0],
                    following=worker.peer.following,
                    durable=worker.peer.durable,
                    silent_ms=(now - worker.peer.heard_us) // MS,
                )
            )

    def _look_at_the_clock(self) -> None:
        """Whether the time of a scheduled switchover has come."""
        entry = self.core.record.scheduled
        if entry is not None and self.core.phase is Phase.ACTIVE:
            late_ms = self.clock.wall_ms() - entry.at_ms
            if late_ms >= 0:
                schedule = entry.log_index
                self.tell(on.ScheduleDue(now_ms=self.now_ms, schedule=schedule, late_ms=late_ms))

    def close(self) -> None:
        """This life is over."""
        self._services.close()

    def shut_down(self) -> None:
        self.tell(on.ShutdownRequested(now_ms=self.now_ms))

    def say_farewell(self) -> None:
        """What is left to say when everything was handed over."""

    # --- Raft -------------------------------------------------------------------------------------

    def propose(
        self, command: Command, answer: Callable[[Answer], None], limit_ms: int = _PROPOSE_MS
    ) -> None:
        """`answer` is called once: with the outcome, or with why it is not known."""
        identity = self._rng.getrandbits(8 * ID_BYTES).to_bytes(ID_BYTES, "big")
        wall_ms = self._checks.now // MS
        with release(self.raft.format):
            spoken = self.raft.member.spoken()
            data = encode_proposal(identity, replace(command, wall_ms=wall_ms), spoken)
        self._pending[identity] = Proposal(data, answer)
        self.raft.submit(identity, data)

        def over() -> None:
            if (waiting := self._pending.pop(identity, None)) is not None:
                self.raft.withdraw(identity)
                waiting.answer("no majority confirmed it in time")

        self.after_ms(limit_ms, over)

    def raft_said(self, ready: Ready) -> None:
        """What a step of the member produced; the process runs."""
        if ready.record is not None:
            self.cluster = ready.record
            if self._begun:
                self._observe()
        for identity, outcome in ready.outcomes:
            if (waiting := self._pending.pop(identity, None)) is not None:
                waiting.answer(outcome)
        for identity, failure in ready.failures:
            if identity not in self._pending:
                continue
            if failure in {Failure.STORE_FULL, Failure.OUTDATED}:
                waiting = self._pending.pop(identity)
                self.raft.withdraw(identity)
                waiting.answer(failure.value)
            else:
                self.after_ms(_RETRY_MS, lambda i=identity: self._again(i))  # type: ignore[misc]

    def _again(self, identity: bytes) -> None:
        if (waiting := self._pending.get(identity)) is not None:
            self.raft.submit(identity, waiting.data)

    def _propose(self, command: do.Propose) -> None:
        def answered(answer: Answer) -> None:
            token = command.token
            match answer:
                case Accepted():
                    event: on.Event = on.ProposalAccepted(now_ms=self.now_ms, token=token)
                case Refused(reason=reason):
                    event = on.ProposalRefused(now_ms=self.now_ms, token=token, reason=reason)
                case _:
                    event = on.ProposalUnknown(now_ms=self.now_ms, token=token, detail=answer)
            self.tell(event)

        proposal = replace(command.proposal, wall_ms=self.clock.wall_ms())
        self._checks.proposed(self.me, proposal)
        self.propose(proposal, answered)

    # --- commands ---------------------------------------------------------------------------------

    def _carry_out(self, command: do.Command) -> None:  # noqa: C901, PLR0912 - a case a command
        match command:
            case do.Propose():
                self._propose(command)
            case do.FenceLoser():
                self.fence.ask(command)
            case do.TurnOff():
                self.fence.turn_off(command)
            case do.StopTurnOff(token=token):
                self.fence.stop_turning_off(token)
            case do.ArmWatchdog(token=token, deadline_ms=deadline_ms):
                self.act("watchdog", 1, command, token, lambda: self._arm(deadline_ms))
            case do.KickWatchdog() | do.LeaveWatchdog() | do.DisarmWatchdog():
                self.lane("watchdog", 0, lambda: self._tell_watchdog(command))
            case do.GoAlone():
                raise AssertionError("there is a witness here")
            case do.AnswerFence(token=token, let_go=let_go):
                self._checks.answered_fence(self, let_go=let_go)
                self.fence.answer(token, let_go=let_go)
            case do.HoldVips():
                self.lane("vips", 1, lambda: self._hold(command))
            case do.CheckVips(token=token):
                asking_ms = 30 + self.trouble.slow_ms + self.trouble.asking_ms
                self.after_ms(asking_ms, lambda: self._checked(token))
            case do.TakeVips(token=token):
                self.act("vips", 3, command, token, lambda: self._take(command))
            case do.DropVips(token=token):
                self.act("vips", 3, command, token, self._drop)
            case do.StartServices() | do.StopServices() | do.RestartService():
                self._services.carry_out(command)
            case do.FinishData(token=token, accept_data_loss=accept):
                self.act("data", 15, command, token, lambda: self._data.finish(accept_loss=accept))
            case do.StartCapture():
                self.lane("data", 10, lambda: self._data.start_capture(command))
            case do.FollowActive():
                self.lane("data", 10, lambda: self._data.follow(command))
            case do.JoinBarrier(token=token):
                self.act("barriers", 3, command, token, self._data.capture_barrier)
            case do.Flush():
                self.put("barriers", lambda done: self._data.flush(command, done))
            case _:
                assert_never(command)

    def took_ms(self, usual_ms: float) -> float:
        return usual_ms * (0.5 + self._rng.random()) + self.trouble.slow_ms * self._rng.random()

    def put(self, lane: str, job: Callable[[Done], None]) -> None:
        """As the next in this lane."""
        self._lanes[lane].put(job)

    def lane(self, lane: str, usual_ms: float, work: Callable[[], None]) -> None:
        def job(done: Done) -> None:
            def finished() -> None:
                work()
                done()

            self.after_ms(self.took_ms(usual_ms), finished)

        self._lanes[lane].put(job)

    def act(
        self,
        lane: str,
        usual_ms: float,
        command: do.Command,
        token: int,
        work: Callable[[], Position | None],
    ) -> None:
        """Work that is answered as done or failed."""

        def answered() -> None:
            try:
                self.trouble.strike(type(command).__name__)
                position = work()
            except ActionError as error:
                self._services.not_done(command)
                self.tell(on.ActionFailed(now_ms=self.now_ms, token=token, detail=str(error)))
            else:
                self.tell(
                    on.ActionDone(now_ms=self.now_ms, token=token, position=position or ORIGIN)
                )

        self.lane(lane, usual_ms, answered)

    # --- addresses --------------------------------------------------------------------------------

    def _with_kernel(self, work: Callable[[], None]) -> None:
        """A call that was held up held the process up: it goes on when the call is over."""
        kernel = self._kernel
        kernel.begin()
        try:
            work()
        finally:
            self._checks.address_set(self)
            if late_us := kernel.late_us:
                kernel.begin()
                self.process.stop()
                self._checks.later(late_us, self.process.resume)

    def _take(self, command: do.TakeVips) -> None:
        def work() -> None:
            if self._vips._hold(command.deadline_ms, command.admit).lifetime_s == 0:
                raise ActionError("too little of the lease is left to take the addresses")

        self._with_kernel(work)

    def _checked(self, token: int) -> None:
        """A third host has the address while taking it is to fail."""
        claimed = "TakeVips" in self.trouble.failing or self.trouble.claimed_us is not None
        others = ("a third host has it",) if claimed else ()
        self.tell(on.VipsChecked(now_ms=self.now_ms, token=token, others=others))

    def _hold(self, command: do.HoldVips) -> None:
        def work() -> None:
            if command.only_if_held and not all(self._vips._held().values()):
                return
            self._vips._hold(command.deadline_ms)

        try:
            self._with_kernel(work)
        except ActionError:
            self._checks.note("hold failed")

    def _end_leftovers(self) -> None:
        if self.core.phase in {Phase.STARTUP, Phase.RESUMING}:
            self.lane("vips", 1, self._end_what_is_over)
            self.after_ms(_LEFTOVERS_MS, self._end_leftovers)

    def _end_what_is_over(self) -> None:
        self._kernel.begin()
        try:
            self._vips._end_what_is_over()
        except ActionError:
            self._checks.note("leftovers stay")

    def _drop(self) -> None:
        self._kernel.begin()
        self._vips._let_go()

    # --- the watchdog -----------------------------------------------------------------------------

    def _arm(self, deadline_ms: int) -> None:
        assert self._watchdog is not None, "there is no watchdog here"
        self._watchdog.arm(self._group, deadline_ms)

    def _tell_watchdog(
        self, command: do.KickWatchdog | do.LeaveWatchdog | do.DisarmWatchdog
    ) -> None:
        assert self._watchdog is not None, "there is no watchdog here"
        match command:
            case do.KickWatchdog(deadline_ms=deadline_ms):
                self._watchdog.kick(self._group, deadline_ms)
            case do.LeaveWatchdog():
                self._watchdog.leave(self._group, _LEAVING_MS)
            case do.DisarmWatchdog():
                self._watchdog.disarm(self._group)


_NO_RECORD: Final = GroupRecord()
