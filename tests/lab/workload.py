"""Real input for the trees of the active: run inside the host, as its users would.

`python -m lab.workload PART [ARGUMENT]` prints what it did as a JSON object of counts.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sysconfig
from collections.abc import Callable
from pathlib import Path

WEB = Path("/srv/www")
MAIL = Path("/srv/mail")
SPOOL = Path("/var/mail")
ACCOUNTS = Path("/srv/etc")
USERS = ("anna", "bert", "cleo", "dora", "emil")
INDEX = "<!doctype html><title>StaqRaft lab</title><p>It is served.</p>\n"

SITE_FILES = 2000
Counts = dict[str, int]


def prepare() -> Counts:
    """Empty trees, as an administrator would lay them out on the first active."""
    for path in (WEB, MAIL, SPOOL, ACCOUNTS):
        path.mkdir(parents=True, exist_ok=True)
    return {}


def write_synced(path: Path, content: bytes, mode: int = 0o644) -> None:
    """A file that survives a power cut: content and name are fsynced."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        os.write(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """fsync of a directory: its names are durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def web() -> Counts:
    """Python's library and packages as a web site, and things that only careful tools keep."""
    _copy_site(Path(sysconfig.get_path("stdlib")), WEB / "python")
    packages = sorted(
        path for path in Path(sysconfig.get_path("purelib")).iterdir() if path.is_dir()
    )
    for package in packages:  # Debian's library alone has some hundred files only
        if _count_files(WEB) >= SITE_FILES:
            break
        _copy_site(package, WEB / "packages" / package.name)
    (WEB / "index.html").write_text(INDEX, encoding="utf-8")
    odd = WEB / "odd"
    odd.mkdir(mode=0o2750)
    (odd / "readme").write_text("one inode, two names\n", encoding="utf-8")
    os.link(odd / "readme", odd / "readme-too")
    (odd / "latest").symlink_to("readme")
    (odd / "dangling").symlink_to("/nowhere/at all")
    (odd / "empty").mkdir()
    os.mkfifo(odd / "fifo", 0o600)
    Path(os.fsdecode(bytes(odd) + b"/caf\xe9 in latin-1")).write_bytes(b"name that is not UTF-8\n")
    os.setxattr(odd / "readme", "user.origin", b"staqraft lab")
    with (odd / "sparse").open("wb") as sparse:
        sparse.truncate(3 << 20)
        sparse.seek(1 << 20)
        sparse.write(b"an island")
    os.utime(odd / "sparse", ns=(1, 981_173_106_123_456_789))
    (odd / "private").write_bytes(b"mode 0600\n")
    (odd / "private").chmod(0o600)
    return {"files": _count_files(WEB)}


def _copy_site(source: Path, target: Path) -> None:
    skip = shutil.ignore_patterns("__pycache__", "*-packages", "config-*", "*.so*")
    shutil.copytree(source, target, symlinks=True, ignore=skip)


def _count_files(root: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(root))


def deliver(box: Path, unique: str, content: bytes) -> Path:
    """A Maildir delivery: write in tmp, fsync, rename to new, fsync new."""
    temporary, final = box / "tmp" / unique, box / "new" / unique
    write_synced(temporary, content, 0o600)
    temporary.rename(final)
    sync_directory(final.parent)
    return final


def message(user: str, number: int) -> bytes:
    """A mail of the workload."""
    head = f"From: sender{number}@example.net\nTo: {user}@example.net\nSubject: number {number}\n\n"
    return head.encode() + b"All work and no play makes a mail of some length.\n" * (
        20 + number % 60
    )


def is_deleted(number: int, count: int) -> bool:
    """Whether users delete the mail in the end."""
    return number >= count // 2 and (number - count // 2) % 5 == 0


def mail(count: int = 500, told: Callable[[Path], object] = str) -> Counts:
    """`count` deliveries to five boxes, then flags, moves to a folder, and deletions.

    `told` hears of each as soon as it is on the disk.
    """
    for user in USERS:
        for folder in (MAIL / user, MAIL / user / ".Archive"):
            for part in ("tmp", "new", "cur"):
                (folder / part).mkdir(parents=True, exist_ok=True)
    delivered: list[Path] = []
    for number in range(count):
        user = USERS[number % len(USERS)]
        unique = f"1700000000.M{number:06d}P{os.getpid()}.lab"
        delivered.append(deliver(MAIL / user, unique, message(user, number)))
        told(delivered[-1])
    read = [
        path.rename(path.parents[1] / "cur" / f"{path.name}:2,S")
        for path in delivered[: count // 2]
    ]
    answered = [
        path.rename(path.with_name(f"{path.name.removesuffix(':2,S')}:2,RS")) for path in read[::4]
    ]
    archive = read[1::4]
    for path in archive:
        path.rename(path.parents[1] / ".Archive" / "cur" / path.name)
    deleted = [path for number, path in enumerate(delivered) if is_deleted(number, count)]
    for path in deleted:
        path.unlink()
    return {
        "delivered": count,
        "flagged": len(read) + len(answered),
        "moved": len(archive),
        "deleted": len(deleted),
    }


def mbox(count: int = 40) -> Counts:
    """An mbox that messages are appended to, each fsynced."""
    with (SPOOL / "anna").open("ab") as box:
        for number in range(count):
            box.write(
                b"From sender@example.net Thu Jan  1 00:00:00 2026\n"
                + message("anna", number)
                + b"\n"
            )
            box.flush()
            os.fsync(box.fileno())
    (SPOOL / "anna").chmod(0o660)
    return {"appended": count}


def accounts(count: int = 25) -> Counts:
    """A passwd-like file, replaced by rename at every change as useradd does."""
    lines = [b"root:x:0:0:root:/root:/bin/bash\n"]
    for number in range(count):
        lines.append(
            b"user%d:x:%d:%d::/home/user%d:/bin/sh\n"
            % (number, 2000 + number, 2000 + number, number)
        )
        write_synced(ACCOUNTS / "passwd+", b"".join(lines))
        (ACCOUNTS / "passwd+").rename(ACCOUNTS / "passwd")
        sync_directory(ACCOUNTS)
    return {"replaced": count}


def unsent() -> Counts:
    """What users save in the last instant before the power goes: pages and a mail."""
    write_synced(WEB / "unsent.html", b"<p>written a moment before the power cut</p>\n")
    write_synced(WEB / "odd" / "private", b"changed a moment before the power cut\n")
    deliver(MAIL / "emil", "1700000001.unsent.lab", message("emil", 1))
    return {"new": 2, "changed": 1}


def last_mails(count: int = 20) -> Counts:
    """Deliveries in the last moments before a switchover, behind no barrier."""
    for number in range(count):
        deliver(MAIL / "anna", f"1700000002.M{number:06d}.last.lab", message("anna", number))
    return {"delivered": count}


def everything() -> Counts:
    """All of the story's input."""
    counts: Counts = {}
    for part in (web, mail, mbox, accounts):
        counts.update(part())
    return counts


PARTS: dict[str, Callable[[], Counts]] = {
    f.__name__: f for f in (prepare, web, mail, mbox, accounts, unsent, last_mails, everything)
}


def main() -> None:
    """Runs one part."""
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=sorted(PARTS))
    os.umask(0o022)
    print(json.dumps(PARTS[parser.parse_args().part]()))


if __name__ == "__main__":
    main()
