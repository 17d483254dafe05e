"""Postfix, Dovecot and procmail deliver on the active; the standby has it all, and can go on."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from fakes.data_pair import DataNode, DataPair, data_pair
from fakes.records import MAIL
from fakes.stream_pair import leave_out, until
from lab.compare import Manifest, differences, manifest
from staqraft.journal.cursor import Cursor, Frames
from staqraft.journal.record import Upsert
from staqraft.journal.record_codec import decode
from staqraft.model import ORIGIN

_LDA: Final = Path("/usr/lib/dovecot/dovecot-lda")
_CACHES: Final = (b"dovecot.index", b"dovecot.list.index")
_USER: Final = "mail"  # Debian's own, of whom nothing else is asked

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(os.geteuid() != 0, reason="mail is delivered as another user: needs root"),
]


def needs(program: str | Path, package: str) -> pytest.MarkDecorator:
    missing = shutil.which(program) is None
    reason = f"there is no {program}: scripts/bootstrap installs {package}"
    return pytest.mark.skipif(missing, reason=reason)


def as_user(
    argv: Sequence[str | Path], home: Path, mail: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    user = pwd.getpwnam(_USER)
    done = subprocess.run(
        argv,
        input=mail,
        cwd=home,
        env={"HOME": str(home), "USER": _USER, "PATH": "/usr/bin:/bin"},
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=(),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, (argv, done.stdout, done.stderr)
    return done


def a_mail(number: int, size: int = 3000) -> bytes:
    body = b"line %d of a mail\n" % number * (size // 18)
    return b"From: lea@example.org\nSubject: %d\n\n%b" % (number, body)


@asynccontextmanager
async def a_pair(profile: str) -> AsyncIterator[DataPair]:
    """Whose trees other users may write to."""
    async with data_pair() as pair:
        for node in (pair.a, pair.b):
            leave_out(node.tree.parent, profile=profile)
            node.tree.chmod(0o1777)
            for above in (node.tree.parent, node.tree.parent.parent):
                above.chmod(0o711)
            await node.stop_processes()
            node.start()
        await pair.promote(pair.a, pair.b)
        yield pair


def mails_of(node: DataNode) -> Manifest:
    """Without what the profile leaves out."""
    return {
        path: item
        for path, item in manifest(node.tree).items()
        if not path.rpartition(b"/")[2].startswith(_CACHES)
    }


async def settle(active: DataNode, standby: DataNode) -> None:
    position = await active.barrier()
    await active.acknowledged(standby.node, position)
    await standby.applied(position)
    found = differences(mails_of(active), mails_of(standby))
    assert not found, "\n".join(map(str, found[:10]))


# --- Dovecot -------------------------------------------------------------------------------------


class Dovecot:
    """Its delivery agent and doveadm over a node's tree, without a daemon."""

    def __init__(self, node: DataNode) -> None:
        self.home = node.tree / "joe"
        base = node.tree.parent / "dovecot"
        base.mkdir()
        shutil.chown(base, _USER, _USER)
        self.log = base / "log"
        self._config = base / "dovecot.conf"
        self._config.write_text(
            f"base_dir = {base}\nstate_dir = {base}\nlog_path = {self.log}\nssl = no\n"
            "mail_location = maildir:~/Maildir\nfirst_valid_uid = 1\n"
            "postmaster_address = postmaster@example.org\nhostname = mail.example.org\n"
            "lda_mailbox_autocreate = yes\nlda_mailbox_autosubscribe = yes\n"
        )

    def deliver(self, mail: bytes, folder: str = "INBOX") -> None:
        as_user([_LDA, "-c", self._config, "-f", "lea@example.org", "-m", folder], self.home, mail)

    def ask(self, *words: str) -> list[str]:
        done = as_user(["doveadm", "-c", str(self._config), *words], self.home)
        return done.stdout.decode().splitlines()

    def status(self, folder: str) -> list[str]:
        return self.ask("mailbox", "status", "messages unseen uidnext uidvalidity", folder)

    def mails(self, folder: str) -> list[str]:
        """Numbers, flags and subjects."""
        return self.ask("-f", "tab", "fetch", "uid flags hdr.subject", "mailbox", folder)

    def complaints(self) -> list[str]:
        bad = ("Error", "Warning", "Panic", "orrupt")
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line for line in lines if any(word in line for word in bad)]


@needs(_LDA, "dovecot-core")
@needs("doveadm", "dovecot-core")
async def test_dovecot_goes_on_with_the_standbys_copy() -> None:
    async with a_pair("maildir") as pair:
        here = Dovecot(pair.a)
        here.home.mkdir()
        shutil.chown(here.home, _USER, _USER)
        for number in range(12):
            here.deliver(a_mail(number), "INBOX" if number % 3 else "Lists")
        here.ask("flags", "add", "\\Seen \\Answered", "mailbox", "INBOX", "uid", "1:3")
        here.ask("flags", "add", "important", "mailbox", "INBOX", "uid", "4")  # a keyword
        here.ask("expunge", "mailbox", "INBOX", "uid", "2")
        here.ask("move", "Lists", "mailbox", "INBOX", "uid", "5")
        await settle(pair.a, pair.b)
        before = {
            folder: (here.status(folder), here.mails(folder)) for folder in ("INBOX", "Lists")
        }
        await settle(pair.a, pair.b)

        await pair.promote(pair.b, pair.a)
        there = Dovecot(pair.b)
        after = {folder: (there.status(folder), there.mails(folder)) for folder in before}
        assert after == before, "numbers, flags and keywords are what clients remember"
        there.deliver(a_mail(100))
        assert len(there.mails("INBOX")) == len(before["INBOX"][1]) + 1
        assert there.complaints() == []
        await settle(pair.b, pair.a)


# --- Postfix -------------------------------------------------------------------------------------

_SERVICES: Final = """\
pickup unix n - n 1 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
error unix - - n - - error
retry unix - - n - - error
local unix - n n - - local
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """An instance of its own that delivers to Maildirs in a node's tree, and listens nowhere."""

    def __init__(self, node: DataNode) -> None:
        base = node.tree.parent / "postfix"
        self.log = base / "log"
        self._config = base / "etc"
        for made in (self._config, base / "queue", base / "data"):
            made.mkdir(parents=True)
        shutil.chown(base / "data", "postfix")
        (self._config / "master.cf").write_text(_SERVICES)
        (self._config / "main.cf").write_text(
            f"compatibility_level = 3.6\nqueue_directory = {base}/queue\n"
            f"data_directory = {base}/data\nmyhostname = mail.example.org\n"
            "mydestination = example.org\ninet_interfaces = loopback-only\n"
            f"mail_spool_directory = {node.tree}/\nalias_maps =\nalias_database =\n"
            f"local_recipient_maps =\nbiff = no\nmaillog_file = {self.log}\n"
            "maillog_file_prefixes = /tmp, /var\n"
        )

    def run(self, command: str) -> None:
        argv = ["postfix", "-c", str(self._config), command]
        done = subprocess.run(argv, check=False, timeout=120, capture_output=True)
        assert done.returncode == 0, done.stderr

    def send(self, mail: bytes) -> None:
        argv = ["sendmail", "-C", str(self._config), "-f", "lea@example.org"]
        subprocess.run([*argv, f"{_USER}@example.org"], input=mail, check=True, timeout=60)


@needs("postfix", "postfix")
async def test_what_postfix_delivers_is_on_the_standby() -> None:
    async with a_pair("maildir") as pair:
        postfix = Postfix(pair.a)
        new = pair.a.tree / _USER / "new"
        postfix.run("start")
        try:
            for number in range(20):
                await asyncio.to_thread(postfix.send, a_mail(number))

            async def delivered() -> bool:
                return new.is_dir() and len(list(new.iterdir())) == 20

            await until(delivered, "Postfix delivered twenty mails")
        finally:
            postfix.run("stop")
        await settle(pair.a, pair.b)
        there = list((pair.b.tree / _USER / "new").iterdir())
        subjects = {line for mail in there for line in mail.read_bytes().splitlines()[:20]}
        assert {b"Subject: %d" % number for number in range(20)} <= subjects
        assert {mail.owner() for mail in there} == {_USER}


# --- procmail ------------------------------------------------------------------------------------


@needs("procmail", "procmail")
async def test_a_mailbox_that_procmail_locks_is_never_told_in_the_middle_of_a_mail() -> None:
    async with a_pair("mbox") as pair:
        mbox = pair.a.tree / "joe"

        def deliver(number: int) -> None:
            argv = ["procmail", "-f", "lea@example.org", f"DEFAULT={mbox}", f"ORGMAIL={mbox}"]
            argv += ["LOCKSLEEP=1", "/dev/null"]
            as_user(argv, pair.a.tree, a_mail(number, 20_000))

        await asyncio.gather(*(asyncio.to_thread(deliver, number) for number in range(24)))
        await settle(pair.a, pair.b)
        text = (pair.b.tree / "joe").read_bytes()
        subjects = [int(line[9:]) for line in text.splitlines() if line[:9] == b"Subject: "]
        assert sorted(subjects) == [*range(24)]
        assert all(text[:size].endswith(b"of a mail\n\n") for size in told(pair.a, b"joe") if size)
        assert not list(pair.b.tree.glob("*.lock"))


def told(node: DataNode, path: bytes) -> list[int]:
    """The sizes that a file had in each record that told of it."""
    sizes: list[int] = []
    with Cursor(node.config.group_dir(MAIL) / "journal", ORIGIN) as cursor:
        while isinstance(found := cursor.read(1 << 20), Frames):
            sizes += [
                record.change.metadata.size
                for record in decode(found.data)
                if record.path == path and isinstance(record.change, Upsert)
            ]
    assert sizes, "the journal tells of it"
    return sizes
