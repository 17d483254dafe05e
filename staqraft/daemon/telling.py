"""Looks at what happens on this node and in the cluster, and tells the configured receivers."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from staqraft.api.concerns import concerns
from staqraft.config.notify import SEVERITIES, Receiver
from staqraft.config.schema import Config
from staqraft.daemon.clock import wall_ms
from staqraft.errors import ActionError
from staqraft.model import ClusterEvent
from staqraft.notify.message import Message, Severity
from staqraft.notify.outbox import Backlog, Outbox
from staqraft.notify.send import Sender
from staqraft.notify.watch import Watch
from staqraft.wire.v1 import admin_pb2

logger = logging.getLogger(__name__)

_LOOK_S = 2.0
Status = Callable[[], Awaitable[admin_pb2.GetStatusResponse]]
Count = Callable[[str, str], None]  # receiver, result


@dataclass(frozen=True, slots=True)
class _Line:
    """A receiver, and what it has still to be told."""

    receiver: Receiver
    outbox: Outbox
    sender: Sender
    news: asyncio.Event


class Telling:
    """Runs beside everything else: nothing ever waits for it."""

    def __init__(
        self,
        config: Config,
        events: Callable[[], tuple[ClusterEvent, ...]],
        status: Status,
        *,
        count: Count,
        now_ms: Callable[[], int],
        look_s: float = _LOOK_S,
    ) -> None:
        """`events` is the history as this node has it now; `look_s`: how often it is looked at."""
        self._config = config
        self._events = events
        self._look_s = look_s
        self._status = status
        self._count = count
        self._now_ms = now_ms
        self._note = _ToldNote(config.state_dir / "notify.json")
        self._lines = [
            _Line(
                receiver,
                Outbox(
                    severity=Severity(SEVERITIES.index(receiver.severity)),
                    most_per_hour=receiver.most_per_hour,
                    retry_for_ms=receiver.retry_for_ms,
                ),
                Sender(receiver),
                asyncio.Event(),
            )
            for receiver in config.notify
        ]

    async def run(self) -> None:
        """Tell until cancelled; returns at once when nobody is to be told."""
        if not self._lines:
            return
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._look())
                for line in self._lines:
                    tasks.create_task(self._deliver(line))
        finally:
            for line in self._lines:
                line.sender.close()

    async def test(self, requested_by: str) -> list[tuple[str, str]]:
        """Send a message to every receiver now: its name, and why it did not arrive, or ""."""
        message = Message(
            cluster=self._config.cluster,
            node=self._config.node,
            group=None,
            kind="test",
            severity=Severity.INFO,
            text=f"this is a test that {requested_by} asked for on {self._config.node}",
            wall_ms=wall_ms(),
        )
        answers = await asyncio.gather(*(self._try(line, message) for line in self._lines))
        names = (line.receiver.name for line in self._lines)
        return list(zip(names, answers, strict=True))

    def outboxes(self) -> dict[str, Backlog]:
        """For each receiver: what has not arrived."""
        return {line.receiver.name: line.outbox.backlog for line in self._lines}

    # --- looking --------------------------------------------------------------------------------

    async def _look(self) -> None:
        watch = Watch(self._config.cluster, self._config.node, self._note.read())
        while True:
            now_ms = self._now_ms()
            messages = watch.events(self._events())
            found = concerns(await self._status())
            messages += watch.complaints(found, now_ms=now_ms, wall_ms=wall_ms())
            for message in messages:
                for line in self._lines:
                    line.outbox.put(message, now_ms)
                    line.news.set()
            if watch.told_index is not None and not any(len(line.outbox) for line in self._lines):
                self._note.write(watch.told_index)
            await asyncio.sleep(self._look_s)

    # --- delivering -----------------------------------------------------------------------------

    async def _deliver(self, line: _Line) -> None:
        given_up = 0
        while True:
            message = line.outbox.next(self._now_ms())
            if line.outbox.dropped > given_up:
                text = "%s was not told %d messages, which could not be delivered for too long"
                logger.error(text, line.receiver.name, line.outbox.dropped - given_up)
                given_up = line.outbox.dropped
            if message is None:
                await self._rest(line)
                continue
            problem = await self._try(line, message)
            now_ms = self._now_ms()
            if not problem:
                line.outbox.sent(now_ms)
                continue
            pause_ms = line.outbox.failed(now_ms)
            logger.warning(
                "%s could not be told (%s), it is tried again in %d s: %s",
                line.receiver.name,
                problem,
                pause_ms // 1000,
                message.subject,
            )

    async def _rest(self, line: _Line) -> None:
        """Until there is news, or it is time for another try."""
        wake_ms = line.outbox.wake_ms(self._now_ms())
        pause_s = None if wake_ms is None else max(0, wake_ms - self._now_ms()) / 1000
        try:
            async with asyncio.timeout(pause_s):
                await line.news.wait()
        except TimeoutError:
            return
        line.news.clear()

    async def _try(self, line: _Line, message: Message) -> str:
        """Why it did not arrive; "" if it did."""
        try:
            await line.sender.send(message)
        except ActionError as error:
            self._count(line.receiver.name, "failed")
            return str(error)
        self._count(line.receiver.name, "sent")
        return ""


class _ToldNote:
    """How far the history was told, on disk. Lost, it begins with what comes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: int | None = None

    def read(self) -> int | None:
        try:
            told = json.loads(self._path.read_text(encoding="utf-8"))["told"]
            self._written = int(told)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning(
                "%s cannot be read, telling begins with what comes: %s", self._path, error
            )
            return None
        return self._written

    def write(self, told: int) -> None:
        if told == self._written:
            return
        scratch = self._path.with_name(f"{self._path.name}.new")
        try:
            scratch.write_text(json.dumps({"told": told}), encoding="utf-8")
            scratch.replace(self._path)
        except OSError as error:
            logger.warning("%s cannot be written: %s", self._path, error)
            return
        self._written = told
