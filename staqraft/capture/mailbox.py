"""What paths mean to mail users: Maildir and mbox (PURE).

A Maildir folder has `tmp`, `new` and `cur`. A message is written in `tmp` and delivered by renaming
it to `new` (or `cur`); its flags are the letters behind `:2,` of its name in `cur`. What is in
`tmp` is nobody's mail yet and is not shipped. A folder is a directory that begins with a dot
(Maildir++) or a plain directory below the mailbox; it counts when it comes or goes.
"""

from __future__ import annotations

from typing import Final

from staqraft.journal.record import MailKind, ObjectType

_MESSAGES: Final = frozenset({b"new", b"cur"})
_PARTS: Final = frozenset({b"tmp", b"new", b"cur"})
_INFO: Final = b":2,"
_KEPT_BY_SERVERS: Final = (b"dovecot", b"courier", b"maildirsize", b"maildirfolder", b".lock")


def _directory(path: bytes) -> bytes:
    """The name of the directory that a path lies in."""
    return path.rpartition(b"/")[0].rpartition(b"/")[2]


def is_unfinished(path: bytes) -> bool:
    """Whether this is a message that is still being written: a file in `tmp`."""
    return _directory(path) == b"tmp"


def is_message(path: bytes) -> bool:
    """Whether this is the path of a delivered message."""
    return _directory(path) in _MESSAGES


def unique_name(path: bytes) -> bytes:
    """The part of a message's name that flags do not change."""
    return path.rpartition(b"/")[2].partition(_INFO)[0]


def appeared(
    profile: str, path: bytes, kind: ObjectType, *, moved_from: bytes | None
) -> MailKind | None:
    """What it means that an object came to be at `path`."""
    if profile == "mbox":
        if kind is not ObjectType.FILE or not is_mbox(path):
            return None
        return MailKind.DELIVER if moved_from is None else MailKind.FOLDER
    if profile != "maildir":
        return None
    if kind is ObjectType.DIRECTORY:
        return None if path.rpartition(b"/")[2] in _PARTS else MailKind.FOLDER
    if kind is not ObjectType.FILE or not is_message(path):
        return None
    if moved_from is not None and unique_name(moved_from) == unique_name(path):
        same_folder = moved_from.rsplit(b"/", 2)[:-2] == path.rsplit(b"/", 2)[:-2]
        return MailKind.FLAGS if same_folder else MailKind.DELIVER
    return MailKind.DELIVER


def changed(profile: str, path: bytes, kind: ObjectType, *, growth: int) -> MailKind | None:
    """What it means that an object's content changed in place, by so many bytes more."""
    if profile == "mbox" and kind is ObjectType.FILE and is_mbox(path):
        if growth == 0:
            return MailKind.FLAGS
        return MailKind.DELIVER if growth > 0 else MailKind.EXPUNGE
    return None


def disappeared(profile: str, path: bytes, kind: ObjectType) -> MailKind | None:
    """What it means that the object at `path` is gone."""
    if profile == "mbox":
        return MailKind.FOLDER if kind is ObjectType.FILE and is_mbox(path) else None
    if profile != "maildir":
        return None
    if kind is ObjectType.DIRECTORY:
        return None if path.rpartition(b"/")[2] in _PARTS else MailKind.FOLDER
    return MailKind.EXPUNGE if kind is ObjectType.FILE and is_message(path) else None


def is_mbox(path: bytes) -> bool:
    """Whether this is the path of a mailbox in a tree of them, and not of what belongs to one."""
    name = path.rpartition(b"/")[2]
    return not any(word in name for word in _KEPT_BY_SERVERS)
