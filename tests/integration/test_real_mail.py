"""Real mail programs deliver on the active; the standby has it all, and can go on."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import smtplib
import subprocess
from collections.abc import AsyncIterator, Iterable, Sequence
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


class Lmtp:
    """Dovecot's LMTP server, by a whole Dovecot of its own that listens on one unix socket."""

    def __init__(self, node: DataNode) -> None:
        base = node.tree.parent / "lmtp"
        base.mkdir()
        base.chmod(0o755)
        self.socket = base / "socket"
        self.log = base / "log"
        self._config = base / "dovecot.conf"
        self._config.write_text(
            f"base_dir = {base}/run\nstate_dir = {base}/run\nlog_path = {self.log}\nssl = no\n"
            "protocols = lmtp\nfirst_valid_uid = 1\nfirst_valid_gid = 1\n"
            f"mail_location = maildir:{node.tree}/%n\nhostname = mail.example.org\n"
            "postmaster_address = postmaster@example.org\n"
            "passdb {\n  driver = static\n  args = nopassword=y\n}\n"
            f"userdb {{\n  driver = static\n  args = uid={_USER} gid={_USER} home={base}\n}}\n"
            f"service lmtp {{\n  unix_listener {self.socket} {{\n    mode = 0600\n  }}\n}}\n"
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        process = await asyncio.create_subprocess_exec("dovecot", "-F", "-c", self._config)

        async def listens() -> bool:
            assert process.returncode is None, self.log.read_text()
            return self.socket.exists()

        try:
            await until(listens, "Dovecot listens")
            yield
        finally:
            process.terminate()
            await asyncio.wait_for(process.wait(), 30)

    def deliver(self, user: str, mails: Iterable[bytes]) -> None:
        with smtplib.LMTP(str(self.socket)) as lmtp:
            for mail in mails:
                assert not lmtp.sendmail("lea@example.org", [f"{user}@example.org"], mail)


@needs("/usr/lib/dovecot/lmtp", "dovecot-lmtpd")
async def test_what_came_by_lmtp_before_a_barrier_survives_the_active() -> None:
    users = [f"user{number}" for number in range(4)]
    async with a_pair("maildir") as pair:
        lmtp = Lmtp(pair.a)

        def deliver(user: str) -> None:
            lmtp.deliver(user, (a_mail(number) for number in range(15)))

        async with lmtp.running():
            await asyncio.gather(*(asyncio.to_thread(deliver, user) for user in users))
            position = await pair.a.barrier()
            await pair.a.acknowledged(pair.b.node, position)
            pair.a.kill()
        await pair.promote(pair.b)
        for user in users:
            mails = [mail.read_bytes() for mail in (pair.b.tree / user / "new").iterdir()]
            subjects = {mail[mail.index(b"Subject: ") :].split(b"\n", 1)[0] for mail in mails}
            assert subjects == {b"Subject: %d" % number for number in range(15)}
            assert len(mails) == 15, "each was delivered once"
            assert all(mail.rstrip().endswith(b"of a mail") for mail in mails)
        pair.a.start()
        await pair.follow(pair.a, pair.b)
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


async def expect_whole_mails(pair: DataPair, count: int) -> None:
    """All are in the standby's mailbox, which was never told of in the middle of one."""
    await settle(pair.a, pair.b)
    text = (pair.b.tree / "joe").read_bytes()
    subjects = [int(line[9:]) for line in text.splitlines() if line[:9] == b"Subject: "]
    assert sorted(subjects) == [*range(count)]
    assert all(text[:size].endswith(b"of a mail\n\n") for size in told(pair.a, b"joe") if size)
    assert not list(pair.b.tree.glob("*.lock"))


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
        await expect_whole_mails(pair, 24)


# --- maildrop ------------------------------------------------------------------------------------


def a_home(node: DataNode) -> Path:
    """Of the user, outside of the tree."""
    home = node.tree.parent / "home"
    home.mkdir()
    shutil.chown(home, _USER, _USER)
    return home


def by_maildrop(home: Path, target: Path, mail: bytes) -> None:
    """As a user's own filter sends it to a mailbox or a Maildir."""
    rules = home / f"filter-{target.name}"
    if not rules.exists():
        rules.write_text(f'to "{target}"\n')
        rules.chmod(0o600)
        shutil.chown(rules, _USER, _USER)
    as_user(["maildrop", rules], home, mail)


@needs("maildrop", "maildrop")
async def test_a_mailbox_that_maildrop_locks_is_never_told_in_the_middle_of_a_mail() -> None:
    async with a_pair("mbox") as pair:
        home = a_home(pair.a)
        mbox = pair.a.tree / "joe"
        by_maildrop(home, mbox, a_mail(0, 20_000))

        def deliver(number: int) -> None:
            by_maildrop(home, mbox, a_mail(number, 20_000))

        await asyncio.gather(*(asyncio.to_thread(deliver, number) for number in range(1, 24)))
        await expect_whole_mails(pair, 24)


@needs("maildrop", "maildrop")
async def test_what_maildrop_puts_into_a_maildir_is_on_the_standby() -> None:
    async with a_pair("maildir") as pair:
        home = a_home(pair.a)
        maildir = pair.a.tree / "joe"
        as_user(["maildirmake.maildrop", maildir], home)
        by_maildrop(home, maildir, a_mail(0))
        for number in range(1, 12):
            by_maildrop(home, maildir, a_mail(number))
        await settle(pair.a, pair.b)
        mails = [mail.read_bytes() for mail in (pair.b.tree / "joe" / "new").iterdir()]
        assert sorted(int(mail.split(b"Subject: ")[1].split()[0]) for mail in mails) == [*range(12)]


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
