"""scripts/demo: tells the story of a pair and a witness, each line with its measured figure."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from lab import requirements
from lab.cluster import Cluster
from lab.errors import LabError, MissingError
from lab.figures import idle_use, live_latency
from lab.lab import Lab
from lab.layout import PROFILES, REPLICAS, VIP, other
from lab.linux import boottime
from lab.logs import keep_logs
from lab.state import default_directory
from lab.story import Story, StoryError, Takeover

UNPLANNED_TARGET_S = 4.0
PLANNED_TARGET_S = 0.5


class Teller:
    """Prints lines with the time since the beginning."""

    def __init__(self) -> None:
        self._begun = boottime()

    @property
    def elapsed_s(self) -> float:
        return boottime() - self._begun

    def say(self, step: str, text: str) -> None:
        """One line."""
        print(f"{self.elapsed_s:5.1f} s  {step:2} {text}", flush=True)

    @staticmethod
    def detail(text: str) -> None:
        """A line below one."""
        print(f"            | {text}", flush=True)


def _outage(takeover: Takeover, target_s: float) -> str:
    if takeover.outage_s >= target_s:
        raise StoryError(f"the client's outage was {takeover.outage_s:.2f} s, not < {target_s} s")
    return f"the client's outage: {takeover.outage_s:.2f} s (target < {target_s} s)"


def _opening(story: Story, tell: Teller) -> None:
    took = story.start()
    tell.say(
        "1",
        f"CA and certificates made, three daemons started: {story.active} is active in epoch"
        f" {story.epoch}, in sync: {' '.join(REPLICAS)}; {took:.1f} s",
    )
    for line in story.cluster.wait_well(story.active).splitlines():
        tell.detail(line)


def _input(story: Story, tell: Teller) -> None:
    begun = boottime()
    site, mail, mbox, accounts = (story.write(p) for p in ("web", "mail", "mbox", "accounts"))
    tell.say(
        "2",
        f"written on {story.active} in {boottime() - begun:.1f} s: {site['files']} files of the"
        f" Python library; {mail['delivered']} mails delivered, {mail['flagged']} flagged,"
        f" {mail['moved']} moved, {mail['deleted']} deleted; {mbox['appended']} appended to an"
        f" mbox; a passwd-like file replaced {accounts['replaced']} times",
    )
    barrier = story.barrier()
    where = " and ".join(barrier.replicas)
    tell.say("2", f"barrier: all of it is durable on {where} after {barrier.elapsed_ms:.0f} ms")
    compared = story.compare()
    tell.say(
        "2",
        f"compared: {compared.objects} objects, {compared.content_bytes / 1e6:.1f} MB:"
        " content and metadata equal",
    )
    latency = live_latency(story.lab, story.active, other(story.active))
    tell.say(
        "2",
        f"live: a change is on the standby after {latency.p50_ms:.1f} ms (p50),"
        f" {latency.p99_ms:.1f} ms (p99) at 50 changes/s",
    )
    story.compare()


def _power_cut(story: Story, tell: Teller) -> None:
    takeover = story.cut_power()
    tell.say(
        "3",
        f"power of {takeover.loser} cut: {takeover.winner} took over in epoch {takeover.epoch}"
        f" (fenced: {takeover.fence}); {_outage(takeover, UNPLANNED_TARGET_S)}",
    )
    tell.say("3", f"nothing behind the barrier is missing on {takeover.winner}: all points equal")


def _return(story: Story, tell: Teller) -> None:
    kept = story.return_of_the_loser()
    returning = other(story.active)
    tell.say("4", f"{returning} is back and follows; in its quarantine is what it had not sent:")
    for entry in kept:
        tell.detail(f"{entry.tree}: {os.fsdecode(entry.path)}")
    tell.say("4", f"compared: {story.compare().objects} objects, equal again")


def _switchover(story: Story, tell: Teller) -> None:
    takeover = story.switch_over()
    tell.say(
        "5",
        f"switchover from {takeover.loser} to {takeover.winner}, epoch {takeover.epoch};"
        f" {_outage(takeover, PLANNED_TARGET_S)}",
    )
    tell.say("5", f"nothing is lost: {story.compare().objects} objects, equal")


def _freeze(story: Story, tell: Teller) -> None:
    takeover = story.freeze()
    tell.say(
        "6",
        f"kill -STOP of {takeover.loser}'s daemon: its kernel silenced the VIP after"
        f" {takeover.silent_after_s:.2f} s, {takeover.winner} took over in epoch"
        f" {takeover.epoch} (fenced: {takeover.fence}); {_outage(takeover, UNPLANNED_TARGET_S)}",
    )
    objects = story.compare().objects
    tell.say("6", f"kill -CONT: {takeover.loser} stood down and follows; {objects} objects, equal")
    findings = story.finish()
    tell.say(
        "6",
        f"the watcher on the bridge asked {findings.questions} times who has {VIP}:"
        f" two hosts answered {len(findings.doubles)} times",
    )


def _closing(story: Story, tell: Teller) -> None:
    for use in idle_use(story.lab):
        tell.detail(
            f"idle, {use.host}: {use.process:20} {use.cpu_percent:4.1f} % CPU,"
            f" {use.memory_mib:5.1f} MiB"
        )


def _place(*, keep: bool) -> Path:
    """A lab that stays is where `scripts/lab` looks; others are out of each other's way."""
    default = default_directory().absolute()
    if keep or "STAQRAFT_LAB_DIR" in os.environ:
        return default
    return Path(tempfile.mkdtemp(prefix="staqraft-demo-", dir=default.parent))


@contextmanager
def _own_lab(*, keep: bool, profile: str) -> Iterator[Lab]:
    requirements.check()
    lab = Lab.create(_place(keep=keep), profile=profile)
    try:
        yield lab
    except (LabError, subprocess.SubprocessError, KeyError, ValueError):
        keep_logs(lab, "demo", tail=True)
        raise
    finally:
        if keep:
            print(f"demo: the lab stays up in {lab.directory}; end it with scripts/lab down")
        else:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would leave half a lab
            lab.down()


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


def main() -> int:
    """Exit 0: every step held; 1: one did not; 2: the machine lacks something; 130: interrupted."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument(
        "--keep", action="store_true", help="leave the lab up (scripts/lab exec a ...)"
    )
    parser.add_argument("--profile", choices=[*PROFILES], default="default", help="its timing")
    arguments = parser.parse_args()
    if arguments.keep and os.getpid() == 1:
        parser.error("--keep needs root: without, the lab is inside of this process's namespaces")
    signal.signal(signal.SIGTERM, _interrupt)
    tell = Teller()
    try:
        with _own_lab(keep=arguments.keep, profile=arguments.profile) as lab:
            tell.say("0", f"lab: hosts a, b, w, client; disks: {lab.status()['disks']}")
            story = Story(lab=lab, cluster=Cluster(lab))
            for part in (_opening, _input, _power_cut, _return, _switchover, _freeze, _closing):
                part(story, tell)
    except MissingError as missing:
        print(f"demo: {missing}", file=sys.stderr)
        return 2
    except (LabError, subprocess.SubprocessError) as failure:
        print(f"demo: FAILED after {tell.elapsed_s:.1f} s: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        return 130
    tell.say("", "every step held")
    return 0


if __name__ == "__main__":
    sys.exit(main())
