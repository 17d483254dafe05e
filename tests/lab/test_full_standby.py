"""The standby has no room for what it received when the active dies: it must not shut it out."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from lab.cluster import Cluster, Status
from lab.conftest import built
from lab.lab import Lab
from lab.linux import boottime
from lab.processes import wait_until
from lab.story import Story

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.long]

LONGER_THAN_A_LEASE_S = 8.0


@pytest.fixture(scope="module")
def roomy_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab whose journals are not on the disk of the trees."""
    yield from built(tmp_path_factory, apart=True)


def refusals(group: Status, node: str) -> list[str]:
    """Why `node` would not take over, in the words of `staqctl status`."""
    found: list[dict[str, Any]] = [t for t in group.get("takeovers", []) if t["node"] == node]
    return [f"{r['reason']}: {r['remedy']}" for t in found for r in t.get("refusals", [])]


def test_a_standby_without_room_waits_and_the_active_that_comes_back_serves(roomy_lab: Lab) -> None:
    lab = roomy_lab
    story = Story(lab=lab, cluster=Cluster(lab))
    story.start()
    story.write("web")
    story.compare()
    filler = lab.volume("b", "data") / "filler"
    room = os.statvfs(filler.parent)
    subprocess.run(
        ["fallocate", "-l", str(room.f_bavail * room.f_frsize - (1 << 20)), filler], check=True
    )
    story.write("mbox")
    lab.run("a", ["sh", "-c", f"head -c {8 << 20} /dev/urandom > /srv/www/large.bin"])

    def says_why() -> bool:
        return any(
            "what it has cannot be applied" in why and "No space left" in why
            for why in refusals(story.cluster.group("a"), "b")
        )

    wait_until(says_why, 60, "a says why b would not take over")
    epoch = int(story.cluster.group("a")["epoch"])
    lab.power_off("a")
    dead = boottime()

    def nobody_for_long() -> bool:
        assert int(story.cluster.group("b")["epoch"]) == epoch, "b acquired what it cannot serve"
        return boottime() > dead + LONGER_THAN_A_LEASE_S

    wait_until(nobody_for_long, 60, "b has let the lease run out")
    lab.power_on("a")
    story.cluster.wait_active("a", 60)
    filler.unlink()
    story.cluster.wait_protected("a", 60)
    story.compare()
    story.finish()
