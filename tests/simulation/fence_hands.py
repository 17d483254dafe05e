"""How a control process fences, and is asked to let go: mirrors `staqraft.daemon`'s fence calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from staqraft.actions.fence_plan import Verdict
from staqraft.decision import commands as do
from staqraft.decision import events as on
from staqraft.model import Epoch, NodeId

if TYPE_CHECKING:
    from simulation.daemon import Daemon

_FENCE_MS: Final = 2000
_FENCE_ANSWER_MS: Final = 10_000


class FenceHands:
    """The calls of one life of a daemon to others, and theirs to it."""

    def __init__(
        self,
        daemon: Daemon,
        *,
        ask_loser: Callable[[NodeId, Epoch, Callable[[bool], None]], None],
        turn_off: Callable[[NodeId, Callable[[Verdict], None]], int],
        stop_agent: Callable[[int], None],
    ) -> None:
        self._daemon = daemon
        self._ask_loser = ask_loser
        self._turn_off = turn_off
        self._stop_agent = stop_agent
        self._agents: dict[int, int] = {}  # the number of the agent program, by token
        self._token = 0
        self._answers: dict[int, Callable[[bool], None]] = {}

    def ask(self, command: do.FenceLoser) -> None:
        """The loser is asked to let go: it answers, or in time it has not."""
        daemon, token, waiting = self._daemon, command.token, [command]

        def answered(let_go: bool) -> None:
            if waiting and let_go:
                waiting.clear()
                daemon.tell(on.ActionDone(now_ms=daemon.now_ms, token=token))

        def over() -> None:
            if waiting:
                waiting.clear()
                late = on.ActionFailed(now_ms=daemon.now_ms, token=token, detail="no answer")
                daemon.tell(late)

        self._ask_loser(command.loser, command.epoch, answered)
        daemon.after_ms(_FENCE_MS, over)

    def let_go(self, epoch: Epoch, answer: Callable[[bool], None]) -> None:
        """Another node acquired `epoch`; the answer may come late or never."""
        self._token -= 1
        token = self._token
        self._answers[token] = answer

        def over() -> None:
            self._answers.pop(token, None)

        self._daemon.after_ms(_FENCE_ANSWER_MS, over)
        event = on.FenceRequested(now_ms=self._daemon.now_ms, epoch=epoch, token=token)
        self._daemon.tell(event)

    def answer(self, token: int, *, let_go: bool) -> None:
        """Who asked is told, if it still waits."""
        if (answer := self._answers.pop(token, None)) is not None:
            answer(let_go)

    def turn_off(self, command: do.TurnOff) -> None:
        """A fence agent is started; its verdict comes when it is done."""
        token = command.token

        def done(verdict: Verdict) -> None:
            self._agents.pop(token, None)
            event = on.ActionDone if verdict.proved else on.ActionFailed
            self._daemon.process.do(
                lambda: self._daemon.tell(
                    event(now_ms=self._daemon.now_ms, token=token, detail=verdict.text)
                )
            )

        self._agents[token] = self._turn_off(command.loser, done)

    def stop_turning_off(self, token: int) -> None:
        """The agent is killed, wherever it is."""
        self._stop_agent(self._agents.pop(token, 0))
