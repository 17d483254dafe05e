"""What a back end does, and the thread that both share: read events, mark places, never block."""

from __future__ import annotations

import itertools
import logging
import os
import select
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

from staqraft.capture.directories import Directory
from staqraft.capture.dirty import DirtySet, Key
from staqraft.capture.errors import CaptureError
from staqraft.errors import BarrierTimeout

logger = logging.getLogger(__name__)

Known = Callable[[Key], bool]
_REST_MS: Final = 2


class Source(Protocol):
    """A kernel interface that says where something changed. Keys name directories."""

    backend: str
    sees_all_names: bool  # a change of a file is told, whatever name it was made under
    problem: str  # a sentence for people when something cannot be watched, else ""

    def add_root(self, tree: str, fd: int) -> Key:
        """Watches the tree whose root is open as `fd` (kept open by the caller)."""
        ...

    def key_of(self, tree: str, fd: int) -> Key:
        """The key of an open directory of the tree; it is watched when this returns."""
        ...

    def open(self, directory: Directory) -> int | None:
        """Opens exactly this directory, wherever it is by now; None if it cannot be found."""
        ...

    def is_inside(self, directory: Directory) -> bool | None:
        """Whether it still exists inside its tree; None if this back end cannot know."""
        ...

    def note_linked(self, tree: str, directory_fd: int, name: bytes) -> None:
        """A file of the tree has more than one name."""
        ...

    def inode_of(self, key: Key) -> tuple[int, int] | None:
        """Device and inode of an object in the dirty set; None if it is gone."""
        ...

    def forget(self, key: Key) -> None:
        """The directory left the trees."""
        ...

    def barrier(self, timeout_ms: int) -> None:
        """Returns when every event from before the call has been marked dirty."""
        ...

    def close(self) -> None:
        """Stops the thread and closes everything."""
        ...


class Drain:
    """A thread that reads an event queue, and the cookies that order it.

    What comes after a while of silence is read at once. After that it rests for a moment, unless a
    barrier waits: whoever writes then pays for telling the kernel's queue, and not for waking this
    thread each time, and what he does to one object in a row is one event.

    A cookie is a uniquely named file in a watched directory. The kernel puts its event behind all
    earlier ones of the same queue, so when it has been read, they have been read.
    """

    def __init__(self, name: str, fd: int, read: Callable[[], None], dirty: DirtySet) -> None:
        self._fd = fd
        self._read = read
        self._dirty = dirty
        self._cookies: dict[bytes, threading.Event] = {}
        self._numbers = itertools.count(1)
        self._failure: Exception | None = None
        self._stop_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._hurry_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._run, name=f"capture-{name}", daemon=True)

    def start(self) -> None:
        """Starts to read."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread; the event queue is the caller's to close."""
        os.eventfd_write(self._stop_fd, 1)
        if self._thread.is_alive():
            self._thread.join()
        os.close(self._stop_fd)
        os.close(self._hurry_fd)

    def seen(self, name: bytes) -> None:
        """A cookie's event was read, and everything before it is marked."""
        if (event := self._cookies.get(name)) is not None:
            event.set()

    def lost(self) -> None:
        """Events were lost, as the dirty set knows; perhaps those of cookies that are waited for.

        Whoever waits goes on: everything before its cookie is found by the comparison that follows.
        """
        for event in list(self._cookies.values()):
            event.set()

    def barrier(self, directory_fd: int, timeout_ms: int) -> None:
        """Makes a cookie and waits for its event. Raises BarrierTimeout or CaptureError."""
        self._check()
        name = b".staqraft-cookie-%d-%d" % (os.getpid(), next(self._numbers))
        event = self._cookies[name] = threading.Event()
        try:
            os.close(
                os.open(name, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory_fd)
            )
            os.eventfd_write(self._hurry_fd, 1)
            seen = event.wait(timeout_ms / 1000)
        except OSError as error:
            raise CaptureError(
                f"no barrier: the cookie file could not be made ({error.strerror});"
                " make space on the volume of the run directory"
            ) from error
        finally:
            del self._cookies[name]
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=directory_fd)
        self._check()
        if not seen:
            raise BarrierTimeout(f"the kernel's events were not read within {timeout_ms} ms")

    def _check(self) -> None:
        if self._failure is not None:
            raise CaptureError(
                f"events are no longer read: {self._failure}; restart this process"
            ) from self._failure

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        poll.register(self._stop_fd, select.POLLIN)
        resting = select.poll()
        for fd in (self._stop_fd, self._hurry_fd):
            resting.register(fd, select.POLLIN)
        try:
            while not any(fd == self._stop_fd for fd, _ in poll.poll()):
                self._read()
                if any(fd == self._hurry_fd for fd, _ in resting.poll(_REST_MS)):
                    os.eventfd_read(self._hurry_fd)
        except Exception as error:  # whatever it is: no event may be lost unseen
            logger.exception("The thread that reads file events died.")
            self._failure = error
            self._dirty.overflow()
            self.lost()


READ_BYTES: Final = 256 << 10
