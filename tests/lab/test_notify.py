"""Who is told of a failover, by real daemons, and that nobody who hangs delays one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from lab import sink
from lab.cluster import CONFIGURATION, STAQCTL, Cluster
from lab.lab import Lab
from lab.layout import HOSTS, MEMBERS
from lab.processes import wait_until
from lab.story import Story

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.long]

CLIENT = HOSTS["client"].address()
ARRIVED = "/etc/staqraft/arrived"
RUN_BY_US = "/var/log/staqraft/told"
NOTIFY = {
    "admins": {
        "email": {
            "to": ["admin@example.org"],
            "from": "staqraft@example.org",
            "server": CLIENT,
            "tls": "none",
        },
        "severity": "info",
    },
    "chat": {"webhook": {"url": f"http://{CLIENT}:{sink.HOOK}/staqraft"}},
    "hangs": {"webhook": {"url": f"http://{CLIENT}:{sink.SILENT}/"}, "timeout": "3s"},
    "pager": {
        "program": [
            "/bin/sh",
            "-c",
            f'echo "$STAQRAFT_KIND $STAQRAFT_SEVERITY $STAQRAFT_NODE" >> {RUN_BY_US}',
        ]
    },
}
OUTAGE_S = 8.0  # 3.5 s on a machine that is not busy
WAIT_S = 60.0


@pytest.fixture(scope="module")
def story(lab: Lab) -> Iterator[Story]:
    """All nodes tell four receivers, one of which never answers."""
    told = Story(lab=lab, cluster=Telling(lab))
    lab.enable("client", "sink", lab.module("sink", ARRIVED), notify=False)
    told.start()
    for part in ("web", "mail"):
        told.write(part)
    told.compare()
    yield told
    if told.watcher is not None:
        told.watcher.finish()


class Telling(Cluster):
    """With receivers in each configuration."""

    def configure(self, node: str, *, devices: bool = True) -> None:
        super().configure(node, devices=devices)
        path = self.lab.host_directory(node) / "etc" / "staqraft.yaml"
        path.write_text(json.dumps({**json.loads(path.read_text()), "notify": NOTIFY}, indent=2))


def arrived(story: Story, kind: str) -> list[dict[str, Any]]:
    """What the client's host got of this kind."""
    path = story.lab.host_directory("client") / "etc" / "arrived"
    lines = path.read_text().splitlines() if path.exists() else []
    found = [json.loads(line) for line in lines]
    return [one for one in found if one.get("kind") == kind or f"kind:     {kind}" in one["text"]]


@pytest.mark.parametrize("node", MEMBERS)
def test_a_test_says_of_each_receiver_whether_it_arrived(story: Story, node: str) -> None:
    argv = [*STAQCTL, "--config", CONFIGURATION, "notify", "test"]
    done = story.lab.run(node, argv, check=False, timeout_s=60)
    assert done.returncode == 1
    assert sorted(done.stdout.splitlines()) == [
        "admins: sent",
        "chat: sent",
        "hangs: FAILED: no answer within 3 s",
        "pager: sent",
    ]
    assert len(arrived(story, "test")) >= 2


def test_a_failover_is_told_and_waits_for_nobody(story: Story) -> None:
    takeover = story.cut_power()
    assert takeover.outage_s < OUTAGE_S
    wait_until(
        lambda: {one["way"] for one in arrived(story, "takeover")} == {"mail", "webhook"},
        WAIT_S,
        "mail and webhook have arrived",
        every_s=0.5,
    )
    (posted,) = [one for one in arrived(story, "takeover") if one["way"] == "webhook"]
    assert (posted["severity"], posted["node"]) == ("critical", takeover.winner)
    assert posted["text"].startswith(f"{takeover.winner} takes over from {takeover.loser}")
    (mailed,) = [one for one in arrived(story, "takeover") if one["way"] == "mail"]
    assert mailed["subject"].startswith("[StaqRaft lab/default] critical: ")
    said = story.lab.run(takeover.winner, ["cat", RUN_BY_US]).stdout.splitlines()
    assert f"takeover critical {takeover.winner}" in said


def test_the_loss_of_the_other_is_told_once_it_lasts_and_when_it_is_over(story: Story) -> None:
    loser = "a" if story.active == "b" else "b"

    def hooked(kind: str) -> list[str]:
        return [one["text"] for one in arrived(story, kind) if one["way"] == "webhook"]

    wait_until(lambda: bool(hooked("unreachable")), WAIT_S, "that it is away", every_s=0.5)
    wait_until(lambda: bool(hooked("alone")), WAIT_S, "that the active is alone", every_s=0.5)
    # By its silence, or by that of its addresses: what is found first.
    assert hooked("unreachable")[0].startswith(
        (f"{loser} is not heard by", f"{loser} does not answer on any ring")
    )
    story.return_of_the_loser()
    wait_until(
        lambda: any(text.startswith("over, after about") for text in hooked("alone")),
        WAIT_S,
        "that it is over",
        every_s=0.5,
    )
