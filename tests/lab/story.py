"""The story of the demo in six steps, and a seventh of the tests alone.

Each returns its measured figures, or raises StoryError.

Used by `scripts/demo`, which prints it, and by `test_story.py`, which asserts it.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

from lab.arpwatch import Findings
from lab.cluster import DAEMON, GROUP, NAME, Barrier, Cluster, Kept
from lab.compare import Difference, Manifest, differences, manifest
from lab.errors import LabError
from lab.lab import Lab
from lab.layout import REPLICAS, TREES, VIP, VIP_INTERFACE, other
from lab.linux import boottime
from lab.observers import Client, Observer, probe_http, watch_arp
from lab.prober import Outage
from lab.processes import descendants, wait_until
from staqraft.actions.gate import table_name

STREAM_PORT = 7410  # journal records to the standby; Raft and the lease use another
GATE = table_name(NAME, GROUP)
SHOWN = 8  # differences that a failed comparison names
UNSENT = {  # end of the path of what the workload's `unsent` writes -> words that are in it
    b"odd/private": b"changed a moment before",
    b"unsent.html": b"written a moment before",
    b"1700000001.unsent.lab": b"sender1@example.net",
}


class StoryError(LabError):
    """A step did not hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Two replicas' trees were found equal."""

    objects: int
    content_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Takeover:
    """Who took over from whom, and what it cost the client."""

    loser: str
    winner: str
    epoch: int
    outage_s: float
    fence: str
    at: float  # when the fault was done, or the switchover asked for (CLOCK_BOOTTIME)
    errors: dict[str, int]  # what the client met, and how often
    silent_after_s: float | None = (
        None  # when the loser was last seen to have the VIP, counted from the fault
    )


@dataclass(slots=True, kw_only=True)
class Story:
    """The cluster and what has been observed of it so far."""

    lab: Lab
    cluster: Cluster
    active: str = "a"
    epoch: int = 0
    takeovers: list[Takeover] = field(default_factory=list)
    watcher: Observer[Findings] | None = None
    snapshots: dict[str, Manifest] = field(default_factory=dict)

    # --- 1 ------------------------------------------------------------------------------------

    def start(self) -> float:
        """Certificates and daemons, until the first active serves and both replicas are in sync."""
        begun = boottime()
        self.cluster.install()
        self.watcher = watch_arp(self.lab)
        self.cluster.start()
        group = self.cluster.wait_protected(self.active)
        self.epoch = int(group["epoch"])
        return boottime() - begun

    # --- 2 ------------------------------------------------------------------------------------

    def write(self, part: str) -> dict[str, int]:
        """One part of the workload on the active."""
        counts: dict[str, int] = json.loads(
            self.lab.run(self.active, self.lab.module("workload", part)).stdout
        )
        return counts

    def barrier(self) -> Barrier:
        """A barrier that both replicas confirmed."""
        barrier = self.cluster.barrier(self.active)
        if barrier.degraded or barrier.replicas != REPLICAS:
            raise StoryError(
                f"the barrier was confirmed by {barrier.replicas} only, not by both replicas"
            )
        return barrier

    def compare(self) -> Compared:
        """Waits until the standby has applied a barrier, then compares all trees completely."""
        standby = other(self.active)
        self.cluster.wait_applied(standby, self.barrier().seq)
        begun = boottime()
        self.snapshots = self.trees_of(self.active)
        self.expect_equal(self.snapshots, self.trees_of(standby), f"{self.active} and {standby}")
        return Compared(
            objects=sum(len(tree) for tree in self.snapshots.values()),
            content_bytes=sum(
                item.size or 0 for tree in self.snapshots.values() for item in tree.values()
            ),
            seconds=boottime() - begun,
        )

    def trees_of(self, name: str) -> dict[str, Manifest]:
        """All trees of a replica, without mails that are not delivered yet."""
        trees = {
            tree: manifest(Path(f"{self.lab.root(name)}{path}"))
            for tree, (path, _) in TREES.items()
        }
        for tree, (_, profile) in TREES.items():
            if profile == "maildir":
                trees[tree] = {p: i for p, i in trees[tree].items() if b"/tmp/" not in p}
        return trees

    def expect_equal(
        self, left: dict[str, Manifest], right: dict[str, Manifest], what: str
    ) -> None:
        """StoryError names the first differences."""
        found: list[tuple[str, Difference]] = list(
            chain.from_iterable(
                ((tree, d) for d in differences(left[tree], right[tree])) for tree in left
            )
        )
        if found:
            shown = "\n".join(
                f"  {TREES[tree][0]}/{difference}" for tree, difference in found[:SHOWN]
            )
            raise StoryError(f"the trees of {what} differ in {len(found)} points:\n{shown}")

    # --- 3 ------------------------------------------------------------------------------------

    def cut_power(self) -> Takeover:
        """The active writes what it can no longer send, and loses its power while a client asks."""
        loser, winner = self.active, other(self.active)
        with self._client() as client:
            self.lab.cut(f"{loser}-{winner}", port=STREAM_PORT)
            self.write("unsent")
            time.sleep(0.15)  # the loser's capture sees them, its journal has them, nobody else can
            at = self.lab.power_off(loser)
            self.lab.heal(f"{loser}-{winner}", port=STREAM_PORT)
            takeover = self._taken_over(client, loser, winner, at)
        self.expect_equal(
            self.snapshots, self.trees_of(winner), f"{loser} at its last barrier and {winner}"
        )
        return takeover

    @contextmanager
    def _client(self) -> Iterator[Client]:
        """Who asks all the time, and is served when this begins."""
        with probe_http(self.lab) as prober:
            client = Client(prober)
            client.wait_served(0.0)
            yield client

    def _taken_over(self, client: Client, loser: str, winner: str, at: float) -> Takeover:
        group = self.cluster.wait_active(winner)
        served = client.wait_served(boottime())
        client.wait_served(served + 1.0)  # it goes on
        record = client.finish()
        if int(group["epoch"]) <= self.epoch:
            raise StoryError(
                f"{winner} is active in epoch {group['epoch']}, no newer than {self.epoch}"
            )
        self.active, self.epoch = winner, int(group["epoch"])
        takeover = Takeover(
            loser=loser,
            winner=winner,
            epoch=self.epoch,
            outage_s=record.worst(since=at).seconds,
            fence=group.get("last_fence", ""),
            at=at,
            errors=record.errors(),
        )
        self.takeovers.append(takeover)
        return takeover

    # --- 4 ------------------------------------------------------------------------------------

    def return_of_the_loser(self) -> list[Kept]:
        """The former active gets power again: it follows, and what only it had is in quarantine."""
        returning = other(self.active)
        self.lab.power_on(returning)
        self.cluster.wait_protected(self.active)
        kept = self.cluster.quarantine(returning)
        for path, words in UNSENT.items():
            found = [entry for entry in kept if entry.path.endswith(path)]
            if not found:
                names = ", ".join(os.fsdecode(entry.path) for entry in kept) or "nothing"
                raise StoryError(f"{path!r} is not in the quarantine of {returning}, but {names}")
            if words not in found[0].content:
                raise StoryError(f"the quarantine of {returning} has another {path!r} than it had")
        return kept

    # --- 5 ------------------------------------------------------------------------------------

    def switch_over(self) -> Takeover:
        """Mails are delivered to the last moment, then an operator hands the group over."""
        loser, winner = self.active, other(self.active)
        with self._client() as client:
            self.write("last_mails")
            at = boottime()
            self.cluster.ctl(loser, "switchover", "--reason", "demo")
            return self._taken_over(client, loser, winner, at)

    # --- 6 ------------------------------------------------------------------------------------

    def freeze(self, *, everything: bool = False) -> Takeover:
        """All processes of the active's daemon are stopped, and later go on as if nothing was.

        With `everything`, all that runs on the host but its init.
        """
        loser, winner = self.active, other(self.active)
        with self._client() as client:
            pids = (
                descendants(self.lab.init(loser).pid)[1:]
                if everything
                else self.lab.unit_processes(loser, DAEMON)
            )
            _signal(pids, signal.SIGSTOP)
            at = seen = boottime()  # it renews nothing from now on

            def silenced() -> bool:
                nonlocal seen
                asked = boottime()
                if answers := self.answers_for_vip(loser):
                    seen = asked
                return not answers

            try:
                wait_until(silenced, 60, f"the kernel of {loser} silences the VIP", every_s=0.02)
                takeover = self._taken_over(client, loser, winner, at)
            finally:
                _signal(pids, signal.SIGCONT)
        self.cluster.wait_group(
            loser,
            lambda g: g.get("phase") == "standby" and g.get("active") == winner,
            60,
            f"{loser} stands down",
        )
        if self.answers_for_vip(loser):
            raise StoryError(f"{loser} went on and holds the VIP again")
        self.cluster.wait_protected(winner)
        return replace(takeover, silent_after_s=seen - at)

    # --- 7 ------------------------------------------------------------------------------------

    def stop_daemon(self, name: str) -> None:
        """As `systemctl stop` does; returns when the daemon has ended."""
        self.lab.ask_init(name, op="stop", unit=DAEMON)

        def ended() -> bool:
            return self.lab.ask_init(name, op="status")[DAEMON]["pid"] is None

        wait_until(ended, 60, f"the daemon of {name} has ended")

    def start_daemon(self, name: str) -> None:
        """As `systemctl start` does."""
        self.lab.ask_init(name, op="start", unit=DAEMON)

    def upgrade_in_maintenance(self, *, away_s: float) -> Outage:
        """The daemon of the active is away for so long, and things are written meanwhile.

        What the client missed of all that at most.
        """
        active = self.active
        self.cluster.ctl(active, "maintenance", "on", "--reason", "upgrade")
        with probe_http(self.lab) as prober:
            client = Client(prober)
            begun = boottime()
            client.wait_served(begun)
            self.stop_daemon(active)
            away = boottime()
            self.write("mbox")
            client.wait_served(away + away_s)
            self.start_daemon(active)
            self.cluster.wait_protected(active)
            client.wait_served(boottime())
            missed = client.finish().worst(since=begun)
        self.cluster.ctl(active, "maintenance", "off")
        return missed

    # --- always -------------------------------------------------------------------------------

    def answers_for_vip(self, name: str) -> bool:
        """By the kernel's word the host has the address, and its gate, if it has one, is open."""
        element = ["get", "element", "inet", GATE, "live4", f"{{ {VIP} }}"]
        if GATE in self.lab.run(name, ["nft", "list", "tables"]).stdout:
            done = self.lab.run(name, ["nft", *element], check=False)
            if done.returncode != 0:
                return False
        addresses = self.lab.run(
            name, ["ip", "-br", "address", "show", "dev", VIP_INTERFACE]
        ).stdout
        return f"{VIP}/" in addresses

    def finish(self) -> Findings:
        """What the watcher on the bridge saw all the time; StoryError when two hosts answered."""
        assert self.watcher is not None
        findings = self.watcher.finish()
        self.watcher = None
        if findings.doubles:
            raise StoryError(
                f"two hosts answered ARP for the VIP {len(findings.doubles)} times:"
                f" {findings.doubles[:5]}"
            )
        return findings


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # a check of a service ended meanwhile
            os.kill(pid, number)
