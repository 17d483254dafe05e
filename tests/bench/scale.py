"""What a million files cost: memory and processor when idle, starts, and comparisons.

Two replicas' real data processes on file systems of their own, in memory. Their trees hold
`--files` small files, a hundred to a directory. Measured are the first capture; a first copy that
is killed in the middle, and how much of it is done again; memory and processor while nothing
happens; starts after a clean and after an unclean stop, until a barrier returns; and a comparison
that finds ten differences.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio

from bench import record
from command_line import positive
from fakes.data_pair import DataNode, DataPair
from fakes.ports import free_port
from fakes.records import MAIL
from fakes.scratch import memory_directory
from fakes.stream_pair import A, B
from lab.errors import MissingError
from staqraft.model import Position
from staqraft.wire.v1 import data_worker_pb2 as pb

HELP = "memory, starts and comparisons with a million files"
_A_DIRECTORY: Final = 100
_DIFFERENCES: Final = 10
_JOURNAL: Final = {"segment_bytes": 1 << 20, "max_bytes": 4 << 20}  # a copy has to be compared
_POLL_S: Final = 0.05
_LONG_S: Final = 3600.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `bench scale`."""
    parser.add_argument("--files", type=positive, default=1_000_000)
    parser.add_argument("--idle-s", type=float, default=20.0, help="how long to look at idleness")


def run(arguments: argparse.Namespace) -> int:
    """Exit 0: measured."""
    if os.geteuid() != 0:
        raise MissingError("it mounts file systems, which needs root")
    circumstances = record.circumstances()
    figures: dict[str, Any] = {}
    tell = _tell_json if arguments.json else _tell
    with _ground(arguments.files) as base:
        asyncio.run(_measure(base, arguments, figures, tell))
    if not arguments.no_record:
        line = {**circumstances, "bench": "scale", "files": arguments.files, **figures}
        record.append(line)
    return 0


def _tell(name: str, value: float) -> None:
    print(f"{name:28} {value:12.2f}", flush=True)


def _tell_json(name: str, value: float) -> None:
    print(json.dumps({"figure": name, "value": round(value, 3)}), flush=True)


# --- the ground ------------------------------------------------------------------------------


@contextlib.contextmanager
def _ground(files: int) -> Iterator[Path]:
    """Two ext4 images in memory whose inodes hold the files' few bytes; gone afterwards."""
    with contextlib.ExitStack() as stack:
        images = stack.enter_context(memory_directory())
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sr-")))
        for node in (A, B):
            image, mountpoint = images / f"{node}.img", base / node / "mail"
            mountpoint.mkdir(parents=True)
            with image.open("wb") as file:
                file.truncate(files * 1500 + (512 << 20))
            features = ["-O", "inline_data", "-I", "256", "-m0", "-N", str(int(files * 1.1) + 1000)]
            _tool("mkfs.ext4", "-q", "-F", *features, str(image))
            _tool("mount", "-o", "loop", str(image), str(mountpoint))
            stack.callback(_tool, "umount", "--lazy", str(mountpoint))
            (mountpoint / "lost+found").rmdir()
        (base / "journal.json").write_text(json.dumps(_JOURNAL))
        yield base


def _tool(*argv: str) -> None:
    try:
        subprocess.run(argv, check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        raise MissingError(f"{' '.join(argv)}: {error.stderr.strip()}") from error


def _fill(tree: Path, files: int) -> None:
    for number in range(files):
        directory = tree / f"u{number // (_A_DIRECTORY * 100):03}" / f"d{number // _A_DIRECTORY}"
        if number % _A_DIRECTORY == 0:
            directory.mkdir(parents=True, exist_ok=True)
        (directory / f"f{number}").write_bytes(b"file %d" % number)


# --- measuring -------------------------------------------------------------------------------


class _Clock:
    """Takes figures, and how much processor a node's processes used for them."""

    def __init__(self, figures: dict[str, Any], tell: Callable[[str, float], None]) -> None:
        self._figures = figures
        self._tell = tell

    def note(self, name: str, value: float) -> None:
        self._figures[name] = round(value, 3)
        self._tell(name, value)

    @contextlib.asynccontextmanager
    async def taking(self, name: str, *nodes: DataNode) -> AsyncIterator[None]:
        """`<name>_s`, and `<name>_cpu_s` of the nodes' processes that live at its end."""
        before, began = _cpu_s(*nodes), time.monotonic()
        yield
        self.note(f"{name}_s", time.monotonic() - began)
        self.note(f"{name}_cpu_s", max(0.0, _cpu_s(*nodes) - before))


async def _measure(
    base: Path,
    arguments: argparse.Namespace,
    figures: dict[str, Any],
    tell: Callable[[str, float], None],
) -> None:
    clock, port = _Clock(figures, tell), free_port()
    pair = DataPair(DataNode(base, A, port), DataNode(base, B, port))
    a, b = pair.a, pair.b
    began = time.monotonic()
    await asyncio.to_thread(_fill, a.tree, arguments.files)
    clock.note("made_s", time.monotonic() - began)
    try:
        a.start()
        b.start()
        async with clock.taking("first_capture", a):
            await pair.promote(a)
            await _barrier(a)
        await _first_copy(pair, clock)
        await _idle(pair, clock, arguments.idle_s)
        await _restarts(pair, clock)
        await _ten_differences(pair, clock)
    finally:
        await a.stop()
        await b.stop()


async def _first_copy(pair: DataPair, clock: _Clock) -> None:
    """Killed in the middle: what was taken over before need not be taken over again."""
    a, b = pair.a, pair.b
    await pair.follow(b, a)
    async with clock.taking("copy_until_killed", a, b):
        await _until(lambda: _is_halfway(b))
    done = (await b.status()).reconcile.objects_done
    clock.note("copied_before_kill", done)
    b.kill("trees")
    b.start("trees")
    async with clock.taking("copy_resumed", a, b):
        await pair.follow(b, a)
        await _settled(pair, a, b)
    status = await b.status()
    total = status.trees[0].objects
    clock.note("copied_after_kill", status.changes["upsert"])
    # What was taken over between the look and the kill is known of neither: at least so many.
    clock.note("copied_twice", max(0, done + status.changes["upsert"] - total))


async def _is_halfway(node: DataNode) -> bool:
    status = await node.status()
    progress = status.reconcile
    if status.applied.seq and not status.needs_reconcile:
        raise MissingError("the copy was over before it could be killed: take more --files")
    return bool(progress.objects_total) and progress.objects_done * 2 >= progress.objects_total


async def _idle(pair: DataPair, clock: _Clock, seconds: float) -> None:
    # Not a wait for something: the time over which nothing happens is what is measured.
    for node in (pair.a, pair.b):
        for name, process in node.processes.items():
            before = _process_cpu_s(process.pid)
            await asyncio.sleep(seconds)
            used = _process_cpu_s(process.pid) - before
            role = "active" if node is pair.a else "standby"
            clock.note(f"idle_{role}_{name}_percent", used / seconds * 100)
            clock.note(f"idle_{role}_{name}_mib", _rss_mib(process.pid))
    index = pair.a.config.group_dir(MAIL).glob("index.sqlite*")
    clock.note("index_mib", sum(path.stat().st_size for path in index) / (1 << 20))


async def _restarts(pair: DataPair, clock: _Clock) -> None:
    a, b = pair.a, pair.b
    for name, number in (("clean", signal.SIGTERM), ("unclean", signal.SIGKILL)):
        await _end(a, number)
        async with clock.taking(f"active_start_{name}", a):
            a.start()
            await a.assign(pb.WORKER_ROLE_ACTIVE, pair.epoch, pair.starts, a.node)
            clock.note(f"active_start_{name}_serves_s", await _answers_s(a))
            await _barrier(a)
        await _end(b, number)
        async with clock.taking(f"standby_start_{name}", b):
            b.start()
            await pair.follow(b, a)
            await _settled(pair, a, b)


async def _answers_s(node: DataNode) -> float:
    began = time.monotonic()
    await node.status()
    return time.monotonic() - began


async def _ten_differences(pair: DataPair, clock: _Clock) -> None:
    """For a standby that was away too long, and for an active that was lost and comes back."""
    a, b = pair.a, pair.b
    await _end(b, signal.SIGTERM)
    _change_ten(a.tree)
    await _push_out(a)
    b.start()
    async with clock.taking("compare_ten", a, b):
        await pair.follow(b, a)
        await _settled(pair, a, b)
    clock.note("compare_ten_taken_over", (await b.status()).changes["upsert"])
    await _end(a, signal.SIGKILL)
    _change_ten(a.tree)  # what only it has
    await pair.promote(b)
    a.start()
    async with clock.taking("rejoin_ten", a, b):
        await pair.follow(a, b)
        await _settled(pair, b, a)
    clock.note("rejoin_ten_quarantined", (await a.status()).quarantined)


def _change_ten(tree: Path) -> None:
    for path in sorted(tree.glob("u*"))[:_DIFFERENCES]:
        file = next(path.glob("d*/f*"))
        file.write_bytes(file.read_bytes() + b", changed")


async def _push_out(node: DataNode) -> None:
    """Until the journal does not reach back to where the other one is."""
    file = node.tree / "pushes-out"
    for _ in range(2 * _JOURNAL["max_bytes"] >> 20):
        file.write_bytes(os.urandom(1 << 20))
        await _barrier(node)
    file.unlink()
    await _barrier(node)


async def _end(node: DataNode, number: signal.Signals) -> None:
    for process in node.processes.values():
        process.send_signal(number)
    for process in node.processes.values():
        await asyncio.to_thread(process.wait)


# --- conditions ------------------------------------------------------------------------------


async def _barrier(node: DataNode) -> Position:
    """A barrier, however long the trees take to be compared with the index."""
    found: list[Position] = []

    async def attempt() -> bool:
        with contextlib.suppress(grpc.aio.AioRpcError):
            found.append(await node.barrier())
        return bool(found)

    await _until(attempt)
    return found[0]


async def _settled(pair: DataPair, active: DataNode, standby: DataNode) -> None:
    position = await _barrier(active)

    async def applied() -> bool:
        status = await standby.status()
        reached = Position(status.applied.epoch, status.applied.seq)  # type: ignore[arg-type]
        return not status.needs_reconcile and not status.unsettled and reached >= position

    await _until(applied)


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + _LONG_S
    while True:
        with contextlib.suppress(grpc.aio.AioRpcError):
            if await condition():
                return
        if time.monotonic() > deadline:
            raise MissingError(f"not within {_LONG_S:.0f} s on this machine")
        await asyncio.sleep(_POLL_S)


def _cpu_s(*nodes: DataNode) -> float:
    return sum(
        _process_cpu_s(process.pid)
        for node in nodes
        for process in node.processes.values()
        if process.poll() is None
    )


def _process_cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _rss_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)


if __name__ == "__main__":
    sys.exit("run scripts/bench scale")
