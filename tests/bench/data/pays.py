"""What a writer pays: its own speed on host a, alone and with StaqRaft beside it.

"nobody": nothing else runs. "staqraft": the active captures into its journal, its standby is away;
this is what a writer on a real active shares its machine with. "staqraft-pair": the standby
follows, too, on the same processors and the same disk, which no real standby does.

Beside the time by the clock stands the writer's own processor time: what the kernel does to tell of
changes is part of it, and other load on the machine is not.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.data import write
from bench.data.hosts import Hosts, hosts, settle_disks
from bench.data.ours import StaqRaft
from bench.data.results import Measured, Run
from bench.data.systems import Job
from bench.data.workloads import FullSpeed, SmallFiles, make_boxes
from lab.errors import LabError

NOBODY: Final = "nobody"
WITH: Final = (NOBODY, "staqraft", "staqraft-pair")
MEASURES: Final = ("written", "processor")  # by the clock; of the writer itself
WRITERS: Final = {
    "W1": ("fill", SmallFiles, SmallFiles.count),
    "W3": ("deliver", FullSpeed, FullSpeed.count),
}
KEYS: Final = {
    f"pays {key}": f"what a writer pays: {kind.what}" for key, (_, kind, _) in WRITERS.items()
}


def run(key: str, who: str, pool: Path, scale: float) -> Run:
    """One writer's time, with `who` beside it. `key` is one of KEYS."""
    what, kind, count = WRITERS[key.rpartition(" ")[2]]
    workload = kind(scale)
    with hosts() as both:
        if what == "deliver":
            make_boxes(both.a.tree)
        try:
            with _beside(who, both, workload.job):
                settle_disks()
                before = both.usage()
                argv = write.command(what, both.a.tree, pool, workload.scaled(count))
                done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True)
                used = both.usage() - before
        except LabError as error:
            return Run(workload=key, system=who, durable=True, problem=str(error))
    written = json.loads(done.stdout)
    took = written["at"][-1] - written["began"], written["processor_s"]
    figures = [
        Measured(measure=name, value=value, unit="s")
        for name, value in zip(MEASURES, took, strict=True)
    ]
    return Run(workload=key, system=who, durable=True, figures=figures, usage=used)


@contextmanager
def _beside(who: str, both: Hosts, job: Job) -> Iterator[None]:
    if who == NOBODY:
        yield
        return
    pair = StaqRaft(both, job)
    try:
        if who == "staqraft":
            pair.watch()
        else:
            pair.prepare()
            pair.copy()
        yield
    finally:
        pair.close()
