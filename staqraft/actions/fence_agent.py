"""Runs ClusterLabs fence agents: no argument, name=value lines on stdin, an exit code.

`action=` is always sent: without it agents reboot. What an agent says is cut, put on one line and
freed of the secrets among its options before anybody sees it. Results are whatever `fence_plan`
makes of the exit codes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from staqraft.actions.fence_plan import Answer, Call, Plan, Verdict, look, turn_off, turn_on
from staqraft.actions.process import Finished, run
from staqraft.actions.vip import boottime_ms
from staqraft.config.agents import AGENT_OUTPUT_MOST, BadAgent, Metadata, hide_secrets, parse
from staqraft.config.schema import FenceDevice, NodeFencing
from staqraft.errors import ActionError
from staqraft.model import NodeId

logger = logging.getLogger(__name__)

METADATA_MS = 10_000


class Runner(Protocol):
    """Runs a command to its end or time limit."""

    async def __call__(
        self, argv: Sequence[str], timeout_ms: int, *, stdin: bytes, keep: int, errors: bool
    ) -> Finished:
        """As `process.run`."""


class FenceDevices:
    """The devices by which this node turns others off. One action on a node at a time."""

    def __init__(
        self,
        fencing: Mapping[NodeId, NodeFencing],
        *,
        run: Runner = run,
        clock: Callable[[], int] = boottime_ms,
    ) -> None:
        """`clock` is in milliseconds and never goes back."""
        self._fencing = fencing
        self._run = run
        self._clock = clock
        self._metadata: dict[Path, Metadata] = {}
        self._busy = {node: asyncio.Lock() for node in fencing}
        self._looking: dict[NodeId, asyncio.Task[Verdict]] = {}

    async def turn_off(self, node: NodeId) -> str:
        """Returns what proves that `node` is off; ActionError when that could not be made sure."""
        return await self._power(node, turn_off)

    async def turn_on(self, node: NodeId) -> str:
        """Returns what proves that `node` is on; ActionError when that could not be made sure."""
        return await self._power(node, turn_on)

    async def _power(self, node: NodeId, plan: Callable[[tuple[FenceDevice, ...]], Plan]) -> str:
        how = self._fencing.get(node)
        if how is None:
            raise ActionError(
                f"there is no fence device for {node}: add one under 'fencing' in the configuration"
            )
        async with self._busy[node]:
            await self._stop_looking(node)
            verdict = await self._carry_out(node, plan(how.devices))
        if not verdict.proved:
            raise ActionError(verdict.text)
        return verdict.text

    async def look(self, node: NodeId, device: FenceDevice) -> str | None:
        """Why the device could not turn `node` off now; "" if it could, None if it is at work.

        Turning off or on never waits for a look: the look ends, and nothing is known.
        """
        if self._busy[node].locked() or node in self._looking:
            return None
        looking = asyncio.create_task(self._look(node, device))
        self._looking[node] = looking
        try:
            verdict = await asyncio.shield(looking)
        except asyncio.CancelledError:
            if not looking.cancelled():  # it is this task that is to end
                looking.cancel()
                raise
            return None
        finally:
            del self._looking[node]
        return verdict.text

    async def _look(self, node: NodeId, device: FenceDevice) -> Verdict:
        known = await self._known(device)
        actions = known.actions if known is not None else frozenset[str]()
        return await self._carry_out(node, look(device, actions))

    async def _stop_looking(self, node: NodeId) -> None:
        looking = self._looking.get(node)
        if looking is not None:
            looking.cancel()
            await asyncio.wait({looking})

    async def _carry_out(self, node: NodeId, plan: Plan) -> Verdict:
        try:
            call = next(plan)
            while True:
                call = plan.send(await self._call(node, call))
        except StopIteration as end:
            verdict: Verdict = end.value
            return verdict

    async def _call(self, node: NodeId, call: Call) -> Answer:
        begun_ms = self._clock()
        device = call.device
        what = {"node": node, "device": device.name, "action": call.action}
        seen = logging.DEBUG if call.action == "monitor" else logging.INFO
        logger.log(seen, "fence agent runs", extra=what)
        request = _request(node, call, await self._known(device))
        finished = await self._run(
            (str(device.agent),), call.timeout_ms, stdin=request, keep=_KEPT, errors=True
        )
        answer = Answer(
            code=finished.code,
            took_ms=self._clock() - begun_ms,
            said=_story(call, finished),
        )
        logger.log(seen, "fence agent: %s", answer.said, extra=what)
        return answer

    async def _known(self, device: FenceDevice) -> Metadata | None:
        """What the agent takes; None when it does not say."""
        if device.agent not in self._metadata:
            try:
                self._metadata[device.agent] = await ask_metadata(device.agent, self._run)
            except BadAgent as error:
                logger.warning(
                    "the fence agent %s does not say what it takes: %s", device.agent, error
                )
                return None
        return self._metadata[device.agent]


async def ask_metadata(agent: Path, run: Runner = run) -> Metadata:
    """What the agent takes and can do, by its own word. BadAgent when it does not say."""
    finished = await run(
        (str(agent),),
        METADATA_MS,
        stdin=b"action=metadata\n",
        keep=AGENT_OUTPUT_MOST,
        errors=False,
    )
    if finished.problem:
        raise BadAgent(f"it cannot be executed: {finished.problem}")
    if finished.code is None:
        raise BadAgent(f"it did not end within {METADATA_MS // 1000} s and was killed")
    return parse(finished.printed)


# Of what an agent says, so much is read and the end shown: a secret that is cut in two at the
# beginning of the one is not in the other.
_KEPT = 8192
_SHOWN = 500


def _request(node: NodeId, call: Call, known: Metadata | None) -> bytes:
    """The lines for the agent's stdin."""
    device = call.device
    lines = [f"action={call.action}", f"nodename={node}"]
    if known is None or "port" in known.parameters or "plug" in known.parameters:
        name = "port" if known is not None and "port" in known.parameters else "plug"
        lines.append(f"{name}={device.plug}")
    lines += [f"{name}={value}" for name, value in device.options]
    return "".join(f"{line}\n" for line in lines).encode()


def _story(call: Call, finished: Finished) -> str:
    agent = call.device.agent.name
    if finished.problem:
        return f"{call.device.agent} cannot be executed: {finished.problem}"
    if finished.code is None:
        ending = f"{agent} did not end within {call.timeout_ms / 1000:g} s and was killed"
    else:
        ending = f"{agent} ended with exit status {finished.code}"
    said = hide_secrets(finished.output, call.device.options)[-_SHOWN:]
    return f'{ending}, saying "{said}"' if said else ending
