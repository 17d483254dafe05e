"""A watchdog device that is a file of a FUSE file system: real opens, ioctls and magic closes.

The kernel passes ioctls on a FUSE file to whoever serves it, so the code under test is the code
that talks to /dev/watchdog. Served by a thread that speaks the kernel's protocol itself
(<linux/fuse.h>, version 7.31) over /dev/fuse, with one regular file as the root. Needs root.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from staqraft.actions import watchdog as wd

_IN = struct.Struct("=IIQQIIIHH")
_OUT = struct.Struct("=IiQ")
_IOCTL_IN = struct.Struct("=QIIQII")
_FORGET, _BATCH_FORGET, _INTERRUPT = 2, 42, 36
_WRITE_HEADER = 40
_DIRECT_IO = 1
_ENOSYS, _ENOTTY = 38, 25
_MNT_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


class FuseWatchdog:
    """Ticks from its first opening on; `fire` is called, once, when it was not kicked in time."""

    def __init__(
        self,
        path: Path,
        fire: Callable[[], None],
        *,
        options: int = wd.CAN_SET_TIMEOUT | wd.CAN_MAGIC_CLOSE,
        at_least_s: int = 1,
    ) -> None:
        """`at_least_s`: shorter time-outs are not taken, as some hardware does."""
        self.timeout_s = 60
        self.kicks = 0
        self.ticking = False
        self.fired = False
        self._path = path
        self._fire = fire
        self._options = options
        self._at_least_s = at_least_s
        self._meant = False
        self._kicked = time.monotonic()
        self._changed = threading.Condition()
        self._over = False
        self._fuse = -1

    @contextlib.contextmanager
    def mounted(self) -> Iterator[FuseWatchdog]:
        """The device is at its path."""
        self._path.touch()
        self._fuse = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        data = f"fd={self._fuse},rootmode=100600,user_id=0,group_id=0".encode()
        target = os.fsencode(self._path)
        if _libc.mount(b"watchdog", target, b"fuse", 0, data):
            raise OSError(ctypes.get_errno(), "cannot mount the fake watchdog")
        threads = [threading.Thread(target=t, daemon=True) for t in (self._serve, self._tick)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()
            _libc.umount2(target, _MNT_DETACH)
            for thread in threads:
                thread.join(5)
            os.close(self._fuse)

    # --- the clock --------------------------------------------------------------------------------

    def _tick(self) -> None:
        with self._changed:
            while not self._over and not self.fired:
                left_s = self._kicked + self.timeout_s - time.monotonic() if self.ticking else None
                if left_s is not None and left_s <= 0:
                    self.fired = True
                    break
                self._changed.wait(left_s)
        if self.fired:
            self._fire()

    def _kick(self) -> None:
        self._kicked = time.monotonic()
        self._changed.notify_all()

    # --- the file ---------------------------------------------------------------------------------

    def _serve(self) -> None:
        while True:
            try:
                request = os.read(self._fuse, 1 << 17)
            except OSError:
                return  # unmounted
            if not request:
                return  # unmounted, too
            _, opcode, unique, *_ = _IN.unpack_from(request)
            if opcode in {_FORGET, _BATCH_FORGET, _INTERRUPT}:
                continue
            with self._changed:
                answer = self._answer(opcode, request[_IN.size :])
            error, body = (-answer, b"") if isinstance(answer, int) else (0, answer)
            with contextlib.suppress(OSError):  # the caller is gone
                os.write(self._fuse, _OUT.pack(_OUT.size + len(body), error, unique) + body)

    def _answer(self, opcode: int, body: bytes) -> bytes | int:
        """The body of the answer, or an error number."""
        match opcode:
            case 26:  # INIT
                return struct.pack("=IIIIHHIIHHI28x", 7, 31, 0, 0, 4, 3, 4096, 1, 1, 0, 0)
            case 3 | 4:  # GETATTR, SETATTR
                attributes = (0, 0, 0, 0o100600, 1, 0, 0, 0, 4096, 0)
                return struct.pack("=QII6Q10I", 1, 0, 0, 1, 0, 0, 0, 0, 0, *attributes)
            case 14:  # OPEN
                self.ticking, self._meant = True, False
                self._kick()
                return struct.pack("=QII", 1, _DIRECT_IO, 0)
            case 16:  # WRITE
                data = body[_WRITE_HEADER:]
                self._meant = b"V" in data
                self._kick()
                return struct.pack("=II", len(data), 0)
            case 18:  # RELEASE
                if self._meant:
                    self.ticking = False
                    self._changed.notify_all()
                return b""
            case 25 | 38:  # FLUSH, DESTROY
                return b""
            case 39:  # IOCTL
                return self._ioctl(body)
            case _:
                return _ENOSYS

    def _ioctl(self, body: bytes) -> bytes | int:
        _, _, command, _, in_size, _ = _IOCTL_IN.unpack_from(body)
        given = body[_IOCTL_IN.size : _IOCTL_IN.size + in_size]
        match command:
            case wd.GETSUPPORT:
                out = struct.pack("@II32s", self._options, 0, b"fake in FUSE")
            case wd.KEEPALIVE:
                self.kicks += 1
                self._kick()
                out = struct.pack("@i", 0)
            case wd.SETTIMEOUT:
                self.timeout_s = max(self._at_least_s, struct.unpack("@i", given)[0])
                self._kick()
                out = struct.pack("@i", self.timeout_s)
            case wd.GETTIMEOUT:
                out = struct.pack("@i", self.timeout_s)
            case _:
                return _ENOTTY
        return struct.pack("=iIII", 0, 0, 0, 0) + out
