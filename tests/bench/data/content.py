"""What the bench writes: text that compresses as mail does, and bytes that do not.

A pool of each is made once a run and cut at random places: making text costs more than writing it.
"""

from __future__ import annotations

import mmap
import random
from pathlib import Path
from typing import Final

POOL_BYTES: Final = 32 << 20
_LEAST_BYTES: Final = 2 << 20
WORDS: Final = 3000
_LETTERS: Final = "etaoinshrdlucmfwypvbgk"
_SMALL: Final = 2 << 10, 8 << 10


def make_pool(path: Path, scale: float = 1) -> Path:
    """A file of words, the frequent ones short of nothing: zlib makes 37 % of it, lz4 62 %."""
    size = max(_LEAST_BYTES, round(POOL_BYTES * scale))
    dice = random.Random(1)
    weights = range(len(_LETTERS), 0, -1)
    words = ["".join(dice.choices(_LETTERS, weights, k=dice.randint(2, 10))) for _ in range(WORDS)]
    ranks = [1 / (rank + 1) ** 0.7 for rank in range(WORDS)]
    with path.open("w") as file:
        while file.tell() < size:
            line = " ".join(dice.choices(words, ranks, k=20_000))
            file.write(line.replace(" and", "\n") + "\n")
    return path


class Pool:
    """Cuts from the pool; the same seed cuts the same pieces."""

    def __init__(self, path: Path, seed: int = 1) -> None:
        with path.open("rb") as file:
            self._text = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        self.dice = random.Random(seed)

    def text(self, size: int) -> bytes:
        """So many bytes of it."""
        start = self.dice.randrange(len(self._text) - size)
        return self._text[start : start + size]

    def small(self) -> bytes:
        """A mail or a web page of 2 to 8 KiB."""
        return self.text(self.dice.randint(*_SMALL))

    def large(self, size: int) -> bytes:
        """Of a large file: four fifths text, one fifth that does not compress."""
        noise = size // 5
        return self.text(size - noise) + self.dice.randbytes(noise)
