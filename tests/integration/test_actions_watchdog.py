"""The watchdog: the real ioctls on a device in FUSE, and the rules of when it is kicked."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fakes.fuse_watchdog import FuseWatchdog
from fakes.patience import PATIENCE_S
from staqraft.actions import watchdog as wd
from staqraft.actions.watchdog import KernelDevice, Watchdog
from staqraft.errors import ActionError
from staqraft.model import GroupId

WEB, MAIL = GroupId("web"), GroupId("mail")
needs_fuse = pytest.mark.skipif(
    os.geteuid() != 0 or not os.access("/dev/fuse", os.W_OK),
    reason="needs root and /dev/fuse ('modprobe fuse')",
)


# --- the device -----------------------------------------------------------------------------------


@pytest.fixture
def fired() -> threading.Event:
    return threading.Event()


@pytest.fixture
def fake(tmp_path: Path, fired: threading.Event) -> Iterator[FuseWatchdog]:
    with FuseWatchdog(tmp_path / "watchdog", fired.set).mounted() as device:
        yield device


@needs_fuse
def test_it_fires_when_it_is_not_kicked(
    fake: FuseWatchdog, tmp_path: Path, fired: threading.Event
) -> None:
    device = KernelDevice(tmp_path / "watchdog")
    device.open()
    device.set_timeout(1)
    assert (fake.ticking, fake.timeout_s) == (True, 1)
    assert fired.wait(PATIENCE_S)


@needs_fuse
def test_kicks_put_it_off_and_the_magic_close_ends_it(
    fake: FuseWatchdog, tmp_path: Path, fired: threading.Event
) -> None:
    device = KernelDevice(tmp_path / "watchdog")
    device.open()
    device.set_timeout(60)
    before = fake.kicks
    for _ in range(3):
        device.kick()
    assert fake.kicks == before + 3
    device.close()
    until(lambda: not fake.ticking)
    assert not fired.is_set()


@needs_fuse
def test_a_process_that_ends_leaves_it_ticking(
    fake: FuseWatchdog, tmp_path: Path, fired: threading.Event
) -> None:
    device = KernelDevice(tmp_path / "watchdog")
    device.open()
    device.set_timeout(1)
    descriptor = device._descriptor
    assert descriptor is not None
    os.close(descriptor)  # what the kernel does for a process that is killed
    assert fired.wait(PATIENCE_S)
    assert fake.ticking


@needs_fuse
@pytest.mark.parametrize(
    ("options", "at_least_s", "words"),
    [
        (wd.CAN_SET_TIMEOUT, 1, r"\(fake in FUSE\) cannot be used: it does not know magic close"),
        (wd.CAN_MAGIC_CLOSE, 1, "cannot be used: it does not know a time-out"),
        (wd.CAN_SET_TIMEOUT | wd.CAN_MAGIC_CLOSE, 5, "fires after 5 s where 2 s were asked for"),
    ],
)
def test_a_device_that_is_of_no_use_is_refused_and_stopped(
    tmp_path: Path, options: int, at_least_s: int, words: str
) -> None:
    path, fired = tmp_path / "watchdog", threading.Event()
    fake = FuseWatchdog(path, fired.set, options=options, at_least_s=at_least_s)
    with fake.mounted():
        dog = Watchdog(KernelDevice(path), 2, [WEB], clock=lambda: 0)
        with pytest.raises(ActionError, match=words):
            dog.arm(WEB, 4000)
        until(lambda: not fake.ticking)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nothing", "No such file or directory. Advice: load the driver of the machine's watchdog"),
        ("not-one", "refuses: Inappropriate ioctl for device"),
    ],
)
def test_what_is_no_watchdog(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "not-one").touch()
    with pytest.raises(ActionError, match=words):
        KernelDevice(tmp_path / name).open()


# --- when it is kicked ----------------------------------------------------------------------------


@dataclass
class Told:
    """A device that remembers what it was told."""

    told: list[str] = field(default_factory=list)
    is_open: bool = False

    def open(self) -> None:
        if not self.is_open:
            self.told.append("open")
        self.is_open = True

    def set_timeout(self, timeout_s: int) -> None:
        self.told.append(f"{timeout_s} s")

    def kick(self) -> None:
        self.told.append("kick")

    def close(self) -> None:
        self.told.append("close")
        self.is_open = False

    def since(self) -> list[str]:
        told, self.told = self.told, []
        return told


@dataclass
class Dog:
    """A watchdog of 2 s under a lease of 4 s, at an instant that the test moves."""

    groups: tuple[GroupId, ...] = (WEB,)
    device: Told = field(default_factory=Told)
    now_ms: int = 0

    def __post_init__(self) -> None:
        self.it = Watchdog(self.device, 2, self.groups, clock=lambda: self.now_ms)


def test_armed_kicked_and_disarmed() -> None:
    dog = Dog()
    dog.it.arm(WEB, 4000)
    assert dog.device.since() == ["open", "2 s"]
    dog.now_ms = 300
    dog.it.kick(WEB, 4200)
    assert dog.device.since() == ["kick"]
    dog.it.disarm(WEB)
    assert dog.device.since() == ["close"]
    dog.it.kick(WEB, 9000)
    assert dog.device.since() == [], "a renewal that comes late arms nothing"


def test_it_is_not_kicked_when_it_would_fire_after_the_lease() -> None:
    dog = Dog()
    dog.it.arm(WEB, 4000)
    dog.device.since()
    dog.now_ms = 2001  # the renewal took so long, or this process was stopped
    dog.it.kick(WEB, 4000)
    assert dog.device.since() == []


def test_too_little_lease_arms_nothing() -> None:
    dog = Dog()
    with pytest.raises(ActionError, match="too little of the lease of group web is left"):
        dog.it.arm(WEB, 1999)
    assert not dog.device.is_open


def test_too_little_lease_arms_nothing_either_where_it_was_disarmed_before() -> None:
    dog = Dog()
    for group in (WEB, MAIL):
        dog.it.disarm(group)  # at the start of the daemon
    with pytest.raises(ActionError, match="too little of the lease"):
        dog.it.arm(WEB, 1999)
    assert not dog.device.is_open, "it ticks, and would reset a machine that is well"


def test_services_have_their_time_to_stop_once() -> None:
    dog = Dog()
    dog.it.arm(WEB, 4000)
    dog.device.since()
    dog.it.leave(WEB, 30_000)
    assert dog.device.since() == ["30 s"]
    dog.now_ms = 20_000
    dog.it.leave(WEB, 30_000)
    dog.it.kick(WEB, 90_000)
    assert dog.device.since() == [], "nothing more until they have stopped"
    dog.it.disarm(WEB)
    assert dog.device.since() == ["close"]


def test_what_a_former_life_left_is_disarmed_when_every_group_has_let_go() -> None:
    dog = Dog((WEB, MAIL))
    dog.it.disarm(WEB)
    assert dog.device.since() == [], "who knows what mail does"
    dog.it.disarm(MAIL)
    assert dog.device.since() == ["open", "close"]
    dog.it.disarm(MAIL)
    assert dog.device.since() == []


def test_with_two_groups_the_one_that_is_not_renewed_decides() -> None:
    dog = Dog((WEB, MAIL))
    dog.it.arm(WEB, 4000)
    dog.it.arm(MAIL, 4000)
    dog.device.since()
    dog.now_ms = 1500
    dog.it.kick(WEB, 5500)
    assert dog.device.since() == ["kick"]
    dog.now_ms = 2500
    dog.it.kick(WEB, 6500)
    assert dog.device.since() == [], "mail's lease would end before it fired"
    dog.it.disarm(MAIL)
    dog.it.kick(WEB, 6500)
    assert dog.device.since() == ["kick"]


def until(holds: Callable[[], bool]) -> None:
    for _ in range(round(PATIENCE_S * 100)):
        if holds():
            return
        threading.Event().wait(0.01)
    pytest.fail(f"not within {PATIENCE_S:g} s")
