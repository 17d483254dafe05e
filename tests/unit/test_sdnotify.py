"""What systemd hears."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from staqraft.sdnotify import Notifier


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(60)
        yield listener


def heard(systemd: socket.socket) -> str:
    return systemd.recv(1000).decode()


def notifier(systemd: socket.socket, **more: str) -> Notifier:
    return Notifier({"NOTIFY_SOCKET": systemd.getsockname(), **more})


def test_ready_comes_with_a_status(systemd: socket.socket) -> None:
    notifier(systemd).ready("standby of a in epoch 3")
    assert heard(systemd) == "READY=1\nSTATUS=standby of a in epoch 3"


def test_a_status_is_sent_when_it_changes(systemd: socket.socket) -> None:
    speaker = notifier(systemd)
    for status in ("one", "one", "two"):
        speaker.status(status)
    speaker.alive()
    speaker.stopping()
    assert [heard(systemd) for _ in range(4)] == [
        "STATUS=one", "STATUS=two", "WATCHDOG=1", "STOPPING=1",
    ]  # fmt: skip


def test_an_abstract_address_is_understood() -> None:
    name = f"staqraft-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        listener.settimeout(60)
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).alive()
        assert heard(listener) == "WATCHDOG=1"


def test_without_systemd_nothing_happens() -> None:
    silent = Notifier({})
    silent.ready("ready")
    assert not silent.enabled
    assert silent.watchdog_interval_s is None


def test_a_manager_that_is_gone_is_no_failure(tmp_path: Path) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("ready")


@pytest.mark.parametrize(
    ("environ", "interval_s"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 1.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 1.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_wants_a_sign_in_time(
    environ: dict[str, str], interval_s: float | None
) -> None:
    assert Notifier(environ).watchdog_interval_s == interval_s
