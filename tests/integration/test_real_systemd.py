"""Units over D-Bus with Debian's own systemd, beside the fake one of `test_systemd.py`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from fakes.booted import Booted, booted_or_skipped
from staqraft.actions import process
from staqraft.actions.process import Finished
from staqraft.actions.systemd import Systemd

pytestmark = [pytest.mark.slow, pytest.mark.long]

LONG_MS = 60_000
JOB = "JobTimeoutSec= or JobRunningTimeoutSec="
DEAF = "/bin/sh -c 'trap \"\" TERM; touch /run/%n; while :; do sleep 1; done'"


def unit(service: str, more: str = "") -> str:
    return f"[Unit]\nDefaultDependencies=no\n{more}\n[Service]\n{service}\n"


UNITS = {
    "web.service": unit("ExecStart=/bin/sleep infinity"),
    "fails.service": unit("Type=oneshot\nExecStart=/bin/false"),
    "needs.service": unit(
        "ExecStart=/bin/sleep infinity", "Requires=fails.service\nAfter=fails.service"
    ),
    "late.service": unit("Type=notify\nTimeoutStartSec=1\nExecStart=/bin/sleep infinity"),
    "queued.service": unit("Type=oneshot\nExecStart=/bin/sleep 90", "JobRunningTimeoutSec=1"),
    "dies.service": unit("Restart=always\nRestartSec=90\nExecStart=/bin/false"),
    "crashes.service": unit(
        "Restart=always\nRestartSec=1ms\nExecStart=/bin/false", "StartLimitBurst=2"
    ),
    "deaf.service": unit(f"TimeoutStopSec=1\nExecStart={DEAF}"),
    "stubborn.service": unit(f"TimeoutStopSec=90\nExecStart={DEAF}"),
    "bad.service": unit("Type=simple"),
}


@pytest.fixture(scope="module")
def systemd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booted]:
    with booted_or_skipped(tmp_path_factory, UNITS) as running:
        system = running.root / "etc/systemd/system"
        (system / "masked.service").symlink_to("/dev/null")
        yield running


@pytest.fixture
def units(systemd: Booted, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", systemd.address)
    return Systemd()


async def test_a_unit_is_started_looked_at_and_stopped(units: Systemd) -> None:
    assert await units.why_not_active("web.service", LONG_MS) == "it is inactive (dead)"
    assert await units.start("web.service", LONG_MS) == ""
    assert await units.why_not_active("web.service", LONG_MS) == ""
    assert await units.start("web.service", LONG_MS) == "", "once more is no mistake"
    assert await units.stop("web.service", LONG_MS) == ""
    assert await units.stop("web.service", LONG_MS) == "", "nor is stopping what does not run"
    assert await units.why_not_active("web.service", LONG_MS) == "it is inactive (dead)"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fails", "its job failed: it is failed (failed), because of 'exit-code'"),
        ("needs", "a unit that it depends on failed: it is inactive (dead)"),
        ("late", "its job failed: it is failed (failed), because of 'timeout'"),
        ("queued", f"its job timed out ({JOB} of the unit): it is activating (start)"),
        ("bad", "systemd refuses: Unit bad.service has a bad unit file setting."),
        ("masked", "systemd refuses: Unit masked.service is masked."),
        ("ngnix", "systemd refuses: Unit ngnix.service not found."),
    ],
)  # fmt: skip
async def test_why_one_did_not_start(units: Systemd, name: str, words: str) -> None:
    assert await units.start(f"{name}.service", LONG_MS) == words
    assert await units.stop(f"{name}.service", LONG_MS) == ""


async def test_one_that_ends_at_once_is_noticed_by_the_next_look(units: Systemd) -> None:
    assert await units.start("dies.service", LONG_MS) == "", "to fork is all that it promised"
    said = ""
    while not said:
        said = await units.why_not_active("dies.service", LONG_MS)
    assert said == "it ended, and systemd is about to start it again"
    assert await units.stop("dies.service", LONG_MS) == ""


async def test_one_that_systemd_has_given_up_says_so(units: Systemd) -> None:
    await units.start("crashes.service", LONG_MS)
    said = ""
    while "failed" not in said:
        said = await units.why_not_active("crashes.service", LONG_MS)
    assert said.startswith("it is failed (failed), because of ")
    assert "failed" in await units.start("crashes.service", LONG_MS), "the limit of starts"


async def started(systemd: Booted, units: Systemd, name: str) -> None:
    """Until it ignores SIGTERM."""
    assert await units.start(name, LONG_MS) == ""
    ready = systemd.root / "run" / name
    systemd.wait_for(ready.exists, f"{name} ignores the signal")


async def test_what_ignores_the_signal_is_killed_by_systemd_in_its_time(
    systemd: Booted, units: Systemd
) -> None:
    await started(systemd, units, "deaf.service")
    assert await units.stop("deaf.service", LONG_MS) == ""
    said = await units.why_not_active("deaf.service", LONG_MS)
    assert said == "it is failed (failed), because of 'timeout'"


async def test_or_not_within_ours_which_is_a_failed_stop(systemd: Booted, units: Systemd) -> None:
    await started(systemd, units, "stubborn.service")
    assert await units.stop("stubborn.service", 500) == "systemd was not done with it within 0.5 s"
    assert "deactivating" in await units.why_not_active("stubborn.service", LONG_MS)


@pytest.mark.parametrize(
    ("name", "state"),
    [("web", "static"), ("masked", "masked"), ("ngnix", "not-found")],
)
async def test_whether_it_is_started_at_boot(units: Systemd, name: str, state: str) -> None:
    assert await units.file_state(f"{name}.service", LONG_MS) == state


async def test_without_a_bus_systemctl_does_the_same(systemd: Booted, units: Systemd) -> None:
    async def inside(argv: Sequence[str], timeout_ms: int, **options: Any) -> Finished:
        return await process.run(systemd.inside(*argv), timeout_ms, **options)

    systemd.run("systemctl", "stop", "dbus.service", "dbus.socket")
    left = Systemd(inside)
    assert await left.start("web.service", LONG_MS) == ""
    assert await left.why_not_active("web.service", LONG_MS) == ""
    assert await left.stop("web.service", LONG_MS) == ""
    assert "is-active web.service' ended with exit status 3" in await left.why_not_active(
        "web.service", LONG_MS
    )
    assert "Unit masked.service is masked" in await left.start("masked.service", LONG_MS)
