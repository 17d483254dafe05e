"""mbox files: read while nobody holds them, told by what changed, and as mail."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fakes.capturing import Captured, capturing
from fakes.scratch import memory_directory
from staqraft.capture.fanotify_source import FanotifySource
from staqraft.capture.inotify_source import InotifySource
from staqraft.capture.locks import WAIT_MS
from staqraft.journal.record import MailKind
from staqraft.journal.record_codec import encode

MESSAGE = b"From me@example.org Mon Nov 23 00:00:00 2026\nSubject: %d\n\nText\n\n"

_WRITER = """
import fcntl, os, sys
how, path = sys.argv[1:]
if how == "dot lock":
    os.close(os.open(path + ".lock", os.O_CREAT | os.O_EXCL))
with open(path, "ab", buffering=0) as box:
    if how == "fcntl":
        fcntl.lockf(box, fcntl.LOCK_EX)
    box.write(b"From me@example.org Mon Nov 23 00:00:00 2026\\nSubject: ha")
    print("half", flush=True)
    sys.stdin.readline()
    box.write(b"lf\\n\\nText\\n\\n")
if how == "dot lock":
    os.unlink(path + ".lock")
"""


@pytest.fixture(params=["fanotify", "inotify"])
def captured(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Captured]:
    if request.param == "fanotify" and os.geteuid() != 0:
        pytest.skip("fanotify needs root")
    backend = FanotifySource if request.param == "fanotify" else InotifySource
    (tmp_path / "mail").mkdir()
    (tmp_path / "mail" / "joe").write_bytes(MESSAGE % 0)
    with (
        memory_directory() as state,
        capturing(
            tmp_path / "mail", state, state / "run", backends=[backend], profile="mbox"
        ) as it,
    ):
        it.check()
        yield it


@contextmanager
def half_written(how: str, box: Path) -> Iterator[Callable[[], None]]:
    """A delivery under a lock that is in the middle; what is yielded lets it end."""
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, how, str(box)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as writer:  # fmt: skip
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"half\n"

        def finish() -> None:
            writer.communicate(b"\n")

        yield finish


def found_locked(captured: Captured) -> None:
    """Captures until it has found a mailbox locked, then lets its patience end."""
    for _ in range(500):
        captured.capture.step(10)
        if captured.capture._locks.waited_for:
            break
    assert captured.capture._locks.waited_for
    captured.ahead_ms += WAIT_MS + 1


def is_whole(data: bytes) -> bool:
    return data.endswith(b"\n\n")


@pytest.mark.parametrize("how", ["fcntl", "dot lock"])
@pytest.mark.parametrize("size", ["small", "large"])
def test_no_half_message_is_sent(captured: Captured, how: str, size: str) -> None:
    joe = captured.root / "joe"
    if size == "large":
        joe.write_bytes(MESSAGE % 1 * 40_000)
        captured.check()
    before = joe.read_bytes()
    with half_written(how, joe) as finish:
        for _ in range(30):
            captured.capture.step(10)
            captured.replica.apply(captured.new_records())
            assert captured.replica.objects[b"joe"].data == before
        (captured.root / "jane").write_bytes(MESSAGE % 2)
        for _ in range(200):
            captured.capture.step(10)
            captured.replica.apply(captured.new_records())
            if b"jane" in captured.replica.objects:
                break
        assert b"jane" in captured.replica.objects, "one mailbox holds up another"
        finish()
        captured.check()
    assert captured.replica.objects[b"joe"].data.endswith(b"Subject: half\n\nText\n\n")


@pytest.mark.parametrize("how", ["fcntl", "dot lock"])
def test_a_barrier_waits_for_who_writes(captured: Captured, how: str) -> None:
    joe = captured.root / "joe"
    with half_written(how, joe) as finish:
        ending = threading.Timer(0.3, finish)
        ending.start()
        captured.settle()
        ending.join()
    assert is_whole(captured.replica.objects[b"joe"].data)
    captured.check()


@pytest.mark.parametrize("how", ["fcntl", "dot lock"])
def test_a_lock_that_stays_is_said_and_keeps_nobody_from_anything(
    captured: Captured, how: str
) -> None:
    joe = captured.root / "joe"
    with half_written(how, joe) as finish:
        found_locked(captured)
        captured.settle()
        assert captured.replica.objects[b"joe"].data.endswith(b"Subject: ha")
        said = " ".join(captured.capture.status().problems)
        assert "the mailbox 'joe' is locked for more than 5 s by" in said
        assert ("joe.lock" if how == "dot lock" else "process ") in said
        finish()
    captured.check()
    captured.ahead_ms += 2_000
    for _ in range(200):
        if not captured.capture.status().problems:
            break
        captured.capture.step(10)
        captured.settle()
    assert captured.capture.status().problems == ()


def test_a_locked_mailbox_that_goes_holds_up_nobody(captured: Captured) -> None:
    joe = captured.root / "joe"
    with half_written("fcntl", joe) as finish:
        found_locked(captured)
        captured.settle()
        joe.unlink()
        captured.settle()
        captured.ahead_ms += 2_000
        captured.capture.step(0)
        assert captured.capture.status().problems == ()
        finish()
    captured.check()


def test_nobody_is_kept_from_writing_for_long(captured: Captured) -> None:
    """Who delivers without waiting for a lock is refused only while the box is being read."""
    joe = captured.root / "joe"
    joe.write_bytes(MESSAGE % 1 * 100_000)
    captured.capture.step(10)  # it is read in slices, without a lock
    with joe.open("ab") as box:
        fcntl.lockf(box, fcntl.LOCK_EX | fcntl.LOCK_NB)
        box.write(MESSAGE % 2)
    captured.check()


def test_changes_in_a_box_of_100_mib_send_their_blocks(tmp_path: Path) -> None:
    (tmp_path / "mail").mkdir()
    joe = tmp_path / "mail" / "joe"
    block = os.urandom(1 << 20)
    with joe.open("wb") as box:
        for number in range(100):
            box.write(b"%1024d" % number + block[1024:])

    def sent(captured: Captured) -> int:
        captured.capture.barrier(60_000)
        return sum(len(encode(record)) for record in captured.new_records())

    with memory_directory() as state:
        captured = Captured(tmp_path / "mail", state, state / "run", profile="mbox")
        captured.capture.start()
        assert sent(captured) > 100 << 20
        with joe.open("ab") as box:
            box.write(os.urandom(4096))
        assert 4096 <= sent(captured) <= 4096 + 1024
        with joe.open("r+b") as file:  # a flag
            file.seek(50 << 20)
            file.write(b"Status: RO\n")
        assert sent(captured) <= 4096 + 1024
        captured.close()


def test_what_happens_is_told_as_mail(captured: Captured) -> None:
    root, since = captured.root, len(captured.replica.records)

    def mail() -> list[MailKind]:
        nonlocal since
        captured.check()
        told, since = captured.replica.records[since:], len(captured.replica.records)
        return [record.mail for record in told if record.mail]

    with (root / "joe").open("ab") as box:
        box.write(MESSAGE % 1)
    assert mail() == [MailKind.DELIVER]
    with (root / "joe").open("r+b") as file:
        file.seek(40)
        file.write(b"7")
    assert mail() == [MailKind.FLAGS]
    with (root / "joe").open("r+b") as file:
        file.truncate(len(MESSAGE % 0))
    assert mail() == [MailKind.EXPUNGE]
    (root / "jane").write_bytes(MESSAGE % 2)
    assert mail() == [MailKind.DELIVER]
    (root / "jane").rename(root / "jane.old")
    assert mail() == [MailKind.FOLDER]
    (root / "jane.old").unlink()
    assert mail() == [MailKind.FOLDER]
    (root / "joe.lock").write_bytes(b"")
    captured.check(left_out=frozenset({b"joe.lock"}))
