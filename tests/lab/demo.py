"""scripts/demo: tells the story of a pair and a witness, each line with its measured figure."""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from lab.cluster import Cluster
from lab.errors import LabError, MissingError
from lab.figures import idle_use, live_latency
from lab.lab import Lab
from lab.layout import MEMBERS, REPLICAS, VIP, other
from lab.linux import boottime
from lab.story import Story, StoryError, Takeover

UNPLANNED_TARGET_S = 4.0
PLANNED_TARGET_S = 0.5
TAIL_LINES = 25


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


def _within(takeover: Takeover, target_s: float) -> str:
    if takeover.outage_s >= target_s:
        raise StoryError(f"the client's outage was {takeover.outage_s:.2f} s, target < {target_s} s")
    return f"{takeover.outage_s:.2f} s (target < {target_s} s)"


def _opening(story: Story, tell: Teller) -> None:
    took = story.start()
    tell.say("1", f"CA and certificates made, three daemons started: {story.active} is active in epoch "
                  f"{story.epoch}, in sync: {' '.join(REPLICAS)}; {took:.1f} s")
    for line in story.cluster.ctl(story.active, "status").splitlines():
        tell.say("", f"   | {line}")


def _input(story: Story, tell: Teller) -> None:
    begun = boottime()
    site, mail, mbox, accounts = (story.write(p) for p in ("web", "mail", "mbox", "accounts"))
    written = boottime() - begun
    tell.say("2", f"written on {story.active} in {written:.1f} s: {site['files']} files of the Python library; "
                  f"{mail['delivered']} mails delivered, {mail['read']} flagged, {mail['archived']} moved, "
                  f"{mail['deleted']} deleted; {mbox['appended']} appended to an mbox; a passwd-like file "
                  f"replaced {accounts['replaced']} times")
    barrier = story.barrier()
    tell.say("2", f"barrier: durable on {' and '.join(barrier.replicas)} after {barrier.elapsed_ms:.0f} ms")
    compared = story.compare()
    tell.say("2", f"compared: {compared.objects} objects, {compared.content_bytes / 1e6:.1f} MB, "
                  "content and metadata equal")
    latency = live_latency(story.lab, story.active, other(story.active))
    tell.say("2", f"live: a change is on the standby after {latency.p50_ms:.1f} ms (p50), "
                  f"{latency.p99_ms:.1f} ms (p99) at 50 changes/s")
    story.compare()


def _power_cut(story: Story, tell: Teller) -> None:
    takeover = story.cut_power()
    tell.say("3", f"power of {takeover.loser} cut: {takeover.winner} took over in epoch {takeover.epoch} (loser fenced "
                  f"by: {takeover.fence}); the client's outage: {_within(takeover, UNPLANNED_TARGET_S)}")
    tell.say("3", f"nothing behind the barrier is missing: {takeover.winner}'s trees equal it in every point")
    kept = story.return_of_the_loser()
    tell.say("4", f"{takeover.loser} is back and follows; what it had not sent is in its quarantine:")
    for entry in kept:
        tell.say("", f"   | {entry['tree']}: {entry['path']}")
    tell.say("4", f"compared: {story.compare().objects} objects, equal again")


def _switchover(story: Story, tell: Teller) -> None:
    takeover = story.switch_over()
    tell.say("5", f"switchover: {takeover.loser} -> {takeover.winner}, epoch {takeover.epoch}; the client's outage: "
                  f"{_within(takeover, PLANNED_TARGET_S)}")
    tell.say("5", f"nothing is lost: {story.compare().objects} objects, equal")


def _freeze(story: Story, tell: Teller) -> None:
    takeover = story.freeze()
    tell.say("6", f"kill -STOP of all of {takeover.loser}'s daemon: its kernel took the VIP away after "
                  f"{takeover.silent_after_s:.2f} s, {takeover.winner} took over in epoch {takeover.epoch}; "
                  f"the client's outage: {_within(takeover, UNPLANNED_TARGET_S)}")
    tell.say("6", f"kill -CONT: {takeover.loser} stood down and follows; {story.compare().objects} objects, equal")
    findings = story.finish()
    tell.say("6", f"the watcher on the bridge asked {findings.questions} times who has {VIP}: "
                  f"two hosts answered {len(findings.doubles)} times")


def _closing(story: Story, tell: Teller) -> None:
    for use in idle_use(story.lab):
        tell.say("", f"   | idle, {use.host}: {use.process:22} {use.cpu_percent:4.1f} % CPU, "
                     f"{use.memory_mib:5.1f} MiB")


def _show_logs(lab: Lab) -> None:
    """Keeps the logs, which go with the lab, and shows the last words of each daemon."""
    kept = Path(tempfile.mkdtemp(prefix="staqraft-demo-logs-"))
    for name in MEMBERS:
        logs = lab.host_directory(name) / "log"
        if logs.exists():
            shutil.copytree(logs, kept / name, dirs_exist_ok=True)
    for path in sorted(kept.glob("*/staqraftd.log")):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]
        print(f"--- the end of {path}", *lines, sep="\n", file=sys.stderr)
    print(f"demo: all logs are in {kept}", file=sys.stderr)


@contextmanager
def _own_lab(*, keep: bool) -> Iterator[Lab]:
    lab = Lab.create()
    try:
        yield lab
    except (LabError, subprocess.SubprocessError, KeyError, ValueError):
        _show_logs(lab)
        raise
    finally:
        if keep:
            print(f"demo: the lab stays up in {lab.directory}; end it with scripts/lab down")
        else:
            lab.down()


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


def main() -> int:
    """Exit 0 only if every step held; 1 if one did not, 2 if the machine lacks something, 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the lab up (scripts/lab exec a ...)")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    tell = Teller()
    try:
        with _own_lab(keep=arguments.keep) as lab:
            tell.say("0", f"lab: hosts a, b, w, client; disks: {lab.status()['disks']}")
            story = Story(lab=lab, cluster=Cluster(lab))
            for part in (_opening, _input, _power_cut, _switchover, _freeze, _closing):
                part(story, tell)
    except MissingError as missing:
        print(f"demo: {missing}", file=sys.stderr)
        return 2
    except (LabError, subprocess.SubprocessError) as failure:
        print(f"demo: FAILED after {tell.elapsed_s:.1f} s: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted; the lab is gone", file=sys.stderr)
        return 130
    tell.say("", "every step held")
    return 0


if __name__ == "__main__":
    sys.exit(main())
