"""What changes mean to mail users."""

from __future__ import annotations

import pytest

from staqraft.capture.mailbox import appeared, changed, disappeared, is_unfinished
from staqraft.journal.record import MailKind, ObjectType

FILE, DIRECTORY = ObjectType.FILE, ObjectType.DIRECTORY


@pytest.mark.parametrize(
    ("path", "moved_from", "kind"),
    [
        (b"joe/new/1.a", None, MailKind.DELIVER),
        (b"joe/cur/1.a:2,S", b"joe/new/1.a", MailKind.FLAGS),
        (b"joe/cur/1.a:2,RS", b"joe/cur/1.a:2,S", MailKind.FLAGS),
        (b"joe/.Trash/cur/1.a:2,S", b"joe/cur/1.a:2,S", MailKind.DELIVER),
        (b"joe/dovecot-uidlist", None, None),
        (b"joe/tmp/1.a", None, None),
    ],
)
def test_files_of_a_maildir(path: bytes, moved_from: bytes | None, kind: MailKind | None) -> None:
    assert appeared("maildir", path, FILE, moved_from=moved_from) is kind


def test_folders_come_and_go() -> None:
    assert appeared("maildir", b"joe/.Sent", DIRECTORY, moved_from=None) is MailKind.FOLDER
    assert appeared("maildir", b"joe/.Sent/cur", DIRECTORY, moved_from=None) is None
    assert disappeared("maildir", b"joe/.Sent", DIRECTORY) is MailKind.FOLDER
    assert disappeared("maildir", b"joe/cur/1.a:2,T", FILE) is MailKind.EXPUNGE


def test_what_is_in_tmp_is_not_finished() -> None:
    assert is_unfinished(b"joe/tmp/1.a")
    assert not is_unfinished(b"joe/tmp")
    assert not is_unfinished(b"joe/new/tmp")


def test_an_mbox_that_grows_is_a_delivery_and_one_that_shrinks_lost_a_mail() -> None:
    assert changed("mbox", b"joe", FILE, growth=100) is MailKind.DELIVER
    assert changed("mbox", b"joe", FILE, growth=0) is MailKind.FLAGS
    assert changed("mbox", b"joe", FILE, growth=-1) is MailKind.EXPUNGE
    assert changed("mbox", b"joe.lock", FILE, growth=100) is None
    assert appeared("mbox", b"joe", FILE, moved_from=None) is MailKind.DELIVER
    assert appeared("mbox", b"jane", FILE, moved_from=b"joe") is MailKind.FOLDER


def test_other_trees_have_no_mail() -> None:
    assert appeared("web", b"joe/new/1.a", FILE, moved_from=None) is None
    assert disappeared("plain", b"joe/cur/1.a", FILE) is None
    assert changed("web", b"joe", FILE, growth=100) is None
