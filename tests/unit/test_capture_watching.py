"""Watching: which back end, what a barrier promises, lost events, bounds of the kernel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fakes.capturing import boottime_ms, capturing
from fakes.grounds import mounted
from fakes.patience import LONG_MS
from staqraft.capture import CaptureError, Watcher, WatchUnavailable, dirty, fanotify
from staqraft.capture.dirty import DirtySet
from staqraft.capture.fanotify_source import FanotifySource
from staqraft.capture.inotify_source import InotifySource
from staqraft.capture.source import Source
from staqraft.capture.watcher import MakeSource, cookie_directories
from staqraft.config.schema import Tree

_BACKENDS: dict[str, MakeSource] = {"fanotify": FanotifySource, "inotify": InotifySource}


@pytest.fixture(params=["fanotify", "inotify"])
def make(request: pytest.FixtureRequest) -> MakeSource:
    if request.param == "fanotify" and os.geteuid() != 0:
        pytest.skip("fanotify needs root")
    return _BACKENDS[request.param]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    (tmp_path / "tree").mkdir()
    return Tree(name="t", path=tmp_path / "tree")


@pytest.fixture
def watched(tree: Tree, tmp_path: Path, make: MakeSource) -> Iterator[Watcher]:
    watcher = Watcher([tree], [tmp_path / "run" / "cookies"], boottime_ms, backends=[make])
    yield watcher
    watcher.close()


def test_after_a_barrier_everything_before_it_is_in_the_dirty_set(
    watched: Watcher, tree: Tree
) -> None:
    """The property that all promises stand on: one queue orders all events."""
    stop = threading.Event()

    def noise() -> None:
        number = 0
        while not stop.is_set():
            (tree.path / f"noise{number % 50}").write_bytes(b"x")
            number += 1

    noisy = [threading.Thread(target=noise) for _ in range(2)]
    for thread in noisy:
        thread.start()
    try:
        for number in range(300):
            (tree.path / f"{number}").write_bytes(b"")
            watched.barrier(LONG_MS)
            names = {place.name for place in watched.take(everything=True).dirty}
            assert b"%d" % number in names
            (tree.path / f"{number}").unlink()
    finally:
        stop.set()
        for thread in noisy:
            thread.join()


def test_cookies_leave_nothing_behind(watched: Watcher, tmp_path: Path) -> None:
    for _ in range(10):
        watched.barrier(LONG_MS)
    assert list((tmp_path / "run" / "cookies").iterdir()) == []


def test_events_outside_of_the_trees_are_dropped(
    watched: Watcher, tree: Tree, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").write_bytes(b"x")
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "file").write_bytes(b"x")
    watched.barrier(LONG_MS)
    assert watched.take(everything=True).dirty == []


@pytest.mark.parametrize("backend", ["fanotify", "inotify"])
def test_a_full_queue_has_everything_compared_and_no_barrier_waits_in_vain(
    tmp_path: Path, backend: str
) -> None:
    if backend == "fanotify" and os.geteuid() != 0:
        pytest.skip("fanotify needs root")
    resume = threading.Event()

    def stuck(dirty_set: DirtySet, known: Callable[[object], bool], cookies: Path) -> Source:
        """A drain that does not get the processor, and a queue with a bound."""

        def slow(key: object) -> bool:
            resume.wait()
            return known(key)

        if backend == "inotify":
            return InotifySource(dirty_set, slow, cookies)
        flags = fanotify.INIT_FLAGS & ~fanotify.UNLIMITED_QUEUE
        return FanotifySource(dirty_set, slow, cookies, flags=flags)

    root = tmp_path / "tree"
    root.mkdir()
    resume.set()
    with capturing(root, tmp_path / "state", tmp_path / "run", backends=[stuck]) as captured:
        resume.clear()
        limit = int(Path(f"/proc/sys/fs/{backend}/max_queued_events").read_text())
        for number in range(limit // 2 + 4_000):
            (root / f"{number}").touch()
            (root / f"{number}").unlink()
        (root / "last").write_bytes(b"said by nobody")
        (root / "sub" / "deep").mkdir(parents=True)
        (root / "sub" / "deep" / "file").write_bytes(b"nor this")
        cookie = threading.Thread(target=captured.capture.watcher.barrier, args=(LONG_MS,))
        cookie.start()  # its event finds no room
        while cookie.is_alive() and not any((tmp_path / "run" / "default.cookies").iterdir()):
            resume.wait(0.01)
        resume.set()
        cookie.join()
        captured.check()
        (root / "sub" / "deep" / "later").write_bytes(b"and watched since")
        captured.check()


def test_lost_events_have_the_trees_compared(tmp_path: Path, make: MakeSource) -> None:
    root = tmp_path / "tree"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "file").write_bytes(b"1")
    with capturing(root, tmp_path / "state", tmp_path / "run", backends=[make]) as captured:
        captured.check()
        (root / "a").rename(root / "c")
        (root / "c" / "b" / "new").write_bytes(b"2")
        captured.capture.watcher.barrier(LONG_MS)
        captured.capture.watcher.dirty.take(everything=True)  # as if never read
        captured.capture.watcher.dirty.overflow()
        captured.check()
        (root / "c" / "b" / "newer").write_bytes(b"3")
        captured.check()


def test_fanotify_is_chosen_where_it_can_be_had(tree: Tree, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("fanotify needs root")
    watcher = Watcher([tree], [tmp_path / "cookies"], boottime_ms)
    assert (watcher.backend, watcher.reason) == ("fanotify", "")
    watcher.close()


class Refusing:
    """A back end that is not permitted."""

    def __init__(self, *_: object) -> None:
        raise WatchUnavailable("fanotify cannot be used: not permitted")


def test_inotify_is_the_fallback_and_says_why(
    tree: Tree, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cookies = cookie_directories(tmp_path / "run", "default", [tree])
    watcher = Watcher([tree], cookies, boottime_ms, backends=[Refusing, InotifySource])  # type: ignore[list-item]  # it raises
    assert watcher.backend == "inotify"
    assert watcher.reason == "fanotify cannot be used: not permitted"
    assert watcher.reason in caplog.text
    watcher.close()
    assert list(tree.path.iterdir()) == [], "a refused back end leaves the trees alone"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run", "tree"]


def test_where_nothing_can_watch_both_reasons_are_given(tree: Tree, tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="cannot be watched: fanotify cannot be used"):
        Watcher([tree], [tmp_path / "cookies"], boottime_ms, backends=[Refusing])  # type: ignore[list-item]  # it raises


def test_trees_must_be_apart(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    trees = [Tree(name="a", path=tmp_path / "a"), Tree(name="b", path=inner)]
    with pytest.raises(CaptureError, match=r"tree b .* lies inside of tree a"):
        Watcher(trees, [tmp_path / "cookies"], boottime_ms)


def test_one_group_may_have_trees_on_several_filesystems(tmp_path: Path, make: MakeSource) -> None:
    try:
        with mounted("tmpfs", tmp_path / "one"), mounted("ext4", tmp_path / "two", megabytes=64):
            trees = [Tree(name=n, path=tmp_path / n) for n in ("one", "two")]
            watcher = Watcher(trees, [tmp_path / "cookies"], boottime_ms, backends=[make])
            (tmp_path / "one" / "a").write_bytes(b"")
            (tmp_path / "two" / "b").write_bytes(b"")
            watcher.barrier(LONG_MS)
            found = {(place.tree, place.path) for place in watcher.take(everything=True).dirty}
            watcher.close()
            assert found == {("one", b"a"), ("two", b"b")}
    except RuntimeError as error:
        pytest.skip(str(error))


def test_a_write_under_a_name_outside_of_the_trees_is_seen(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("fanotify needs root")
    root = tmp_path / "tree"
    root.mkdir()
    (root / "file").write_bytes(b"inside")
    os.link(root / "file", tmp_path / "outside")
    with capturing(root, tmp_path / "s", tmp_path / "run", backends=[FanotifySource]) as captured:
        (tmp_path / "outside").write_bytes(b"written from outside")
        captured.check()
        os.link(root / "file", tmp_path / "brief")
        (tmp_path / "brief").write_bytes(b"under a name of a moment")
        (tmp_path / "brief").unlink()
        captured.check()


_IN_A_USER_NAMESPACE = """
import json, sys
from pathlib import Path
from fakes.capturing import capturing
limit = Path("/proc/sys/user/max_inotify_watches")
base = Path(sys.argv[1])
root = base / "tree"
for number in range(40):
    (root / f"{number}").mkdir(parents=True)
if sys.argv[2] != "0":
    limit.write_text(sys.argv[2])
from staqraft.capture.fanotify_source import FanotifySource
from staqraft.capture.inotify_source import InotifySource
backends = [InotifySource] if sys.argv[2] != "0" else [FanotifySource, InotifySource]
with capturing(root, base / "state", base / "run", backends=backends) as captured:
    (root / "0" / "file").write_bytes(b"x")
    (root / "39" / "file").write_bytes(b"y")
    captured.check()
    status = captured.capture.status()
    captured.capture.step(0)
print(json.dumps([status.backend, status.reason, captured.capture.watcher.problem]))
"""


def in_a_user_namespace(base: Path, watches: int) -> list[str]:
    here = Path(__file__).resolve().parents[1]
    path = os.pathsep.join([str(here), str(here.parent), *filter(None, sys.path)])
    done = subprocess.run(
        ["unshare", "-Ur", sys.executable, "-c", _IN_A_USER_NAMESPACE, str(base), str(watches)],
        check=False, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    if "unshare:" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    said: list[str] = json.loads(done.stdout.splitlines()[-1])
    return said


def test_without_privilege_inotify_captures_the_same(tmp_path: Path) -> None:
    backend, reason, _ = in_a_user_namespace(tmp_path, 0)
    assert (backend == "inotify") == bool(reason)


def test_too_few_watches_are_said_and_a_barrier_compares_the_rest(tmp_path: Path) -> None:
    _, _, problem = in_a_user_namespace(tmp_path, 20)
    assert "at each barrier: raise fs.inotify.max_user_watches" in problem


def test_flags_say_what_kind_of_news_it_is(watched: Watcher, tree: Tree) -> None:
    (tree.path / "directory").mkdir()
    (tree.path / "file").write_bytes(b"x")
    watched.barrier(LONG_MS)
    flags = {place.name: place.flags for place in watched.take(everything=True).dirty}
    assert flags[b"directory"] & dirty.DIRECTORY
    assert flags[b"file"] & dirty.CLOSED
    assert not flags[b"file"] & dirty.DIRECTORY
