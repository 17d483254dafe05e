"""A watchdog device: it resets this machine unless it is kicked in time. Linux' /dev/watchdog.

The last resort behind the lease: a machine whose software hangs, or that could not let go, is reset
before its lease is over. So it is kicked only when a renewal was committed, never from a timer, and
only while the device cannot fire later than the lease ends. It is armed before anything is served,
and disarmed (by the "magic close") only when nothing is served any more.

There is one device for all groups of a node: it is kicked only while every group that is armed may
be relied upon. A device that a former life of this daemon left running goes on ticking until every
group of this one has armed it or has let go.

Interface: Documentation/watchdog/watchdog-api.rst. Time-outs are whole seconds there.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Protocol

from staqraft.actions.vip import boottime_ms
from staqraft.errors import ActionError
from staqraft.model import GroupId

logger = logging.getLogger(__name__)

# <linux/watchdog.h>: _IOR('W', 0, struct watchdog_info), _IOR('W', 5, int), _IOWR('W', 6, int), ...
GETSUPPORT: Final = 0x80285700
KEEPALIVE: Final = 0x80045705
SETTIMEOUT: Final = 0xC0045706
GETTIMEOUT: Final = 0x80045707
_INFO: Final = struct.Struct("@II32s")  # options, firmware version, identity
_INT: Final = struct.Struct("@i")
CAN_SET_TIMEOUT: Final = 0x0080
CAN_MAGIC_CLOSE: Final = 0x0100
_MAGIC: Final = b"V"
_CLASS: Final = Path("/sys/class/watchdog")


class Device(Protocol):
    """A watchdog as the kernel offers it. ActionErrors are sentences for an administrator."""

    def open(self) -> None:
        """It ticks from now on. Nothing happens if it is open."""

    def set_timeout(self, timeout_s: int) -> None:
        """It fires so long after the last kick, which this is one."""

    def kick(self) -> None:
        """It does not fire for another time-out."""

    def close(self) -> None:
        """It does not tick any more."""


class KernelDevice:
    """`/dev/watchdog` or another."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def open(self) -> None:
        """See `Device`. Refuses one that could not be disarmed, before it ticks where possible."""
        if self._descriptor is not None:
            return
        self._refuse_nowayout()
        try:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            raise ActionError(_cannot_open(self._path, error)) from error
        try:
            options, _, identity = _INFO.unpack(self._ioctl(GETSUPPORT, bytes(_INFO.size)))
        except ActionError:
            self.close()
            raise
        name = identity.rstrip(b"\0").decode(errors="backslashreplace")
        missing = [
            what
            for flag, what in ((CAN_SET_TIMEOUT, "a time-out"), (CAN_MAGIC_CLOSE, "magic close"))
            if not options & flag
        ]
        if missing:
            self.close()
            raise ActionError(
                f"the watchdog {self._path} ({name}) cannot be used: it does not know"
                f" {' and '.join(missing)}. 'modprobe softdog' gives one that does"
            )
        logger.info("the watchdog %s (%s) ticks", self._path, name)

    def _refuse_nowayout(self) -> None:
        """With `nowayout` a device that was opened can never be stopped again."""
        setting = _CLASS / _class_name(self._path) / "nowayout"
        with contextlib.suppress(OSError):
            if setting.read_text().strip() == "1":
                raise ActionError(
                    f"the watchdog {self._path} cannot be disarmed (nowayout, see {setting}):"
                    " every switchover would reset this machine. Load its driver without nowayout"
                )

    def set_timeout(self, timeout_s: int) -> None:
        """See `Device`. ActionError when the device takes a longer one instead."""
        self._ioctl(SETTIMEOUT, _INT.pack(timeout_s))
        (taken,) = _INT.unpack(self._ioctl(GETTIMEOUT, bytes(_INT.size)))
        if taken > timeout_s:
            raise ActionError(
                f"the watchdog {self._path} fires after {taken} s where {timeout_s} s were asked"
                " for: it is too slow for this lease. Make lease.ttl at least twice that, or use"
                " another device ('modprobe softdog')"
            )
        self.kick()

    def kick(self) -> None:
        """See `Device`."""
        self._ioctl(KEEPALIVE, bytes(_INT.size))

    def close(self) -> None:
        """See `Device`: the letter V before the end says that it is meant."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        try:
            os.write(descriptor, _MAGIC)
        except OSError as error:
            raise ActionError(
                f"the watchdog {self._path} could not be disarmed and will reset this machine:"
                f" {os.strerror(error.errno or 0)}"
            ) from error
        finally:
            os.close(descriptor)
        logger.info("the watchdog %s does not tick any more", self._path)

    def _ioctl(self, request: int, argument: bytes) -> bytes:
        if self._descriptor is None:
            raise ActionError(f"the watchdog {self._path} is not open")
        try:
            return fcntl.ioctl(self._descriptor, request, argument)
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise ActionError(f"the watchdog {self._path} refuses: {reason}") from error


def _class_name(path: Path) -> str:
    """What sysfs calls the device: /dev/watchdog is the first one by another name."""
    name = path.resolve().name
    return "watchdog0" if name == "watchdog" else name


def _cannot_open(path: Path, error: OSError) -> str:
    match error.errno:
        case errno.ENOENT | errno.ENODEV | errno.ENXIO:
            advice = "load the driver of the machine's watchdog, or 'modprobe softdog'"
        case errno.EBUSY:
            advice = (
                "another program has it (systemd's RuntimeWatchdogSec=, or the package watchdog):"
                " it has to let go, because a watchdog has one master"
            )
        case _:
            advice = "see 'ls -l' of it"
    reason = os.strerror(error.errno or 0)
    return f"the watchdog {path} cannot be opened: {reason}. Advice: {advice}"


class Watchdog:
    """The node's device, on behalf of its groups. Calls come one at a time; they do not wait."""

    def __init__(
        self,
        device: Device,
        timeout_s: int,
        groups: Iterable[GroupId],
        *,
        clock: Callable[[], int] = boottime_ms,
    ) -> None:
        """`clock` is CLOCK_BOOTTIME in milliseconds."""
        self._device = device
        self._timeout_s = timeout_s
        self._clock = clock
        self._set_s = 0  # what the device was told last; 0: it does not tick, or nobody knows
        self._until: dict[GroupId, int] = {}  # armed groups, and until when they are relied upon
        self._leaving: set[GroupId] = set()  # of these: their addresses are gone, services stop
        self._unheard = set(groups)
        self._known = False  # whether a former life left it ticking

    @property
    def armed(self) -> bool:
        """The machine is reset if nobody kicks."""
        return self._set_s > 0

    def arm(self, group: GroupId, deadline_ms: int) -> None:
        """From now on `group` serves, until `deadline_ms` unless it says more."""
        self._unheard.discard(group)
        self._leaving.discard(group)
        self._until[group] = deadline_ms
        try:
            self._device.open()
            self._known = False  # it ticks from now on, also if it is told nothing more
            ticks = self._feed()
        except ActionError:
            self.disarm(group)  # what cannot be relied upon is not to reset anything
            raise
        if not ticks:
            self.disarm(group)
            raise ActionError(
                f"too little of the lease of group {group} is left to arm the watchdog"
            )

    def kick(self, group: GroupId, deadline_ms: int) -> None:
        """A renewal was committed: the lease of an armed group lasts until `deadline_ms`."""
        if group in self._until and group not in self._leaving:
            self._until[group] = deadline_ms
            self._feed()

    def leave(self, group: GroupId, grace_ms: int) -> None:
        """The addresses of `group` are gone; its services have `grace_ms` to stop, once.

        What a former life left ticking gets no more time: who knows for how long it was silent.
        """
        if group not in self._until or group in self._leaving:
            return
        self._leaving.add(group)
        self._until[group] = self._clock() + grace_ms
        self._feed()

    def disarm(self, group: GroupId) -> None:
        """Nothing of `group` is served any more."""
        self._unheard.discard(group)
        self._leaving.discard(group)
        self._until.pop(group, None)
        if self._until or self._unheard or (self._known and not self.armed):
            return
        self._device.open()  # what a former life left behind is to be closed by us, too
        self._device.close()
        self._known = True
        self._set_s = 0

    def _feed(self) -> bool:
        """Kick, if even then the device fires while every group may be relied upon."""
        left_s = (min(self._until.values()) - self._clock()) // 1000
        leaving_only = self._leaving.issuperset(self._until)
        timeout_s = left_s if leaving_only else self._timeout_s
        if left_s < timeout_s or timeout_s < 1:
            return False
        if timeout_s != self._set_s:
            self._device.set_timeout(timeout_s)
            self._set_s = timeout_s
        else:
            self._device.kick()
        return True
