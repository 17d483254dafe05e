"""The end of a trees process, while it is asked."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import grpc
import grpc.aio
import pytest

from fakes.data_pair import DataNode
from fakes.ports import free_port
from fakes.records import MAIL
from fakes.stream_pair import A
from staqraft.daemon.trees_worker import running
from staqraft.wire.v1 import data_worker_pb2 as pb
from staqraft.wire.v1 import data_worker_pb2_grpc as pb_grpc


async def test_who_is_being_answered_has_the_answer_and_who_asks_later_finds_nobody(
    tmp_path: Path,
) -> None:
    node = DataNode(tmp_path, A, free_port())
    reading, ends = threading.Event(), threading.Event()
    life = running(node.config, node.config.groups[MAIL])
    worker = await life.__aenter__()

    def slow() -> int:
        reading.set()
        assert ends.wait(60)
        return worker.common.index.totals(MAIL).objects

    asked = asyncio.create_task(worker.common.read(slow))
    assert await asyncio.to_thread(reading.wait, 60)
    socket = f"unix:{worker.config.worker_socket(MAIL, 'trees')}"
    async with grpc.aio.insecure_channel(socket) as channel:
        stub = pb_grpc.TreesWorkerServiceStub(channel)  # type: ignore[no-untyped-call]
        await stub.GetTreesStatus(pb.GetTreesStatusRequest(), timeout=60)
        ending = asyncio.create_task(life.__aexit__(None, None, None))

        async def ask_until_nobody_answers() -> None:
            # Whoever asks in the very instant of the end is told "cancelled".
            while not ending.done():
                try:
                    await stub.GetTreesStatus(pb.GetTreesStatusRequest(), timeout=60)
                except grpc.aio.AioRpcError as error:
                    if error.code() is not grpc.StatusCode.CANCELLED:
                        raise

        try:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await ask_until_nobody_answers()
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            assert not ending.done(), "somebody is being answered"
        finally:
            ends.set()
            await ending
    assert await asked == 0
