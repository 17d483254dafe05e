"""A run: steps one after the other, and the judgement at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos import account, setting, writes
from chaos.clocks import Shifts
from chaos.deeds import SwitchOver
from chaos.ground import STEADY_S, Ground
from chaos.history import Op, Said, Violation, violations
from chaos.nemesis import Trouble
from chaos.plan import Fault, Step
from chaos.promises import Promises
from lab import compare
from lab.arpwatch import Findings
from lab.cluster import Cluster
from lab.errors import LabError
from lab.lab import Lab
from lab.layout import REPLICAS
from lab.linux import boottime
from lab.observers import Client, probe_http, watch_arp
from lab.story import Story
from lab.views import View, Views

WELL_WITHIN_S = 90.0  # after everything was healed: both in sync, one serves, all of one mind
CONTENT_WITHIN_S = 60.0  # then: no status says that anything is wrong
SERVED_S = 0.5  # a client that asks 50 times a second is served this long when all is well
ASK_EVERY_MS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Struck:
    """A step that was, with its instants on CLOCK_BOOTTIME in seconds."""

    number: int  # of its first fault
    faults: int  # that were made
    kind: str  # of these
    kinds: tuple[str, ...] = ()  # of each of them
    name: str  # of all that were drawn
    not_made: int = 0  # another of the step had made them impossible
    active: str  # before it
    since: float
    healed: float
    well: float
    outage_s: float = 0.0
    epoch: int = 0  # after it

    def to_json(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "faults": self.faults,
            "not_made": self.not_made,
            "kind": self.kind,
            "kinds": list(self.kinds),
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
    arrived: int = 0
    acknowledged: int = 0
    barriers: int = 0
    views: int = 0
    questions: int = 0
    failures: dict[str, int] = field(default_factory=dict)  # of the courier, and of barriers
    holders: list[tuple[float, str]] = field(default_factory=list)
    leaders: list[tuple[float, str, str]] = field(default_factory=list)  # when, whose word, who
    deeds: list[tuple[float, str]] = field(default_factory=list)  # when a fault began and ended
    shifts: dict[str, Shifts] = field(default_factory=dict)

    @property
    def faults(self) -> int:
        """How many were done and got over."""
        return sum(struck.faults for struck in self.struck)

    @property
    def kinds(self) -> dict[str, int]:
        """How many of each kind were done, also those that were parts of others."""
        found = Counter(kind for struck in self.struck for kind in struck.kinds)
        return dict(sorted(found.items()))

    @property
    def not_made(self) -> int:
        """How many were drawn besides, and could not be made."""
        return sum(struck.not_made for struck in self.struck)


Tell = Callable[[Struck], None]


def run(
    lab: Lab,
    steps: Iterable[Step],
    tell: Tell,
    *,
    devices: bool = False,
    steady_s: float = STEADY_S,
) -> Judgement:
    """All steps, or until the pair does not get well; then everything is checked."""
    judgement = Judgement()
    with ExitStack() as stack:
        cluster = Cluster(lab)
        cluster.install()
        environments = setting.install(cluster, devices=devices, steady_s=steady_s)
        watcher = stack.enter_context(watch_arp(lab))
        views = stack.enter_context(Views(lab))
        setting.start(cluster, environments)
        active = views.wait_protected().node
        ground = Ground(lab=lab, cluster=cluster, views=views, active=active, steady_s=steady_s)
        for part in ("web", "mail"):
            lab.run(ground.active, lab.module("workload", part))
        lab.run(ground.active, ["mkdir", "-p", setting.PAGES])
        untouched = compare.manifest(Path(f"{lab.root(active)}{account.WEB}"))
        client = Client(stack.enter_context(probe_http(lab, interval_ms=ASK_EVERY_MS)))
        promises = stack.enter_context(Promises(lab, views))
        try:
            for step in steps:
                judgement.struck.append(_strike(ground, client, promises, step, judgement))
                tell(judgement.struck[-1])
        except LabError as error:
            judgement.violations.append(Violation(at=boottime(), text=f"not well again: {error}"))
        judgement.violations += ground.found
        try:
            promises.stop()
        except LabError as error:
            judgement.violations.append(Violation(at=boottime(), text=str(error)))
        if not judgement.violations:
            try:
                judgement.violations += _compare(ground, promises, untouched)
            except Trouble as error:
                text = f"what there is at the end cannot be compared: {error}"
                judgement.violations.append(Violation(at=boottime(), text=text))
        client.finish()
        judgement.shifts = dict(ground.shifts)
        _count(judgement, views, promises, watcher.finish())
        judgement.violations += _unwatched(judgement)
        ops = [*_said(views), *promises.kept.barriers, *ground.changes]
        judgement.violations += violations(ops)
        judgement.violations += writes.foreign(ops, promises.kept.arrived)
    return judgement


def _strike(
    ground: Ground, client: Client, promises: Promises, step: Step, judgement: Judgement
) -> Struck:
    before = ground.wait_well(WELL_WITHIN_S)
    ground.active = before.node
    ground.forget_failures()
    client.forget()
    since = boottime()
    try:
        made = _time(ground, step, judgement)
    finally:
        ground.calm()
    healed = boottime()
    ground.join_operators()
    made = _asked_for_nothing(ground, made, judgement)
    number = step.faults[0].number
    try:
        after = ground.wait_well(WELL_WITHIN_S)
        served = client.wait_served(boottime())
        well = boottime()
        ground.wait_content(CONTENT_WITHIN_S)
        promises.wait_acknowledged()
    except LabError as error:
        raise LabError(f"after fault {number}, {step.name}: {error}") from error
    client.wait_served(served + SERVED_S)
    return Struck(
        number=number,
        faults=len(made),
        not_made=len(step.faults) - len(made),
        kind=Step(tuple(made)).kind,
        kinds=tuple(kind for fault in made for kind in fault.nemesis.kinds),
        name=step.name,
        active=before.node,
        since=since,
        healed=healed,
        well=well,
        outage_s=client.record.worst(since=since).seconds,
        epoch=after.epoch,
    )


def _asked_for_nothing(ground: Ground, made: list[Fault], judgement: Judgement) -> list[Fault]:
    """The faults without a switchover that was all, and that was refused."""
    judgement.deeds += [(at, f"the switchover was refused: {why}") for at, why in ground.refused]
    refused, ground.refused = bool(ground.refused), []
    if refused and len(made) == 1 and isinstance(made[0].nemesis, SwitchOver):
        return []
    return made


def _time(ground: Ground, step: Step, judgement: Judgement) -> list[Fault]:
    """Strikes and heals, each at its moment; those that could be made. LabError if none could."""
    moments = sorted(
        [(fault.start_s, 0, fault.number, fault) for fault in step.faults]
        + [(fault.end_s, 1, fault.number, fault) for fault in step.faults]
    )
    begun = boottime()
    waiting = list(step.faults)  # to be healed
    made: list[Fault] = []
    try:
        for at_s, turn, _, fault in moments:
            ground.hold(max(0.0, begun + at_s - boottime()))
            if turn:
                waiting.remove(fault)
                _heal(fault, judgement)
                continue
            judgement.deeds.append((boottime(), f"fault {fault.number}: {fault.nemesis.name}"))
            try:
                fault.nemesis.inject(ground)
            except Trouble as error:
                # Another fault has made it impossible: a host without power has no processes.
                judgement.deeds.append((boottime(), f"fault {fault.number} failed: {error}"))
                if not made:  # all was well before
                    raise LabError(
                        f"fault {fault.number}, {fault.nemesis.name}, could not be made: {error}"
                    ) from error
            else:
                made.append(fault)
    finally:
        for fault in waiting:
            _heal(fault, judgement)
    return made


def _heal(fault: Fault, judgement: Judgement) -> None:
    try:
        fault.nemesis.heal()
    except Trouble as error:  # `calm` will do it
        judgement.deeds.append((boottime(), f"fault {fault.number} was not healed: {error}"))
    judgement.deeds.append((boottime(), f"fault {fault.number} is healed"))


def _compare(ground: Ground, promises: Promises, untouched: compare.Manifest) -> list[Violation]:
    """Nothing that was acknowledged is lost, nothing at all is unaccounted for, what nobody touched
    is as it was, the trees are equal.
    """
    active = ground.wait_well(WELL_WITHIN_S).node
    root, kept = ground.lab.root(active), promises.kept
    found = account.lost(kept.receipts, root)
    quarantine = {node: ground.cluster.quarantine(node) for node in REPLICAS}
    found += account.unaccounted(kept.arrived, root, quarantine, _power_cuts(ground))
    found += account.missing(ground.delivered, root, quarantine)
    web = compare.manifest(Path(f"{root}{account.WEB}"))
    found += account.changed(untouched, web, boottime())
    story = Story(lab=ground.lab, cluster=ground.cluster, active=active)
    try:
        story.compare()
    except LabError as error:
        found.append(Violation(at=boottime(), text=str(error)))
    return found


def _power_cuts(ground: Ground) -> list[account.PowerCut]:
    """Each after the host's last word and before it got power again."""
    cuts = []
    for host, until in ground.boots:
        views = ground.views.histories[host].views if host in ground.views.histories else []
        since = max((view.ended for view in views if view.ended < until), default=0.0)
        cuts.append(account.PowerCut(host=host, since=since, until=until))
    return cuts


def _unwatched(judgement: Judgement) -> list[Violation]:
    """Where nothing was looked at, nothing was shown."""
    looked = {
        "mail, page or line was acknowledged": judgement.acknowledged,
        "question for the VIP was asked": judgement.questions,
        "view of the epochs was taken": judgement.views,
    }
    return [Violation(at=boottime(), text=f"no {what}") for what, n in looked.items() if not n]


def _count(judgement: Judgement, views: Views, promises: Promises, findings: Findings) -> None:
    judgement.violations += [
        Violation(at=at, text=f"two hosts answered for the VIP: {' and '.join(who)}")
        for at, who in findings.doubles
    ]
    kept = promises.kept
    judgement.violations += [
        Violation(at=sent.begun, text=f"the client {sent.error}") for sent in kept.torn
    ]
    judgement.arrived = len(kept.arrived)
    judgement.acknowledged = len(kept.receipts)
    judgement.barriers = len(kept.barriers)
    judgement.failures = dict(kept.failures)
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


def _said(views: Views) -> list[Op]:
    return [op for history in views.histories.values() for v in history.views for op in ops_of(v)]


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
