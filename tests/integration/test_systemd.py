"""Units over D-Bus: a real bus, and a systemd on it that answers as the real one."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from fakes.systemd_bus import Bus, Unit, bus_with_systemd
from staqraft.actions.process import OUTPUT_KEPT, Finished
from staqraft.actions.system_bus import BusGone
from staqraft.actions.systemd import Systemd

LONG_MS = 30_000
WEB = "web.service"

pytestmark = pytest.mark.skipif(
    shutil.which("dbus-daemon") is None, reason="dbus-daemon is not installed (Debian: dbus)"
)


class Systemctl:
    """Stands in for the program."""

    def __init__(self, code: int = 0) -> None:
        self.calls: list[str] = []
        self.code = code

    async def __call__(
        self, argv: Sequence[str], timeout_ms: int, *, keep: int = OUTPUT_KEPT
    ) -> Finished:
        assert timeout_ms > 0
        assert keep
        self.calls.append(" ".join(argv))
        return Finished(code=self.code, output="from systemctl" if self.code else "")


@pytest.fixture
async def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bus]:
    async with bus_with_systemd(tmp_path, web=Unit()) as running:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", running.address)
        yield running


def units(systemctl: Systemctl | None = None) -> Systemd:
    return Systemd(systemctl or Systemctl())


async def test_a_unit_is_started_looked_at_and_stopped(bus: Bus) -> None:
    systemctl = Systemctl()
    systemd = units(systemctl)
    bus.systemd.units[WEB].took_s = 0.05
    assert await systemd.why_not_active(WEB, LONG_MS) == "it is inactive (dead)"
    assert await systemd.start(WEB, LONG_MS) == ""
    assert bus.systemd.units[WEB].active == "active"
    assert await systemd.why_not_active(WEB, LONG_MS) == ""
    assert await systemd.stop(WEB, LONG_MS) == ""
    assert bus.systemd.units[WEB].active == "inactive"
    assert not systemctl.calls
    changes = {call.split()[0] for call in bus.systemd.calls}
    assert changes == {"ListUnitsByNames", "Subscribe", "StartUnit", "StopUnit"}


async def test_the_jobs_of_others_are_not_ours(bus: Bus) -> None:
    bus.systemd.noise = 50
    assert await units().start(WEB, LONG_MS) == ""


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ("failed", "its job failed: it is failed"),
        ("timeout", "its job timed out (JobTimeoutSec= or JobRunningTimeoutSec= of the unit)"),
        ("canceled", "its job was cancelled by another one"),
        ("dependency", "a unit that it depends on failed"),
        ("skipped", "its job was skipped"),
        ("collected", "its job ended as 'collected'"),
    ],
)
async def test_how_a_job_ended_is_said(bus: Bus, ends: str, words: str) -> None:
    bus.systemd.units[WEB].ends = ends
    assert (await units().start(WEB, LONG_MS)).startswith(words)


async def test_a_job_that_does_not_end_is_a_failure_in_time(bus: Bus) -> None:
    bus.systemd.units[WEB].ends = ""
    assert await units().stop(WEB, 300) == "systemd was not done with it within 0.3 s"


async def test_a_systemd_that_does_not_answer_is_a_failure_in_time(bus: Bus) -> None:
    bus.systemd.mute = True
    assert await units().why_not_active(WEB, 300) == "systemd was not done with it within 0.3 s"


async def test_a_unit_that_is_not_there(bus: Bus) -> None:
    systemd = units()
    assert await systemd.start("ngnix.service", LONG_MS) == (
        "systemd refuses: Unit ngnix.service not found."
    )
    assert await systemd.why_not_active("ngnix.service", LONG_MS) == (
        "there is no such unit on this host"
    )
    unusable = await systemd.why_unusable("ngnix.service", LONG_MS)
    assert unusable == "there is no such unit on this host"
    # What is not there does not run: no reason to be fenced.
    assert await systemd.stop("ngnix.service", LONG_MS) == ""
    assert await systemd.file_state("ngnix.service", LONG_MS) == "not-found"
    assert bus.systemd.calls


async def test_a_masked_unit(bus: Bus) -> None:
    bus.systemd.units[WEB].load = "masked"
    systemd = units()
    assert await systemd.start(WEB, LONG_MS) == "systemd refuses: Unit web.service is masked."
    assert "it is masked ('systemctl unmask'" in await systemd.why_not_active(WEB, LONG_MS)
    assert "it is masked ('systemctl unmask'" in await systemd.why_unusable(WEB, LONG_MS)
    bus.systemd.units[WEB].load = "loaded"
    assert await systemd.why_unusable(WEB, LONG_MS) == ""
    assert await systemd.stop(WEB, LONG_MS) == ""


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        (Unit(active="failed", sub="failed", result="oom-kill"),
         "it is failed (failed), because of 'oom-kill'"),
        (Unit(active="activating", sub="auto-restart"),
         "it ended, and systemd is about to start it again"),
        (Unit(active="activating", sub="start-pre"), "it is activating (start-pre)"),
        (Unit(active="reloading", sub="reload"), ""),
        (Unit(load="bad-setting"), "its unit file cannot be used (bad-setting)"),
    ],
)  # fmt: skip
async def test_how_a_unit_is_in_words(bus: Bus, unit: Unit, words: str) -> None:
    bus.systemd.units[WEB] = unit
    assert await units().why_not_active(WEB, LONG_MS) == words


async def test_what_is_not_allowed_is_said(bus: Bus) -> None:
    bus.systemd.denies = True
    assert await units().start(WEB, LONG_MS) == "systemd does not allow it: Permission denied"


async def test_without_a_bus_systemctl_is_asked(bus: Bus) -> None:
    await bus.stop()
    systemctl = Systemctl()
    systemd = units(systemctl)
    assert await systemd.start(WEB, LONG_MS) == ""
    assert await systemd.why_not_active(WEB, LONG_MS) == ""
    assert await systemd.stop(WEB, LONG_MS) == ""
    assert systemctl.calls == [
        f"systemctl start {WEB}",
        f"systemctl --quiet is-active {WEB}",
        f"systemctl stop {WEB}",
    ]
    said = await units(Systemctl(code=1)).start(WEB, LONG_MS)
    assert said.startswith("the system bus cannot be reached at ")
    assert said.endswith(
        "'systemctl start web.service' ended with exit status 1, saying \"from systemctl\""
    )
    with pytest.raises(BusGone):
        await systemd.file_state(WEB, LONG_MS)


async def test_without_systemd_on_the_bus_systemctl_is_asked(bus: Bus) -> None:
    await bus.vanish()
    systemctl = Systemctl()
    assert await units(systemctl).start(WEB, LONG_MS) == ""
    assert systemctl.calls == [f"systemctl start {WEB}"]


async def test_a_bus_that_dies_while_a_job_runs_is_noticed_at_once(bus: Bus) -> None:
    bus.systemd.units[WEB].ends = ""
    systemctl = Systemctl()
    starting = asyncio.create_task(units(systemctl).start(WEB, LONG_MS))
    async with asyncio.timeout(30):
        await bus.systemd.heard.wait()
        await bus.stop()
        assert await starting == ""
    assert systemctl.calls == [f"systemctl start {WEB}"]


async def test_whether_a_unit_is_started_at_boot(bus: Bus) -> None:
    bus.systemd.units[WEB].file_state = "enabled"
    assert await units().file_state(WEB, LONG_MS) == "enabled"


async def test_a_socket_that_is_no_bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 what?\r\n\r\n")
        writer.close()

    async with await asyncio.start_unix_server(talk, tmp_path / "bus"):
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/bus")
        systemctl = Systemctl()
        assert await units(systemctl).start(WEB, LONG_MS) == ""
    assert systemctl.calls
