"""Files that are changed again and again, and say themselves what was ever written to them (PURE).

Each change adds a line that nobody else can have written. A page is sent whole, all lines of the
one before and its own; to a spool the line is appended. So it is enough to look at what is left of
a file, on the active or in quarantine, to know of each single change whether it is there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

DIGEST_BYTES = 8


def line(place: str, number: int) -> bytes:
    """What change `number` writes to the file at `place`."""
    digest = hashlib.blake2b(f"{place} {number}".encode(), digest_size=DIGEST_BYTES)
    return f"{number} {digest.hexdigest()}\n".encode()


def numbers(place: str, content: bytes) -> frozenset[int]:
    """The changes whose lines are there, whole and in the right file."""
    return frozenset(number for number in _lines(place, content) if number)


def whole(place: str, content: bytes) -> bool:
    """Nothing else is in it: no half a line, and none of another file."""
    return all(_lines(place, content)) and content[-1:] in (b"", b"\n")


def _lines(place: str, content: bytes) -> Iterator[int]:
    """Its number, or 0 for a line that nobody wrote."""
    for text in content.splitlines(keepends=True):
        word = text.partition(b" ")[0]
        number = int(word) if word.isdigit() else 0
        yield number if text == line(place, number) else 0
