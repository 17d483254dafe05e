"""How long a client is without service when the active changes, and where that time goes.

Each round begins with both replicas in sync and a client that asks every 20 ms over fresh
connections. Measured is from the fault to the end of the first answer to a request that was begun
after it; for a switchover, the longest time between two answers. Mails are delivered all the while,
so that there is something to apply. The next round begins as soon as both are in sync again.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bench import record
from bench.timeline import PARTS, split
from command_line import positive
from lab import requirements
from lab.arpwatch import Findings
from lab.cluster import DAEMON, Cluster
from lab.errors import LabError
from lab.lab import Lab
from lab.layout import other
from lab.linux import boottime
from lab.observers import Client, Observer, probe_http, watch_arp
from lab.phases import Change, changes
from lab.spread import Spread
from lab.state import default_directory
from lab.views import Views

HELP = "failover times, as a client sees them"
ASK_EVERY_MS = 20
AFTER_S = 0.3  # a handover is over when the client was served this long by the new active
UNPLANNED_S = {"default": 4.0, "gateless": 4.0, "fast": 1.5}  # by profile; targets are for the p99
PLANNED_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One failover."""

    number: int
    kind: str
    loser: str
    winner: str
    epoch: int
    outage_s: float
    parts_s: dict[str, float]
    protected_again_s: float  # from the fault on

    def to_json(self) -> dict[str, Any]:
        return {
            "round": self.number,
            "kind": self.kind,
            "loser": self.loser,
            "winner": self.winner,
            "epoch": self.epoch,
            "outage_s": round(self.outage_s, 4),
            "parts_s": {name: round(value, 4) for name, value in self.parts_s.items()},
            "protected_again_s": round(self.protected_again_s, 2),
        }


@dataclass(slots=True, kw_only=True)
class Bench:
    """A cluster under a client, and the rounds so far."""

    lab: Lab
    cluster: Cluster
    views: Views
    client: Client
    rounds: list[Round] = field(default_factory=list)

    def run(self, kind: str) -> Round:
        """One round, begun and ended with both in sync."""
        before = self.views.wait_protected()
        loser, winner = before.node, other(before.node)
        since, until, heal = KINDS[kind](self, loser)
        heal()
        after = self.views.wait_protected(winner)
        if after.epoch <= before.epoch:
            raise LabError(f"{winner} serves in epoch {after.epoch}, no newer than {before.epoch}")
        ended = boottime()
        # Only who hands over is waited for; what becomes of a dead or lost one is no part of it.
        gave = self._changes(loser) if kind == "switchover" else []
        done = Round(
            number=len(self.rounds) + 1,
            kind=kind,
            loser=loser,
            winner=winner,
            epoch=after.epoch,
            outage_s=until - since,
            parts_s=split(since, until, gave, self._changes(winner)),
            protected_again_s=ended - since,
        )
        self.rounds.append(done)
        return done

    def _changes(self, node: str) -> list[Change]:
        log = self.lab.host_directory(node) / "log" / f"{DAEMON}.log"
        with log.open(encoding="utf-8", errors="replace") as lines:
            return changes(node, lines)


Fault = tuple[float, float, Callable[[], object]]  # begin and end of the outage, how to heal


def _power(bench: Bench, loser: str) -> Fault:
    at = bench.lab.power_off(loser)
    return at, bench.client.wait_served(at), lambda: bench.lab.power_on(loser)


def _stop(bench: Bench, loser: str) -> Fault:
    at = bench.lab.signal_unit(loser, DAEMON, signal.SIGSTOP)
    winner = other(loser)
    bench.views.wait(lambda: bench.views.serving() == winner, 30, f"{winner} serves")
    ended = boottime()
    bench.client.wait_served(ended)
    gap = bench.client.record.worst(since=at, until=ended)
    heal = partial(bench.lab.signal_unit, loser, DAEMON, signal.SIGCONT)
    return gap.since, gap.since + gap.seconds, heal


def _cable(bench: Bench, loser: str) -> Fault:
    for network in ("sync", "service"):
        bench.lab.cut(f"{loser}:{network}")
    at = boottime()
    until = bench.client.wait_served(at)

    def heal() -> None:
        for network in ("service", "sync"):
            bench.lab.heal(f"{loser}:{network}")

    return at, until, heal


def _switchover(bench: Bench, loser: str) -> Fault:
    at = boottime()
    bench.cluster.ctl(loser, "switchover", "--reason", "bench")
    bench.client.wait_served(boottime() + AFTER_S)
    gap = bench.client.record.worst(since=at)
    return gap.since, gap.since + gap.seconds, lambda: None


KINDS: dict[str, Callable[[Bench, str], Fault]] = {
    "power": _power,
    "switchover": _switchover,
    "stop": _stop,
    "cable": _cable,
}


def summary(rounds: list[Round], profile: str) -> dict[str, Any]:
    """The figures of rounds of one kind: all in seconds."""
    kind = rounds[0].kind
    parts: dict[str, list[float]] = defaultdict(list)
    for name in PARTS.values():
        if any(name in each.parts_s for each in rounds):
            parts[name] = [each.parts_s.get(name, 0.0) for each in rounds]
    target_s = PLANNED_S if kind == "switchover" else UNPLANNED_S[profile]
    outage = Spread.of([each.outage_s for each in rounds])
    return {
        "bench": "failover",
        "profile": profile,
        "kind": kind,
        "outage_s": outage.rounded(3),
        "parts_s": {name: Spread.of(values).rounded(3) for name, values in parts.items()},
        "protected_again_s": Spread.of([each.protected_again_s for each in rounds]).rounded(2),
        "target_p99_s": target_s,
        "met": outage.p99 < target_s,
    }


def _print_summary(figures: dict[str, Any]) -> None:
    def line(name: str, spread: dict[str, float]) -> None:
        cells = "".join(f"{spread[key]:9.3f}" for key in ("p50", "p90", "p99", "max"))
        print(f"  {name:24}{cells}")

    verdict = "met" if figures["met"] else "MISSED"
    print(
        f"{figures['kind']}, {figures['profile']} profile, {figures['outage_s']['count']:.0f}"
        f" rounds; seconds (target: p99 < {figures['target_p99_s']}: {verdict})"
    )
    print(f"  {'':24}{'p50':>9}{'p90':>9}{'p99':>9}{'max':>9}")
    line("outage", figures["outage_s"])
    for name, spread in figures["parts_s"].items():
        line(f"  {name}", spread)
    line("both in sync again after", figures["protected_again_s"])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `bench failover`."""
    parser.add_argument("--count", type=positive, default=50, help="rounds of each kind (50)")
    parser.add_argument("--kind", choices=[*KINDS], action="append", help="default: power")
    parser.add_argument("--profile", choices=[*UNPLANNED_S, "both"], default="default")


def run(arguments: argparse.Namespace) -> int:
    """Exit code 1 if a target was missed or two hosts ever answered for the VIP."""
    requirements.check()
    circumstances = record.circumstances()
    kinds = arguments.kind or ["power"]
    profiles = ["default", "fast"] if arguments.profile == "both" else [arguments.profile]
    results: list[dict[str, Any]] = []
    doubles: list[tuple[float, list[str]]] = []
    for profile in profiles:
        place = Path(tempfile.mkdtemp(prefix="staqraft-bench-", dir=default_directory().parent))
        lab = Lab.create(place, profile=profile)
        try:
            measured, findings = _measure(lab, kinds, arguments)
        finally:
            lab.down()
        results += measured
        doubles += findings.doubles
    for figures in results:
        if arguments.json:
            print(json.dumps(figures))
        else:
            _print_summary(figures)
        if not arguments.no_record:
            record.append({**circumstances, **figures})
    if doubles:
        print(f"bench: two hosts answered for the VIP: {doubles[:5]}", file=sys.stderr)
    return 0 if all(figures["met"] for figures in results) and not doubles else 1


def _measure(
    lab: Lab, kinds: list[str], arguments: argparse.Namespace
) -> tuple[list[dict[str, Any]], Findings]:
    cluster = Cluster(lab)
    cluster.install()
    watcher: Observer[Findings] = watch_arp(lab)
    results = []
    with watcher, Views(lab) as views:
        cluster.start()
        views.wait_protected("a")
        for part in ("web", "mail"):
            lab.run("a", lab.module("workload", part))
        cluster.barrier("a")
        with probe_http(lab, interval_ms=ASK_EVERY_MS) as prober:
            bench = Bench(lab=lab, cluster=cluster, views=views, client=Client(prober))
            for kind in kinds:
                rounds = []
                for _ in range(arguments.count):
                    rounds.append(bench.run(kind))
                    _tell(rounds[-1], as_json=arguments.json)
                results.append(summary(rounds, lab.profile))
        return results, watcher.finish()


def _tell(done: Round, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(done.to_json()), flush=True)
        return
    parts = ", ".join(
        f"{name} {value:.3f}" for name, value in done.parts_s.items() if value >= 0.005
    )
    print(
        f"{done.number:4} {done.kind}: {done.loser} -> {done.winner}, epoch {done.epoch}:"
        f" {done.outage_s:.3f} s ({parts}); in sync again after {done.protected_again_s:.1f} s",
        flush=True,
    )
