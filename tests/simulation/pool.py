"""Seeds over processes, each asked for one at a time: one that dies or hangs loses only its seed.

What became of such a seed is a result like any other, and a violation: the process is replaced, and
the seed is named.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Final

from simulation.options import only, plan_of
from simulation.result import Result
from simulation.world import run

PATIENCE_S: Final = 180.0  # a seed takes below a second, on a busy machine some
_BEGUN: Final = "begun"
_LOOK_EVERY_S: Final = 1.0

Work = Callable[[int], Result]


def run_seed(seed: int, kinds: Collection[str] = ()) -> Result:
    """What became of the plan of a seed, or of its faults of these kinds."""
    return run(only(plan_of(seed), kinds))


def _serve(pipe: Connection, work: Work) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C, and ends this
    pipe.send(_BEGUN)
    while True:
        pipe.send(work(pipe.recv()))


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
    pipe: Connection
    seed: int | None = None
    since: float = 0.0
    begun: bool = False  # its interpreter has, which takes seconds where much else runs

    def ask(self, seed: int) -> None:
        self.seed, self.since = seed, time.monotonic()
        self.pipe.send(seed)

    def lost(self, why: str) -> Result:
        assert self.seed is not None, "it was asked for nothing"
        return Result(seed=self.seed, rule=f"process {why}", violation=f"its process {why}")

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def run_all(
    seeds: Iterator[int],
    *,
    jobs: int,
    until: float = float("inf"),
    patience_s: float = PATIENCE_S,
    work: Work = run_seed,
) -> Iterator[Result]:
    """The results, as they come; after `until` (of `time.monotonic`) no seed is begun any more."""
    workers = [_begin(work) for _ in range(jobs)]
    try:
        while True:
            for worker in workers:
                if worker.seed is None and time.monotonic() < until:
                    seed = next(seeds, None)
                    if seed is not None:
                        worker.ask(seed)
            busy = [worker for worker in workers if worker.seed is not None]
            if not busy:
                return
            ready = wait([worker.pipe for worker in busy], _LOOK_EVERY_S)
            for worker in busy:
                result = _answer(worker, patience_s, answers=worker.pipe in ready)
                if result is None:
                    continue
                if not worker.process.is_alive():
                    workers[workers.index(worker)] = _begin(work)
                worker.seed = None
                yield result
    finally:
        for worker in workers:
            worker.end()


def _begin(work: Work) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, work), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _answer(worker: _Worker, patience_s: float, *, answers: bool) -> Result | None:
    """Its result, or what became of it; None while it works."""
    if answers:
        try:
            result = worker.pipe.recv()
        except (EOFError, ConnectionResetError):
            worker.end()
            return worker.lost(f"died ({_how(worker.process.exitcode)})")
        if result == _BEGUN:
            worker.begun, worker.since = True, time.monotonic()
            return None
        assert isinstance(result, Result), result
        return result
    patience_s = patience_s if worker.begun else PATIENCE_S
    if time.monotonic() - worker.since > patience_s:
        worker.end()
        return worker.lost(f"did not answer for {patience_s:.0f} s and was killed")
    return None


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"
