"""A run: faults one after the other, and the judgement at the end."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from chaos.ground import Ground
from chaos.history import Op, Said, Violation, violations
from chaos.nemeses import Nemesis
from chaos.postman import Postman, lost
from lab.arpwatch import Findings
from lab.cluster import Cluster
from lab.errors import LabError
from lab.lab import Lab
from lab.linux import boottime
from lab.observers import Client, probe_http, watch_arp
from lab.prober import Record
from lab.story import Story
from lab.views import View, Views

WELL_WITHIN_S = 60.0  # after everything was healed: both in sync, one serves, all of one mind
SERVED_S = 0.5  # a client that asks 20 times a second is served this long when all is well


@dataclass(frozen=True, slots=True, kw_only=True)
class Struck:
    """A fault that was, with its instants on CLOCK_BOOTTIME in seconds."""

    number: int
    kind: str
    name: str
    active: str  # before it
    since: float
    healed: float
    well: float
    outage_s: float = 0.0
    epoch: int = 0  # after it

    def to_json(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "kind": self.kind,
            "name": self.name,
            "active": self.active,
            "held_s": round(self.healed - self.since, 2),
            "well_after_s": round(self.well - self.healed, 2),
            "outage_s": round(self.outage_s, 3),
            "epoch": self.epoch,
        }


@dataclass(slots=True, kw_only=True)
class Judgement:
    """What came of it all."""

    struck: list[Struck] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    acknowledged: int = 0
    barriers: int = 0
    views: int = 0
    questions: int = 0
    postman_failures: dict[str, int] = field(default_factory=dict)
    holders: list[tuple[float, str]] = field(default_factory=list)
    leaders: list[tuple[float, str, str]] = field(default_factory=list)  # when, whose word, who


Tell = Callable[[Struck], None]


def run(lab: Lab, nemeses: Iterable[Nemesis], tell: Tell) -> Judgement:
    """All faults, or until the pair does not get well; then everything is checked."""
    judgement = Judgement()
    with ExitStack() as stack:
        cluster = Cluster(lab)
        cluster.install()
        watcher = stack.enter_context(watch_arp(lab))
        views = stack.enter_context(Views(lab))
        cluster.start()
        ground = Ground(lab=lab, cluster=cluster, views=views, active=views.wait_protected().node)
        for part in ("web", "mail"):
            lab.run(ground.active, lab.module("workload", part))
        prober = stack.enter_context(probe_http(lab))
        client = Client(prober)
        postman = stack.enter_context(Postman(lab, views))
        try:
            for number, nemesis in enumerate(nemeses, start=1):
                judgement.struck.append(_strike(ground, client, number, nemesis))
                tell(judgement.struck[-1])
        except LabError as error:
            judgement.violations.append(Violation(at=boottime(), text=f"not well again: {error}"))
        postman.stop()
        if not judgement.violations:
            judgement.violations += _compare(ground, postman)
        _count(judgement, views, postman, watcher.finish(), client.finish())
        judgement.violations += violations(_ops(ground, views, postman))
    return judgement


def _strike(ground: Ground, client: Client, number: int, nemesis: Nemesis) -> Struck:
    before = ground.views.wait_protected(timeout_s=WELL_WITHIN_S)
    ground.active = before.node
    since = boottime()
    name = nemesis.name
    try:
        nemesis.inject(ground)
        ground.hold(nemesis.hold_s)
    except (LabError, subprocess.SubprocessError, OSError) as error:
        raise LabError(f"fault {number}, {name}, could not be made: {error}") from error
    finally:
        nemesis.heal()
    healed = boottime()
    ground.join_operators()
    try:
        after = ground.views.wait_protected(timeout_s=WELL_WITHIN_S)
        served = client.wait_served(boottime())
    except LabError as error:
        raise LabError(f"after fault {number}, {name}: {error}") from error
    client.wait_served(served + SERVED_S)
    return Struck(
        number=number,
        kind=nemesis.kind,
        name=name,
        active=before.node,
        since=since,
        healed=healed,
        well=boottime() - SERVED_S,
        outage_s=client.record.worst(since=since).seconds,
        epoch=after.epoch,
    )


def _compare(ground: Ground, postman: Postman) -> list[Violation]:
    """Nothing that was acknowledged is lost, and the trees are equal."""
    active = ground.views.wait_protected(timeout_s=WELL_WITHIN_S).node
    found = [
        Violation(at=receipt.at, text=f"an acknowledged mail is not on {active}: {receipt}")
        for receipt in lost(postman.receipts, ground.lab.root(active))
    ]
    story = Story(lab=ground.lab, cluster=ground.cluster, active=active)
    try:
        story.compare()
    except LabError as error:
        found.append(Violation(at=boottime(), text=str(error)))
    return found


def _count(
    judgement: Judgement, views: Views, postman: Postman, findings: Findings, record: Record
) -> None:
    judgement.violations += [
        Violation(at=at, text=f"two hosts answered for the VIP: {' and '.join(who)}")
        for at, who in findings.doubles
    ]
    judgement.acknowledged = len(postman.receipts)
    judgement.barriers = len(postman.barriers)
    judgement.postman_failures = dict(postman.failures)
    judgement.views = sum(history.taken for history in views.histories.values())
    judgement.leaders = [
        found for history in views.histories.values() for found in _leaders(history.views)
    ]
    judgement.questions = findings.questions
    judgement.holders = findings.holders


def _leaders(views: list[View]) -> Iterator[tuple[float, str, str]]:
    """When a member began to follow whom in Raft."""
    last = ""
    for view in views:
        if view.raft_leader != last:
            last = view.raft_leader
            yield view.begun, view.node, last


def _ops(ground: Ground, views: Views, postman: Postman) -> list[Op]:
    said = [op for history in views.histories.values() for v in history.views for op in ops_of(v)]
    return [*said, *postman.barriers, *ground.changes]


def ops_of(view: View) -> list[Op]:
    """What a view says: that its epoch is known, and what of it the node claims."""
    if view.epoch == 0:
        return []  # before the first epoch, or a daemon that has not heard from the majority yet
    known = Op(
        said=Said.KNOWS, epoch=view.epoch, begun=view.begun, ended=view.ended, active=view.active,
        node=view.node, life=view.life,
    )  # fmt: skip
    claims = [
        Op(
            said=Said.CLAIM, epoch=view.epoch, begun=view.begun, ended=view.ended,
            active=view.active, node=view.node, life=view.life, how=how,
        )
        for how, holds in (
            ("has the VIP", view.holds_vip),
            (f"leads, in phase {view.phase}", view.lease_left_ms > 0),
        )
        if holds
    ]  # fmt: skip
    return [known, *claims]
