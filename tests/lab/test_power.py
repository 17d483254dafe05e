"""Both replicas lose their power and only the standby comes back: it has to be enough."""

from __future__ import annotations

import pytest

from lab.cluster import Cluster
from lab.lab import Lab
from lab.story import Story

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.long]


def test_the_standby_alone_takes_over_with_all_that_was_acknowledged(lab: Lab) -> None:
    story = Story(lab=lab, cluster=Cluster(lab))
    story.start()
    for part in ("web", "mail", "mbox", "accounts"):
        story.write(part)
    story.barrier()
    lab.power_off("b")  # what it received is in its journal, and not all of it in its trees
    acknowledged = story.trees_of("a")
    lab.power_off("a")
    lab.power_on("b")
    group = story.cluster.wait_active("b", 60)
    assert int(group["epoch"]) == 2
    story.expect_equal(acknowledged, story.trees_of("b"), "a at its last barrier and b")
    lab.power_on("a")
    story.active = "b"
    story.cluster.wait_protected("b", 60)
    story.compare()
    story.finish()
