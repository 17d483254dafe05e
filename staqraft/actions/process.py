"""Runs one command to its end or its time limit, without the event loop ever waiting for it.

The program is started from a thread (exec waits for the disk that it is on) and its end is awaited
on a pidfd, not at the end of its output: a start command leaves a server behind that
holds its output open. That output is drained for as long as somebody writes, so that nobody
blocks on a full pipe, and only its tail is kept.

What it starts may outlive it and us, so it gets nothing of what is meant for this daemon alone: not
its umask, its place in the line of the OOM killer, or its connection to systemd.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

OUTPUT_KEPT = 2048
READ_SIZE = 64 << 10
STDIN_MOST = 32 << 10  # half of what a pipe holds
KILLED_WAIT_S = 1.0
UMASK = 0o022  # ours keeps what we write to ourselves
# What systemd tells us: a service that believed it were meant would report to our supervisor.
OF_OUR_UNIT = frozenset(
    {"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "INVOCATION_ID", "SYSTEMD_EXEC_PID"}
    | {"RUNTIME_DIRECTORY", "STATE_DIRECTORY", "LISTEN_FDS", "LISTEN_PID", "JOURNAL_STREAM"}
)

_starter = ThreadPoolExecutor(max_workers=4, thread_name_prefix="exec")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a command ended. `code` is None when it was killed at its time limit.

    `problem` is why it could not be started; empty if it was.
    """

    code: int | None
    output: str
    problem: str = ""
    printed: bytes = b""  # the last `keep` bytes of the output as they came

    @property
    def ok(self) -> bool:
        """It ran and said yes."""
        return self.code == 0


async def run(
    argv: Sequence[str],
    timeout_ms: int,
    *,
    stdin: bytes = b"",
    keep: int = OUTPUT_KEPT,
    errors: bool = True,
    environment: Mapping[str, str] | None = None,
) -> Finished:
    """Runs `argv` without a shell, in a process group of its own, killed whole at the time limit.

    The time limit begins with the call. Cancelling kills the group too. `stdin`, up to STDIN_MOST
    bytes, is what the command reads until its end. The last `keep` bytes of the output are kept;
    what it prints as errors is among them if `errors`. `environment` is added to ours.
    """
    assert len(stdin) <= STDIN_MOST, "more than a pipe takes without waiting"
    loop = asyncio.get_running_loop()
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(writer, True)  # the command's end: it knows nothing of EAGAIN
    tail = _Tail(loop, reader, keep)
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            process = await _start(argv, writer, stdin, errors=errors, environment=environment)
            return await _wait(process, tail)
    except TimeoutError:
        return Finished(code=None, output=tail.text())
    except OSError as error:
        return Finished(code=None, output="", problem=error.strerror or str(error))


def story(argv: Sequence[str], finished: Finished) -> str:
    """What became of a command, for people."""
    command = " ".join(argv)
    if finished.problem:
        return f"'{command}' cannot be executed: {finished.problem}"
    if finished.code is None:
        ending = f"'{command}' did not end in time and was killed with all that it had started"
    elif finished.code < 0:
        ending = f"'{command}' was killed by signal {-finished.code}"
    else:
        ending = f"'{command}' ended with exit status {finished.code}"
    return f'{ending}, saying "{finished.output}"' if finished.output else ending


async def _start(
    argv: Sequence[str],
    writer: int,
    stdin: bytes,
    *,
    errors: bool,
    environment: Mapping[str, str] | None,
) -> subprocess.Popen[bytes]:
    """Starts the command and closes our copy of `writer`, whatever happens meanwhile."""
    inherited = {name: value for name, value in os.environ.items() if name not in OF_OUR_UNIT}

    def start() -> subprocess.Popen[bytes]:
        try:
            with _filled_pipe(stdin) as read_from:
                process = subprocess.Popen(
                    argv,
                    stdin=read_from,
                    stdout=writer,
                    stderr=writer if errors else subprocess.DEVNULL,
                    cwd="/",
                    env={**inherited, **(environment or {})},
                    umask=UMASK,
                    start_new_session=True,
                )
                _may_be_killed_like_any_other(process.pid)
                return process
        finally:
            os.close(writer)

    starting = _starter.submit(start)
    try:
        return await asyncio.shield(asyncio.wrap_future(starting))
    except asyncio.CancelledError:
        # Killed now if it runs. If exec is still under way (a hung disk), its thread kills what
        # comes of it: the loop may be busy by then, or gone.
        starting.add_done_callback(_kill_started)
        raise


def _may_be_killed_like_any_other(pid: int) -> None:
    """When memory runs out: the unit of this daemon keeps it, and only it, from that."""
    with contextlib.suppress(OSError):  # it may have ended already
        Path(f"/proc/{pid}/oom_score_adj").write_text("0", encoding="ascii")


@contextlib.contextmanager
def _filled_pipe(content: bytes) -> Iterator[int]:
    """A pipe that has `content` and its end in it; it fits, so that nobody waits."""
    if not content:
        yield subprocess.DEVNULL
        return
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        try:
            os.write(writer, content)
        finally:
            os.close(writer)
        yield reader
    finally:
        os.close(reader)


def _kill_started(starting: Future[subprocess.Popen[bytes]]) -> None:
    if starting.exception() is None:
        process = starting.result()
        _kill_group(process)
        _collect_later(process)


async def _wait(process: subprocess.Popen[bytes], tail: _Tail) -> Finished:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    pidfd = os.pidfd_open(process.pid)
    loop.add_reader(pidfd, ended.set)
    try:
        await ended.wait()
    except asyncio.CancelledError:
        _kill_group(process)
        await _collect(process, ended)
        raise
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
    code = process.wait()
    output = tail.text()
    return Finished(code=code, output=output, printed=tail.kept)


async def _collect(process: subprocess.Popen[bytes], ended: asyncio.Event) -> None:
    """Waits a moment for a killed process, so that it is dead when we say so."""
    try:
        async with asyncio.timeout(KILLED_WAIT_S):
            await ended.wait()
    except TimeoutError:
        _collect_later(process)
    else:
        process.wait()


def _collect_later(process: subprocess.Popen[bytes]) -> None:
    """For a process in an uninterruptible wait: neither the loop nor our own end wait for it."""
    threading.Thread(target=process.wait, name=f"collect {process.pid}", daemon=True).start()


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


class _Tail:
    """The end of what a command and its children print; reads until the last of them is gone."""

    def __init__(self, loop: asyncio.AbstractEventLoop, descriptor: int, keep: int) -> None:
        self._loop = loop
        self._descriptor = descriptor
        self._keep = keep
        self.kept = b""
        self._cut = False
        self._open = True
        loop.add_reader(descriptor, self._read)

    def _read(self) -> bool:
        """Takes one portion; False when there is none at present."""
        try:
            data = os.read(self._descriptor, READ_SIZE)
        except BlockingIOError:
            return False
        if not data:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._open = False
            return False
        together = self.kept + data
        self._cut = self._cut or len(together) > self._keep
        self.kept = together[-self._keep :]
        return True

    def text(self) -> str:
        """What was printed last, on one line."""
        # What is in the pipe now; bounded, because a child may print without end.
        for _ in range(16):
            if not self._open or not self._read():
                break
        text = " | ".join(self.kept.decode(errors="backslashreplace").splitlines()).strip()
        return f"...{text}" if self._cut else text
