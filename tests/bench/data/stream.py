"""The stream alone: records that are in the active's journal, until they are durable or applied."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from bench.data import write
from bench.data.content import Pool
from bench.data.hosts import Host, hosts, settle_disks
from bench.data.ours import StaqRaft
from bench.data.results import Measured, Run
from bench.data.systems import Job
from bench.data.workloads import make_boxes
from lab.errors import LabError
from lab.processes import TESTS
from lab.spread import Spread

KEY: Final = "stream"
WHAT: Final = "journal stream alone, 4 KiB mails and 1 MiB pieces"
APPLIED: Final = 20_000
PROBE_S: Final = 120.0
SYNCS: Final = 200


def run(pool: Path, scale: float) -> Run:
    """All its figures, of two pairs of hosts."""
    try:
        figures, acks = _durable(pool, scale)
        figures += _applied(pool, scale)
    except LabError as error:
        return Run(workload=KEY, system=StaqRaft.name, durable=True, problem=str(error))
    return Run(workload=KEY, system=StaqRaft.name, durable=True, figures=figures, lags_s=acks)


def _durable(pool: Path, scale: float) -> tuple[list[Measured], list[float]]:
    with hosts() as both:
        pair = StaqRaft(both, Job())
        try:
            pair.install(both.a)
            pair.install(both.b)
            settle_disks()
            disk = _syncs(both.b.disk / "probe")
            said = _probed(pair, pool, scale)
        finally:
            pair.close()
    figures = json.loads(said)
    idle, busy = Spread.of(figures["idle_s"]), Spread.of(figures["busy_s"])
    return [
        Measured(measure="mails durable", value=figures["mails_s"], unit="/s"),
        Measured(measure="large durable", value=figures["large_bytes_s"] / 1e6, unit="MB/s"),
        Measured(measure="ack idle p50", value=idle.p50 * 1000, unit="ms"),
        Measured(measure="ack idle p99", value=idle.p99 * 1000, unit="ms"),
        Measured(measure="ack at 1,000/s p50", value=busy.p50 * 1000, unit="ms"),
        Measured(measure="ack at 1,000/s p99", value=busy.p99 * 1000, unit="ms"),
        Measured(measure="the disk's own sync p50", value=disk.p50 * 1000, unit="ms"),
    ], figures["busy_s"]


def _syncs(path: Path) -> Spread:
    """Seconds for an fdatasync of a file that grew by 4 KiB; of one with room it takes less."""
    took = []
    with path.open("wb", buffering=0) as file:
        for _ in range(SYNCS):
            began = time.perf_counter()
            file.write(bytes(write.BLOCK))
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - began)
    return Spread.of(took)


def _probed(pair: StaqRaft, pool: Path, scale: float) -> str:
    a, b = pair.hosts.a, pair.hosts.b
    with _probe(b, "standby", pair.configuration(b)) as standby:
        assert standby.stdout is not None, "it is opened as a pipe"
        if standby.stdout.readline() != b"ready\n":
            raise LabError(f"the stream's other end did not start: {b.said()}")
        with _probe(a, "active", pair.configuration(a), str(pool), str(scale)) as active:
            try:
                said, _ = active.communicate(timeout=PROBE_S)
            except subprocess.TimeoutExpired as error:
                active.kill()
                raise LabError(f"the stream gave no figures in {PROBE_S:g} s") from error
        standby.kill()
    if active.returncode != 0:
        raise LabError(f"the stream's probe ended with {active.returncode}: {a.said()}")
    return said.decode()


def _probe(host: Host, *words: object) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-P", "-m", "bench.data.probe", *map(str, words)]
    place = {"PYTHONPATH": f"{TESTS}:{TESTS.parent}"}
    return host.start(argv, stdout=subprocess.PIPE, env=place)


def _applied(pool: Path, scale: float) -> list[Measured]:
    """How fast a standby applies what it has in its journal."""
    count = max(100, round(APPLIED * scale))
    with hosts() as both:
        make_boxes(both.a.tree)
        pair = StaqRaft(both, Job(profile="maildir", limit_s=PROBE_S))
        try:
            pair.prepare()
            pair.copy()
            pair.kill("trees", both.b)
            cuts = Pool(pool)
            for number in range(count):
                path = write.box_of(both.a.tree, number) / "new" / write.mail_name(number)
                path.write_bytes(cuts.text(write.BLOCK))
            settle_disks()
            took, applied = pair.ask(pair.apply_what_is_received())
        finally:
            pair.close()
    if not applied:  # so few that they were applied at once, before it could be seen
        return []
    return [Measured(measure="mails applied", value=applied / took, unit="/s")]
