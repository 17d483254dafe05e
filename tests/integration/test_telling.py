"""The daemon's part of telling people: what it sees goes to its receivers, once and in time."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

from fakes.configs import write_config
from fakes.receivers import Hook, webhook
from fakes.statuses import healthy_status
from fakes.stream_pair import until
from staqraft.config.loader import load
from staqraft.config.notify import Receiver, Webhook
from staqraft.daemon.telling import Telling
from staqraft.model import ClusterEvent, ClusterRecord, Epoch, GroupId, NodeId
from staqraft.wire.v1 import admin_pb2

A = NodeId("a")


def event(index: int) -> ClusterEvent:
    return ClusterEvent(
        index=index, wall_ms=0, group=GroupId("default"), node=A, kind="takeover",
        text=f"event {index}", epoch=Epoch(1),
    )  # fmt: skip


@dataclass
class Scene:
    """A node whose history and clock are the test's."""

    base: Path
    hook: Hook
    raft: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(state=ClusterRecord()))
    counted: list[tuple[str, str]] = field(default_factory=list)

    def happens(self, *indices: int) -> None:
        self.raft.state = ClusterRecord(events=tuple(event(index) for index in indices))

    @contextlib.asynccontextmanager
    async def telling(self) -> AsyncIterator[Telling]:
        url = f"http://127.0.0.1:{self.hook.port}/"
        config = replace(
            load(write_config(self.base)),
            notify=(Receiver(name="chat", by=Webhook(url=url)),),
            state_dir=self.base,
        )

        async def status() -> admin_pb2.GetStatusResponse:
            return healthy_status()

        told = Telling(
            config,
            lambda: self.raft.state.events,
            status,
            count=lambda *what: self.counted.append(what),
            now_ms=lambda: round(asyncio.get_running_loop().time() * 1000),
        )
        running = asyncio.create_task(told.run())
        try:
            yield told
        finally:
            running.cancel()
            await asyncio.wait({running})

    async def arrived(self, count: int) -> list[str]:
        async with asyncio.timeout(60):
            while len(self.hook.posts) < count:
                self.hook.asked.clear()
                await self.hook.asked.wait()
        return [body["text"] for _, body in self.hook.posts]

    async def noted(self, index: int) -> None:
        """Until it is on disk how far the history was told."""
        path = self.base / "notify.json"

        async def there() -> bool:
            return path.exists() and json.loads(path.read_text())["told"] == index

        await until(there, f"it is noted that event {index} was told")

    async def counts(self, result: str) -> None:
        """Until a try has ended like this."""

        async def there() -> bool:
            return ("chat", result) in self.counted

        await until(there, f"a try has {result}")


async def test_each_event_is_told_once_also_over_a_restart(tmp_path: Path) -> None:
    async with webhook(Hook()) as hook:
        scene = Scene(tmp_path, hook)
        scene.happens(1, 2)
        async with scene.telling():
            await scene.noted(2)  # the past is past
            scene.happens(1, 2, 3)
            assert await scene.arrived(1) == ["event 3"]
            await scene.noted(3)
        scene.happens(1, 2, 3, 4)
        async with scene.telling():
            assert await scene.arrived(2) == ["event 3", "event 4"]
            await scene.noted(4)
        assert set(scene.counted) == {("chat", "sent")}


async def test_what_was_not_told_before_a_restart_is_told_after_it(tmp_path: Path) -> None:
    refusing = Hook(b"HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n")
    async with webhook(refusing) as hook:
        scene = Scene(tmp_path, hook)
        scene.happens(1)
        async with scene.telling():
            await scene.noted(1)
            scene.happens(1, 2)
            await scene.counts("failed")
        hook.answer, hook.posts[:] = Hook.answer, []
        async with scene.telling():
            assert await scene.arrived(1) == ["event 2"]


async def test_a_test_message_says_where_it_did_not_arrive(tmp_path: Path) -> None:
    async with webhook(Hook()) as hook, Scene(tmp_path, hook).telling() as told:
        assert await told.test("lea") == [("chat", "")]
        assert "a test that lea asked for" in hook.posts[0][1]["text"]
    async with Scene(tmp_path, hook).telling() as told:  # and nobody listens any more
        ((name, problem),) = await told.test("lea")
        assert (name, "refused" in problem) == ("chat", True)
