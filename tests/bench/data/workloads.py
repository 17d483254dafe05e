"""The six workloads, W3b among them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bench.data import write
from bench.data.content import Pool
from bench.data.results import Measured, Outcome
from bench.data.systems import Job
from bench.data.watch import Blocks, Growing, Names, Watch
from lab.spread import Spread

MIB: Final = 1 << 20
LARGE_BYTES: Final = 128 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a writer said: when it began, when each change was complete."""

    began: float
    at: list[float]
    processor_s: float


class Workload(ABC):
    """One of them, at a scale. `key` is its name in tables."""

    key: str
    what: str
    job = Job()
    live = True  # changes of a tree that is followed; else a first copy

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def scaled(self, count: int) -> int:
        """At least two, so that there is something to speak of."""
        return max(2, round(count * self.scale))

    @abstractmethod
    def prepare(self, tree: Path, pool: Path) -> None:
        """What is there before."""


class Live(Workload):
    """A tree that changes."""

    writer: str
    count: int
    rate: float = 0

    def command(self, tree: Path, pool: Path) -> list[str]:
        """The program that changes it."""
        return write.command(self.writer, tree, pool, self.scaled(self.count), self.rate)

    @abstractmethod
    def watch(self, tree: Path, pool: Path) -> Watch:
        """What is expected on b; asked when both trees are still as before."""

    @abstractmethod
    def outcome(self, watch: Watch, written: Written) -> Outcome:
        """What it says when everything was there."""


def _until(watch: Watch, written: Written) -> list[Measured]:
    assert watch.done_at is not None, "asked only when it is done"
    return [
        Measured(measure="all there", value=watch.done_at - written.began, unit="s"),
        Measured(measure="lag", value=max(0.0, watch.done_at - written.at[-1]), unit="s"),
    ]


def _lags(written: Written, seen: list[float]) -> Outcome:
    lags = [max(0.0, b - a) for a, b in zip(written.at, seen, strict=True)]
    spread = Spread.of(lags)
    return Outcome(
        figures=[
            Measured(measure="p50", value=spread.p50 * 1000, unit="ms"),
            Measured(measure="p99", value=spread.p99 * 1000, unit="ms"),
        ],
        lags_s=lags,
        at_s=[at - written.began for at in written.at],
    )


class SmallFiles(Workload):
    """20,000 files of 2 to 8 KiB."""

    key, what = "W1", "20,000 files of 2-8 KiB, first copy"
    live = False
    job = Job(limit_s=240)
    count = 20_000

    def prepare(self, tree: Path, pool: Path) -> None:
        write.fill(tree, Pool(pool), self.scaled(self.count), 0)


class LargeFiles(Workload):
    """1 GiB in eight files, about half of which compresses away."""

    key, what = "W2", "1 GiB of large files, first copy"
    live = False
    job = Job(limit_s=240)

    def prepare(self, tree: Path, pool: Path) -> None:
        cuts = Pool(pool)
        for number in range(8):
            fill_large(tree / f"large{number}", cuts, self.scaled(LARGE_BYTES // MIB))


def fill_large(path: Path, pool: Pool, mebibytes: int) -> None:
    """A large file."""
    with path.open("wb", buffering=0) as file:
        for _ in range(mebibytes):
            file.write(pool.large(MIB))


class Mail(Live):
    """Deliveries to Maildirs."""

    writer = "deliver"
    job = Job(profile="maildir")

    def prepare(self, tree: Path, pool: Path) -> None:
        make_boxes(tree)

    def watch(self, tree: Path, pool: Path) -> Watch:
        names = {box / "new": [] for box in write.boxes(tree)}  # type: dict[Path, list[str]]
        for number in range(self.scaled(self.count)):
            names[write.box_of(tree, number) / "new"].append(write.mail_name(number))
        return Names(names)


def make_boxes(tree: Path) -> None:
    """Empty Maildirs."""
    for box in write.boxes(tree):
        for part in ("tmp", "new", "cur"):
            (box / part).mkdir(parents=True)


class FullSpeed(Mail):
    """As fast as one process delivers."""

    key, what = "W3", "3,000 Maildir deliveries at full speed"
    count = 3000

    def outcome(self, watch: Watch, written: Written) -> Outcome:
        assert isinstance(watch, Names), "as made above"
        seen = [watch.seen[write.mail_name(number)] for number in range(len(written.at))]
        return replace(_lags(written, seen), figures=_until(watch, written))


class Visible(Mail):
    """Fifty a second."""

    key, what = "W3b", "visible after delivery, at 50/s"
    count, rate = 500, 50.0

    def outcome(self, watch: Watch, written: Written) -> Outcome:
        assert isinstance(watch, Names), "as made above"
        seen = [watch.seen[write.mail_name(number)] for number in range(len(written.at))]
        return _lags(written, seen)


class Flags(Live):
    """Mails that are read and deleted: names change, contents do not."""

    key, what = "W4", "2,000 flag renames and 1,000 deletes"
    writer = "read_mail"
    job = Job(profile="maildir")
    count = 3000

    def prepare(self, tree: Path, pool: Path) -> None:
        make_boxes(tree)
        cuts = Pool(pool)
        for number in range(self.scaled(self.count)):
            path = write.box_of(tree, number) / "cur" / f"{write.mail_name(number)}:2,"
            path.write_bytes(cuts.small())

    def watch(self, tree: Path, pool: Path) -> Watch:
        names = {box / "cur": [] for box in write.boxes(tree)}  # type: dict[Path, list[str]]
        for number in filter(write.is_kept, range(self.scaled(self.count))):
            names[write.box_of(tree, number) / "cur"].append(f"{write.mail_name(number)}:2,S")
        return Names(names)

    def outcome(self, watch: Watch, written: Written) -> Outcome:
        assert isinstance(watch, Names), "as made above"
        kept = [number for number in range(len(written.at)) if write.is_kept(number)]
        renamed = Written(
            began=written.began,
            at=[written.at[number] for number in kept],
            processor_s=written.processor_s,
        )
        seen = [watch.seen[f"{write.mail_name(number)}:2,S"] for number in kept]
        return replace(_lags(renamed, seen), figures=_until(watch, written))


class Mbox(Live):
    """An mbox that grows."""

    key, what = "W5", "1,000 x 4 KiB appended at 20/s to a 100 MiB mbox"
    writer = "append"
    job = Job(profile="mbox", inplace=True)
    count, rate = 1000, 20.0

    def prepare(self, tree: Path, pool: Path) -> None:
        cuts = Pool(pool)
        with (tree / write.MBOX).open("wb", buffering=0) as box:
            for _ in range(self.scaled(100)):
                box.write(cuts.text(MIB))

    def watch(self, tree: Path, pool: Path) -> Watch:
        path = tree / write.MBOX
        cuts = Pool(pool, write.SEED)
        blocks = [cuts.text(write.BLOCK) for _ in range(self.scaled(self.count))]
        return Growing(path, path.stat().st_size, blocks)

    def outcome(self, watch: Watch, written: Written) -> Outcome:
        assert isinstance(watch, Growing), "as made above"
        return _lags(written, watch.seen)


class Image(Live):
    """A large file, a database or a disk image, that changes in place."""

    key, what = "W6", "2,000 random 4 KiB overwrites in 500 MiB"
    writer = "overwrite"
    job = Job(inplace=True)
    count = 2000

    def prepare(self, tree: Path, pool: Path) -> None:
        fill_large(tree / write.IMAGE, Pool(pool), self.scaled(500))

    def watch(self, tree: Path, pool: Path) -> Watch:
        path = tree / write.IMAGE
        cuts = Pool(pool, write.SEED)
        blocks = path.stat().st_size // write.BLOCK
        changes = write.overwrites(cuts, blocks, self.scaled(self.count))
        return Blocks(path, {block * write.BLOCK: data for block, data in changes})

    def outcome(self, watch: Watch, written: Written) -> Outcome:
        return Outcome(figures=_until(watch, written)[1:])


WORKLOADS: Final[dict[str, type[Workload]]] = {
    kind.key: kind for kind in (SmallFiles, LargeFiles, FullSpeed, Visible, Flags, Mbox, Image)
}
