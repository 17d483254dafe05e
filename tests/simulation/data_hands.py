"""What a control process has its data worker do: mirrors `staqraft.daemon.executor`'s data lane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from simulation.lanes import Done
from simulation.worker import Worker
from staqraft.decision import commands as do
from staqraft.decision import events as on
from staqraft.errors import ActionError
from staqraft.model import Position

if TYPE_CHECKING:
    from simulation.daemon import Daemon

_RETRY_MS: Final = 200
_WAIT_MS: Final = 10_000


class DataHands:
    """The data side of one life of a daemon."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def _worker(self) -> Worker:
        worker = self._daemon.worker_of()
        if worker is None or worker.process.stopped:
            raise ActionError("the data worker does not answer")
        return worker

    def finish(self, *, accept_loss: bool) -> Position:
        self._daemon.capture_broken = False
        return self._worker().finish(accept_loss=accept_loss)

    def start_capture(self, command: do.StartCapture) -> None:
        event: on.Event
        try:
            self._daemon.trouble.strike("StartCapture")
            continued = self._worker().capture(command.epoch, command.epoch_starts, self._daemon.me)
        except ActionError as error:
            event = on.ActionFailed(
                now_ms=self._daemon.now_ms, token=command.token, detail=str(error)
            )
        else:
            kind = on.ActionDone if continued else on.EpochNotContinuable
            event = kind(now_ms=self._daemon.now_ms, token=command.token)
        self._daemon.tell(event)

    def follow(self, command: do.FollowActive) -> None:
        worker = self._daemon.worker_of()
        if worker is None or worker.process.stopped:
            # It is told again when it answers; a newer wish may have come meanwhile.
            self._daemon.after_ms(_RETRY_MS, lambda: self._follow_again(command))
            return
        worker.follow(command.epoch, command.active, command.epoch_starts)

    def _follow_again(self, command: do.FollowActive) -> None:
        if self._daemon.core.record.epoch == command.epoch and not self._daemon.core.mine:
            self._daemon.lane("data", 10, lambda: self.follow(command))

    def capture_barrier(self) -> Position:
        position = self._worker().barrier()
        if position is None:
            raise ActionError("nothing is captured here")
        return position

    def flush(self, command: do.Flush, done: Done) -> None:
        """A barrier, and the target's acknowledgement of it."""
        deadline_ms = self._daemon.clock.boot_ms() + _WAIT_MS

        def finish(event: on.Event) -> None:
            self._daemon.tell(event)
            done()

        def failed(detail: str) -> None:
            finish(on.ActionFailed(now_ms=self._daemon.now_ms, token=command.token, detail=detail))

        def begin() -> None:
            if "Flush" in self._daemon.trouble.failing:
                failed("it fails (simulated)")
                return
            try:
                position = self.capture_barrier()
            except ActionError as error:
                failed(str(error))
            else:
                look(position)

        def look(position: Position) -> None:
            worker = self._daemon.worker_of()
            if worker is not None and worker.acknowledged(position):
                finish(
                    on.ActionDone(
                        now_ms=self._daemon.now_ms, token=command.token, position=position
                    )
                )
            elif self._daemon.clock.boot_ms() >= deadline_ms:
                failed("the target has not acknowledged in time")
            else:
                self._daemon.after_ms(10, lambda: look(position))

        self._daemon.after_ms(self._daemon.took_ms(4), begin)
