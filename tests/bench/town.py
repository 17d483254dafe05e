"""The processes of the witness bench: the witness itself, and helpers that are its pairs."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import grpc

from fakes.many import Town
from lab.errors import LabError
from staqraft.wire.v1 import admin_pb2, admin_pb2_grpc

ROOT = Path(__file__).parents[2]
STOP_S = 20.0
KILL_EVERY_S = 1.0
_TICKS_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the witness has used so far."""

    rss_kib: int
    pss_kib: int
    processor_s: float
    written: int
    late_ticks: float
    lateness: dict[float, float]  # ticks that were late by up to so many seconds


@dataclass(slots=True)
class Figures:
    """Of one pair, in a window."""

    failed: int = 0
    elections: int = 0
    commit_ms: list[float] = field(default_factory=list)


def python(
    module: str, *words: str, stdout: int | None = None, stderr: IO[str] | int | None = None
) -> subprocess.Popen[str]:
    """A program of this checkout."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "MALLOC_ARENA_MAX": "2"}
    argv = [sys.executable, "-P", "-m", module, *words]
    return subprocess.Popen(argv, env=environment, text=True, stdout=stdout, stderr=stderr)


def end(process: subprocess.Popen[str]) -> None:
    """Ends a process that was started here, and waits for it."""
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Witness:
    """A real `staqraftd --clusters`; its log stands beside its clusters."""

    def __init__(self, town: Town) -> None:
        self._town = town
        self._log = (town.directory / "witness.log").open("w")
        arguments = ("--clusters", str(town.clusters))
        self._process = python("staqraft.cli.staqraftd", *arguments, stderr=self._log)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        end(self._process)
        self._log.close()

    def wait_whole(self, pairs: int, limit_s: float) -> None:
        """Returns when both replicas of every pair have a session. LabError when it takes long."""
        deadline = time.monotonic() + limit_s
        connected = -1
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise LabError(f"the witness ended: {Path(self._log.name).read_text()[-2000:]}")
            with contextlib.suppress(OSError):
                sessions = [
                    count
                    for name, count in self._figures().items()
                    if name.startswith("staqraft_raft_sessions{")
                ]
                connected = sessions.count(2)
                if connected == pairs:
                    return
            time.sleep(0.5)
        raise LabError(f"only {connected} of {pairs} pairs are connected after {limit_s:g} s")

    def ask(self) -> int:
        """As an administrator does: how many clusters there are."""
        with grpc.insecure_channel(f"unix:{self._town.socket}") as channel:
            stub = admin_pb2_grpc.WitnessServiceStub(channel)  # type: ignore[no-untyped-call]
            response: admin_pb2.ListClustersResponse = stub.ListClusters(
                admin_pb2.ListClustersRequest(), timeout=10
            )
            return len(response.clusters)

    def usage(self) -> Usage:
        """What the kernel and the witness itself say."""
        place = Path(f"/proc/{self._process.pid}")
        memory = dict(_pairs(place / "smaps_rollup"))
        stat = (place / "stat").read_text().rpartition(")")[2].split()
        figures = self._figures()
        late = sum(v for k, v in figures.items() if k.startswith("staqraft_raft_late_ticks_total"))
        buckets = {
            float(name.split('le="')[1].split('"')[0]): value
            for name, value in figures.items()
            if name.startswith("staqraft_raft_tick_lateness_seconds_bucket")
        }
        return Usage(
            rss_kib=memory["Rss"],
            pss_kib=memory["Pss"],
            processor_s=(int(stat[11]) + int(stat[12])) / _TICKS_S,
            written=dict(_pairs(place / "io"))["write_bytes"],
            late_ticks=late,
            lateness=buckets,
        )

    def _figures(self) -> dict[str, float]:
        url = f"http://127.0.0.1:{self._town.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        values = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in values}

    def lateness(self, after: dict[float, float], before: dict[float, float]) -> dict[str, float]:
        """Percentiles of a window in milliseconds; each is a bound of the buckets.

        10000 stands for everything beyond the last one.
        """
        counts = {bound: after[bound] - before.get(bound, 0) for bound in sorted(after)}
        total = max(counts.values())

        def rank(part: float) -> float:
            bound = next(bound for bound, count in counts.items() if count >= part * total)
            return round(min(bound, 10.0) * 1000, 1)

        return {"count": total, "p50": rank(0.5), "p99": rank(0.99), "max": rank(1.0)}


class Helpers:
    """Processes that are the pairs; pair 0 has its own, so that it can misbehave."""

    def __init__(self, town: Town, pairs: int, each: int) -> None:
        self._town = town
        self._figures: dict[int, Figures] = defaultdict(Figures)
        self._before: dict[int, list[int]] = {}
        self._lock = threading.Lock()
        firsts = [0, *range(1, pairs, each)]
        behinds = [*firsts[1:], pairs]
        self._processes = [self._start(*r) for r in zip(firsts, behinds, strict=True)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._processes:
            end(process)

    def _words(self) -> tuple[str, ...]:
        town = self._town
        return (str(town.directory), str(town.control_port), str(town.metrics_port), *town.timing)

    def _start(self, first: int, behind: int) -> subprocess.Popen[str]:
        words = (*self._words(), str(first), str(behind))
        process = python("bench.pairs", *words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        threading.Thread(target=self._read, args=(process,), daemon=True).start()
        return process

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None, "it was opened as a pipe"
        with process.stdout as lines:
            for line in lines:
                with self._lock:
                    for name, (_, failed, term, commit_ms) in json.loads(line).items():
                        number = int(name)
                        before = self._before.get(number, [failed, term])
                        figures = self._figures[number]
                        figures.failed += max(0, failed - before[0])
                        figures.elections += max(0, term - before[1])
                        figures.commit_ms += commit_ms
                        self._before[number] = [failed, term]

    def collect(self, seconds: float) -> dict[int, Figures]:
        """What the pairs say in the next so many seconds."""
        with self._lock:
            self._figures.clear()
        time.sleep(seconds)
        with self._lock:
            found = dict(self._figures)
            self._figures = defaultdict(Figures)
        return found

    @contextlib.contextmanager
    def misbehaving(self, kind: str) -> Iterator[None]:
        """Pair 0 is replaced by one that behaves like this, as long as the context lasts."""
        if kind == "kill":
            with self._killed_again_and_again():
                yield
            return
        if kind != "knock":
            end(self._processes[0])
        bad = python("bench.mischief", *self._words(), kind)
        try:
            yield
        finally:
            early = bad.poll()
            end(bad)
            if kind != "knock":
                self._processes[0] = self._start(0, 1)
            if early is not None:
                raise LabError(f"the misbehaving pair ({kind}) ended by itself with {early}")

    @contextlib.contextmanager
    def _killed_again_and_again(self) -> Iterator[None]:
        over = threading.Event()

        def kill() -> None:
            while not over.wait(KILL_EVERY_S):
                self._processes[0].kill()
                self._processes[0].wait()
                self._processes[0] = self._start(0, 1)

        thread = threading.Thread(target=kill)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _pairs(path: Path) -> Iterator[tuple[str, int]]:
    """`name: number ...`, a line each."""
    for line in path.read_text().splitlines():
        name, _, rest = line.partition(":")
        if rest.split() and rest.split()[0].isdigit():
            yield name, int(rest.split()[0])
