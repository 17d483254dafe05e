"""One run: one workload, one system, fresh hosts; and whether the trees were equal at its end."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from bench.data.hosts import Hosts, hosts, settle_disks
from bench.data.results import Measured, Outcome, Run, Usage
from bench.data.systems import System
from bench.data.workloads import Live, Workload, Written
from lab.compare import Item, Manifest, differences, manifest
from lab.errors import LabError
from staqraft.index.reserved import is_reserved

EQUAL_WITHIN_S: Final = 10.0  # metadata of directories may follow what is in them
OWN_NAMES: Final = (b".stfolder", b".stignore")  # syncthing's
STEP_S: Final = 0.01


def run(workload: Workload, kind: type[System], pool: Path) -> Run:
    """Never fails for what a system does: that is its result."""
    with hosts() as both:
        workload.prepare(both.a.tree, pool)
        settle_disks()
        system = kind(both, workload.job)
        try:
            if isinstance(workload, Live):
                return _live(workload, system, pool)
            return _copy(workload, system)
        except LabError as error:
            return _failed(workload, system, str(error))
        finally:
            system.close()


def _failed(workload: Workload, system: System, why: str, usage: Usage | None = None) -> Run:
    return Run(
        workload=workload.key,
        system=system.name,
        durable=system.durable,
        usage=usage,
        problem=why,
    )


def _copy(workload: Workload, system: System) -> Run:
    both = system.hosts
    system.prepare()
    before, began = both.usage(), time.monotonic()
    system.copy()
    took, used = time.monotonic() - began, both.usage() - before
    figures = [Measured(measure="copied", value=took, unit="s"), *system.more()]
    return _checked(workload, system, Outcome(figures=figures), used)


def _live(workload: Live, system: System, pool: Path) -> Run:
    both = system.hosts
    system.prepare()
    system.copy()
    system.follow()
    watch = workload.watch(both.b.tree, pool)
    settle_disks()
    before = both.usage()
    argv = workload.command(both.a.tree, pool)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None, "it is opened as a pipe"
        deadline = None  # patience begins when all is written
        while not watch.done and (deadline is None or time.monotonic() < deadline):
            watch.step(STEP_S)
            if deadline is None and writer.poll() is not None:
                deadline = time.monotonic() + workload.job.limit_s
        used = both.usage() - before
        said = writer.stdout.read()
    watch.close()
    if writer.returncode != 0:
        raise LabError(f"the writer of {workload.key} ended with {writer.returncode}")
    if not watch.done:
        why = f"not all was there {workload.job.limit_s:g} s after the last change"
        return _failed(workload, system, why, used)
    written = Written(**json.loads(said))
    return _checked(workload, system, workload.outcome(watch, written), used)


def _checked(workload: Workload, system: System, outcome: Outcome, used: Usage) -> Run:
    """The result, if the trees are equal."""
    found = _unequal(system)
    if found:
        return _failed(workload, system, f"the trees differ in {len(found)}: {found[0]}", used)
    return Run(
        workload=workload.key,
        system=system.name,
        durable=system.durable,
        figures=outcome.figures,
        usage=used,
        lags_s=outcome.lags_s,
        at_s=outcome.at_s,
    )


def _unequal(system: System) -> list[str]:
    """In what the trees differ, after some patience."""
    deadline = time.monotonic() + EQUAL_WITHIN_S
    here = _tree(system.hosts, "a", system)
    while True:
        found = [str(each) for each in differences(here, _tree(system.hosts, "b", system))]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def _tree(both: Hosts, name: str, system: System) -> Manifest:
    """As much of it as the system promises to keep."""
    host = both.a if name == "a" else both.b
    while True:
        try:
            items = manifest(host.tree)
            break
        except FileNotFoundError:  # a system's own temporary file went while we looked
            continue
    if system.keeps_all:
        return {path: item for path, item in items.items() if not is_reserved(path)}
    return {
        path: _content_of(item)
        for path, item in items.items()
        if path and not path.startswith(OWN_NAMES)
    }


def _content_of(item: Item) -> Item:
    """Without what not all systems keep."""
    return replace(item, mode=0, owner=0, group=0, mtime_ns=0, xattrs=(), linked_with=None)
