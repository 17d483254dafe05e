"""Commands that really run: their output, their time limit, and what they leave behind."""

from __future__ import annotations

import asyncio
import os
import select
import threading
from pathlib import Path
from queue import Queue

import pytest

from staqraft.actions import process
from staqraft.actions.process import OUTPUT_KEPT, run
from staqraft.actions.services import ServiceManager, ServiceStartFailed
from staqraft.config.services import CommandCheck, Service, Timing
from staqraft.model import GroupId

LONG_MS = 60_000
PATIENCE_S = 60.0


def shell(script: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", script)


def place_before_the_killer(value: str) -> str:
    """Sets that of this process; what it was."""
    own = Path("/proc/self/oom_score_adj")
    before = own.read_text()
    own.write_text(value)
    return before


async def test_exit_status_and_output_are_reported() -> None:
    finished = await run(shell("echo one; echo two >&2; exit 3"), LONG_MS)
    assert (finished.code, finished.output, finished.ok) == (3, "one | two", False)
    assert (await run(("true",), LONG_MS)).ok


async def test_nothing_is_interpreted_by_a_shell() -> None:
    assert (await run(("echo", "$HOME; *"), LONG_MS)).output == "$HOME; *"


async def test_what_is_meant_for_the_daemon_alone_is_not_passed_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A service that a command starts is as it would be without the daemon above it."""
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    monkeypatch.setenv("SHOP", "open")
    before = os.umask(0o077)
    try:
        finished = await run(shell("umask; echo $NOTIFY_SOCKET$WATCHDOG_USEC$SHOP"), LONG_MS)
    finally:
        os.umask(before)
    assert finished.output == "0022 | open"


@pytest.mark.skipif(os.geteuid() != 0, reason="who is not root cannot take it back")
async def test_nor_its_place_before_the_killer() -> None:
    before = place_before_the_killer("200")
    try:
        until = "until [ $(cat /proc/self/oom_score_adj) = 0 ]; do :; done"
        assert (await run(shell(until), LONG_MS)).ok
    finally:
        place_before_the_killer(before)


async def test_a_program_that_is_not_there_is_said() -> None:
    finished = await run(("/usr/sbin/staqraft-no-such-program",), LONG_MS)
    assert (finished.code, finished.problem) == (None, "No such file or directory")


async def test_at_the_time_limit_the_whole_group_is_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 1000 & echo $! > {pids}; echo $$ >> {pids}; echo busy; wait"
    limit_ms = 500
    while not (finished := await run(shell(script), limit_ms)).output:
        limit_ms *= 2  # a slow machine has not come as far as that
    assert (finished.code, finished.problem, finished.output) == (None, "", "busy")
    for pid in map(int, pids.read_text().split()):
        assert await asyncio.to_thread(died, pid), pid


async def test_cancelling_kills_the_group(tmp_path: Path) -> None:
    pipe = tmp_path / "started"
    os.mkfifo(pipe)
    running = asyncio.create_task(run(shell(f"sleep 60 & echo $! > {pipe}; wait"), 60_000))
    pid = int(await asyncio.to_thread(pipe.read_text))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await asyncio.to_thread(died, pid)


async def test_what_starts_while_it_is_cancelled_is_killed_without_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is cancelled when the program runs and its thread has not said so yet."""
    pids: Queue[int] = Queue()
    go_on = threading.Event()

    def held(pid: int) -> None:
        pids.put(pid)
        assert go_on.wait(PATIENCE_S)

    monkeypatch.setattr(process, "_may_be_killed_like_any_other", held)
    running = asyncio.create_task(run(("sleep", "1000"), 1_000_000))
    pid = await asyncio.to_thread(pids.get, timeout=PATIENCE_S)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    go_on.set()
    assert died(pid)  # the loop stands still meanwhile, as it does when it has ended


async def test_a_server_left_behind_does_not_hold_up_its_start_command(tmp_path: Path) -> None:
    pipe = tmp_path / "alive"
    os.mkfifo(pipe)
    script = f"(echo child; read line < {pipe}; echo written late; echo done > {pipe}) & echo up"
    assert (await run(shell(script), LONG_MS)).ok  # and not that its time limit was over
    # It still runs, and what it prints later neither blocks nor kills it.
    await asyncio.to_thread(pipe.write_text, "go on\n")
    assert await asyncio.to_thread(pipe.read_text) == "done\n"


async def test_only_the_end_of_long_output_is_kept() -> None:
    finished = await run(shell("head -c 300000 /dev/zero | tr '\\0' x; echo; echo end"), LONG_MS)
    assert finished.ok
    assert finished.output.startswith("...x")
    assert finished.output.endswith("| end")
    assert len(finished.output) <= OUTPUT_KEPT + 8


async def test_a_service_starts_is_confirmed_and_stops(tmp_path: Path) -> None:
    flag = tmp_path / "running"
    web = Service(
        name="web",
        start=shell(f"(sleep 0.3; touch {flag}) &"),
        stop=("rm", str(flag)),
        checks=(CommandCheck(argv=("test", "-e", str(flag)), timing=Timing(failures=1)),),
    )
    services = ServiceManager(GroupId("default"), [web])
    await services.start_all()
    assert flag.exists()
    await services.stop_all()
    assert not flag.exists()
    assert [h.state.value for h in services.health] == ["stopped"]


async def test_a_service_that_fails_is_quoted() -> None:
    web = Service(
        name="web",
        start=shell("echo 'bind() to 0.0.0.0:80 failed' >&2; exit 1"),
        stop=("true",),
    )
    with pytest.raises(ServiceStartFailed, match=r"saying \"bind\(\) to 0\.0\.0\.0:80 failed\""):
        await ServiceManager(GroupId("default"), [web]).start_all()


def died(pid: int) -> bool:
    """Waits until the process is dead (or a zombie that nobody has collected)."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], PATIENCE_S)[0])
    finally:
        os.close(descriptor)
