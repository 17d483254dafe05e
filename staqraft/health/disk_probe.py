"""The program that writes to each volume, in a process of its own; it imports nothing of ours.

A write to a disk that hangs waits in the kernel, where nothing can end it, not even SIGKILL. Here
it holds one thread of a small process that nobody waits for. Each directory has a thread, so that a
disk that hangs says nothing about the others. A thread first takes a lock of its directory's in the
run directory, which is in memory, and before it writes one of its volume's: as long as a
predecessor hangs in the kernel it keeps them, so no second one is sent after it, by whichever of
the volume's directories, whatever is restarted how often.

What it prints are lines of JSON: `{"path", "begin": true}` before each write, and after it
`{"path", "took_ms", "error", "free", "size", "free_inodes", "inodes"}`. A directory on a volume
that another one is on already says `{"path", "same": PATH}` instead, and `{"path", "held": true}`
means that a predecessor has not come back.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import signal
import sys
import threading
import time
import zlib

BLOCK = 4096
_PR_SET_PDEATHSIG = 1
_CLONE_FILES = 0x400
_NO_TMPFILE = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)
_SAY = threading.Lock()
_OWNERS: dict[int, str] = {}  # by device: which directory's thread writes to it
_OWNING = threading.Lock()


def say(**words: object) -> None:
    """One line, whole."""
    with _SAY:
        sys.stdout.write(json.dumps(words) + "\n")
        sys.stdout.flush()


def write_once(directory: str) -> str:
    """Writes and syncs a block; the name of the errno if that fails, else ""."""
    try:
        handle = _open(directory)
        try:
            os.write(handle, time.time_ns().to_bytes(8, "big") * (BLOCK // 8))
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno in _NO_TMPFILE:
            return _sync_only(directory)
        return errno.errorcode.get(error.errno or 0, str(error.errno))
    return ""


def _sync_only(directory: str) -> str:
    """Where the filesystem has no files without a name: a disk that hangs or fails is seen so."""
    try:
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error.errno))
    return ""


def _open(directory: str) -> int:
    """An empty file without a name, so that each write has to find room anew.

    A name would change the time of its directory, which is replicated, and on a standby would
    look like another hand's doing.
    """
    return os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)


def look(directory: str, run_dir: str, pause_s: float) -> None:
    """Looks at a directory's volume for ever."""
    # A descriptor table of its own: else a thread that hangs would keep the others' locks, too.
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_FILES):
        raise OSError(ctypes.get_errno(), "unshare")
    own = _open_lock(run_dir, f"{zlib.crc32(directory.encode()):08x}")
    while not _locked(own):
        say(path=directory, held=True)
        time.sleep(pause_s)
    volumes: dict[int, int] = {}  # by device: its lock
    while True:
        say(path=directory, begin=True)
        begun = time.monotonic()
        answer = _look_once(directory, run_dir, volumes)
        if "error" in answer:
            answer["took_ms"] = round((time.monotonic() - begun) * 1000)
        say(path=directory, **answer)
        time.sleep(pause_s)


def _open_lock(run_dir: str, name: str) -> int:
    return os.open(f"{run_dir}/probe-{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _locked(lock: int) -> bool:
    """Whether the lock is ours now; it stays so until this thread ends."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _look_once(directory: str, run_dir: str, volumes: dict[int, int]) -> dict[str, object]:
    try:
        device = os.stat(directory).st_dev  # noqa: PTH116 - as above
    except OSError as error:
        _leave_to_others(directory, volumes, but=None)
        return {"error": errno.errorcode.get(error.errno or 0, str(error.errno))}
    _leave_to_others(directory, volumes, but=device)
    with _OWNING:
        owner = _OWNERS.setdefault(device, directory)
    if owner != directory:
        return {"same": owner}
    if device not in volumes:
        volumes[device] = _open_lock(run_dir, f"volume-{device:x}")
    if not _locked(volumes[device]):
        return {"held": True}
    failed = write_once(directory)
    try:
        room = os.statvfs(directory)
    except OSError as error:
        return {"error": failed or errno.errorcode.get(error.errno or 0, "")}
    return {
        "error": failed,
        "free": room.f_bavail * room.f_frsize,
        "size": room.f_blocks * room.f_frsize,
        "free_inodes": room.f_favail,
        "inodes": room.f_files,
    }


def _leave_to_others(directory: str, volumes: dict[int, int], *, but: int | None) -> None:
    """Something else is mounted at the directory now, or it is gone: its volume is another's."""
    with _OWNING:
        for device in [d for d, owner in _OWNERS.items() if owner == directory and d != but]:
            del _OWNERS[device]
    for device in [d for d in volumes if d != but]:
        os.close(volumes.pop(device))


def main(arguments: list[str]) -> int:
    """`RUN_DIR PARENT PAUSE_MS DIRECTORY...`; until it is killed, or its parent is."""
    run_dir, parent, pause_ms, *directories = arguments
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(parent):
        return 0
    for directory in directories:
        threading.Thread(
            target=look, args=(directory, run_dir, int(pause_ms) / 1000), daemon=True
        ).start()
    signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
