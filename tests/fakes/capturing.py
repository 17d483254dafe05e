"""A capture with a real journal and index on a tree, as tests of it need it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fakes.patience import LONG_MS
from fakes.replica import Replica, Seen, replica_state, tree_state
from staqraft.capture import Capture
from staqraft.capture.ports import JournalPort
from staqraft.capture.watcher import MakeSource
from staqraft.config.schema import Journal as Limits
from staqraft.config.schema import RemovalLimit, Tree
from staqraft.index import Entry, Index
from staqraft.journal.cursor import Cursor, Frames
from staqraft.journal.journal import Journal
from staqraft.journal.record import Record
from staqraft.journal.record_codec import decode
from staqraft.model import Epoch, GroupId, Position

FIRST = Epoch(1)


def boottime_ms() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class Captured:
    """A tree `t`, what captures it, and a replica that carries out what was journalled."""

    def __init__(
        self,
        root: Path,
        state: Path,
        run_dir: Path,
        *,
        backends: list[MakeSource] | None = None,
        profile: str = "plain",
        exclude: tuple[str, ...] = (),
        limits: Limits | None = None,
        removals: RemovalLimit | None = None,
        never: tuple[Path, ...] = (),
        wrap: Callable[[Journal], JournalPort] = lambda journal: journal,
        earlier: Captured | None = None,
        epoch: Epoch = FIRST,
        prepare: Callable[[Captured], None] = lambda _: None,
    ) -> None:
        self.root = root
        self.state = state
        self.ahead_ms = 0  # how far the clock of the capture is ahead: tests do not wait
        self.tick_ms = 0  # how much every look at it puts it ahead: a machine that is slow
        self.journal = Journal.open(
            state / "journal",
            cluster="lab",
            group=GroupId("default"),
            limits=limits or Limits(),
            boot_id="boot",
            now_ms=lambda: time.time_ns() // 1_000_000,
        )
        self.index = Index.open(state / "index.sqlite")
        prepare(self)
        self.replica: Replica = earlier.replica if earlier else Replica("t")
        self.capture = Capture(
            trees=[
                Tree(
                    name="t",
                    path=root,
                    profile=profile,
                    exclude=exclude,
                    removals=removals or RemovalLimit(),
                )
            ],
            group="default",
            run_dir=run_dir,
            journal=wrap(self.journal),
            index=self.index,
            epoch=epoch,
            now_ms=self.now_ms,
            wall_ns=time.time_ns,
            backends=backends,
            never=never,
        )
        self._after = earlier.told if earlier else self.journal.last

    def now_ms(self) -> int:
        self.ahead_ms += self.tick_ms
        return boottime_ms() + self.ahead_ms

    @property
    def told(self) -> Position:
        """How far the replica is."""
        return self._after

    def settle(self) -> Position:
        """A barrier, and the replica brought up to it."""
        position = self.capture.barrier(LONG_MS)
        self.replica.apply(self.new_records())
        return position

    def new_records(self) -> Iterator[Record]:
        with Cursor(self.state / "journal", self._after) as cursor:
            while (frames := cursor.read(1 << 20)) is not None:
                assert isinstance(frames, Frames)
                self._after = frames.last
                yield from decode(frames.data)

    def check(self, *, left_out: frozenset[bytes] = frozenset()) -> dict[bytes, Seen]:
        """Tree, index and replica are equal. Returns what they are."""
        self.settle()
        wanted = tree_state(self.root, left_out=left_out)
        assert_equal(wanted, replica_state(self.replica), "replica")
        indexed = {e.path: (e.metadata, e.digest) for e in self.entries()}
        assert_equal({p: (s.metadata, s.digest) for p, s in wanted.items()}, indexed, "index")
        return wanted

    def entries(self) -> Iterator[Entry]:
        root = self.index.get("t", b"")
        assert root is not None
        return itertools.chain([root], self.index.subtree("t", b""))

    def close(self) -> None:
        self.capture.stop()
        self.index.close()
        self.journal.close()


@contextmanager
def capturing(root: Path, state: Path, run_dir: Path, **options: object) -> Iterator[Captured]:
    """Started and settled."""
    captured = Captured(root, state, run_dir, **options)  # type: ignore[arg-type]  # passed through
    try:
        captured.capture.start()
        captured.settle()
        yield captured
    finally:
        captured.close()


def assert_equal(wanted: Mapping[bytes, object], got: Mapping[bytes, object], what: str) -> None:
    """Says what differs, not all there is."""
    wrong = {
        path: (wanted.get(path), got.get(path))
        for path in sorted({*wanted, *got})
        if wanted.get(path) != got.get(path)
    }
    said = [f"{path!r}: {one}\n  {what}: {other}" for path, (one, other) in wrong.items()]
    assert not wrong, f"tree and {what} differ in {[*wrong]}:\n" + "\n".join(said[:3])
