"""Users who deliver, flag, move and delete mails as fast as it goes, and tell what is on the disk.

Runs in a host: `python -m chaos.users` prints the path of each mail as soon as it is delivered
durably.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.workload import MAIL, is_deleted, mail, message

COUNT = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """A mail that was on a host's disk, and that nobody deletes; in which folder and with which
    flags is up to its user. `at` is CLOCK_BOOTTIME in seconds.
    """

    host: str
    user: str
    unique: str
    number: int
    at: float

    @property
    def content(self) -> bytes:
        """What was written."""
        return message(self.user, self.number)


def delivered(host: str, lines: Iterable[str], at: float) -> Iterator[Delivered]:
    """What the users of a host told, without what they delete in the end (PURE)."""
    for number, line in enumerate(lines):
        if not line.endswith("\n"):
            return  # they were killed in the middle of it
        path = Path(line.rstrip("\n"))
        if not is_deleted(number, COUNT):
            user = path.parts[len(MAIL.parts)]
            yield Delivered(host=host, user=user, unique=path.name, number=number, at=at)


def name_of(path: bytes) -> tuple[str, str]:
    """User and unique name of a mail by its path in the tree, whatever its folder and flags are
    (PURE).
    """
    user, _, rest = os.fsdecode(path).partition("/")
    return user, rest.rpartition("/")[2].partition(":")[0]


def main() -> None:
    """Each line is written at once: who is killed has told all that he did."""
    os.umask(0o022)
    mail(COUNT, lambda path: os.write(1, f"{path}\n".encode()))


if __name__ == "__main__":
    main()
