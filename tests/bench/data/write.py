"""The programs that users run on host a, each a process of its own: `write WHAT ... >times.json`.

They say when each change was complete, on the clock that all hosts share, and wait for nothing but
their own disk: a mail is synced before it is delivered, as every mail server does it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from bench.data import content

BOXES: Final = 10
BLOCK: Final = 4096
MBOX: Final = "mbox"
IMAGE: Final = "image"
SEED: Final = 7


def boxes(tree: Path) -> list[Path]:
    """The Maildirs of a tree, whether they are there or not."""
    return [tree / f"user{number}" for number in range(BOXES)]


def box_of(tree: Path, number: int) -> Path:
    """Where mail `number` is delivered."""
    return tree / f"user{number % BOXES}"


def mail_name(number: int) -> str:
    """What a mail server would call it."""
    return f"17000000{number // 1000:02d}.M{number:06d}P77.bench"


def site_path(tree: Path, number: int) -> Path:
    """File `number` of many small ones, fifty in a directory."""
    return tree / f"d{number // 1000:02d}" / f"e{number // 50 % 20:02d}" / f"f{number:05d}.html"


def paced(count: int, rate: float) -> Iterator[int]:
    """Numbers, so many a second; all at once if `rate` is 0."""
    began = time.monotonic()
    for number in range(count):
        if rate and (ahead := began + number / rate - time.monotonic()) > 0:
            time.sleep(ahead)
        yield number


def fill(tree: Path, pool: content.Pool, count: int, rate: float) -> list[float]:
    """Many small files, as an archive is unpacked."""
    at = []
    for number in paced(count, rate):
        path = site_path(tree, number)
        if number % 50 == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pool.small())
        at.append(time.monotonic())
    return at


def deliver(tree: Path, pool: content.Pool, count: int, rate: float) -> list[float]:
    """Mails: written in tmp, synced, renamed to new."""
    at = []
    for number in paced(count, rate):
        box, name = box_of(tree, number), mail_name(number)
        descriptor = os.open(box / "tmp" / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(descriptor, pool.small())
        os.fsync(descriptor)
        os.close(descriptor)
        (box / "tmp" / name).rename(box / "new" / name)
        at.append(time.monotonic())
    return at


def read_mail(tree: Path, pool: content.Pool, count: int, rate: float) -> list[float]:
    """Two thirds of the mails get a flag, the rest is deleted."""
    at = []
    for number in paced(count, rate):
        path = box_of(tree, number) / "cur" / f"{mail_name(number)}:2,"
        if is_kept(number):
            path.rename(f"{path}S")
        else:
            path.unlink()
        at.append(time.monotonic())
    return at


def is_kept(number: int) -> bool:
    """By `read_mail`."""
    return number % 3 != 2


def append(tree: Path, pool: content.Pool, count: int, rate: float) -> list[float]:
    """4 KiB each to an mbox: opened, locked, written, synced and closed, as each delivery does."""
    at = []
    for _ in paced(count, rate):
        with (tree / MBOX).open("ab", buffering=0) as box:
            os.lockf(box.fileno(), os.F_LOCK, 0)
            box.write(pool.text(BLOCK))
            at.append(time.monotonic())
            os.fsync(box.fileno())
    return at


def overwrite(tree: Path, pool: content.Pool, count: int, rate: float) -> list[float]:
    """4 KiB each, anywhere in a large file."""
    at = []
    descriptor = os.open(tree / IMAGE, os.O_WRONLY)
    for block, data in overwrites(pool, os.fstat(descriptor).st_size // BLOCK, count, rate):
        os.pwrite(descriptor, data, block * BLOCK)
        at.append(time.monotonic())
    os.close(descriptor)
    return at


def overwrites(
    pool: content.Pool, blocks: int, count: int, rate: float = 0
) -> Iterator[tuple[int, bytes]]:
    """Which block becomes what; the same pool seed gives the same."""
    for _ in paced(count, rate):
        yield pool.dice.randrange(blocks), pool.text(BLOCK)


WHAT: Final[dict[str, Callable[[Path, content.Pool, int, float], list[float]]]] = {
    f.__name__: f for f in (fill, deliver, read_mail, append, overwrite)
}


def command(what: str, tree: Path, pool: Path, count: int, rate: float = 0) -> list[str]:
    """What runs one of them."""
    words = [what, str(tree), str(pool), str(count), str(rate)]
    return [sys.executable, "-P", "-m", "bench.data.write", *words]


def main() -> None:
    """Prints {"began", "at", "processor_s"}: instants on the monotonic clock, and what it cost."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=WHAT)
    parser.add_argument("tree", type=Path)
    parser.add_argument("pool", type=Path)
    parser.add_argument("count", type=int)
    parser.add_argument("rate", type=float)
    wanted = parser.parse_args()
    os.umask(0o022)
    pool = content.Pool(wanted.pool, SEED)
    began, cost = time.monotonic(), time.process_time()
    at = WHAT[wanted.what](wanted.tree, pool, wanted.count, wanted.rate)
    print(json.dumps({"began": began, "at": at, "processor_s": time.process_time() - cost}))


if __name__ == "__main__":
    main()
