"""A watchdog resets a host whose daemon hangs, or whose services do not stop, before it harms.

Real daemons, a device in FUSE with the kernel's ioctls, and a reset that is a power cut.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from lab.arpwatch import Findings
from lab.cluster import DAEMON, Cluster
from lab.dog import Dog
from lab.lab import Lab
from lab.layout import HOST_STATE, REPLICAS
from lab.observers import Observer, watch_arp
from lab.views import Views

pytestmark = [
    pytest.mark.lab,
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.skipif(not os.access("/dev/fuse", os.W_OK), reason="needs /dev/fuse"),
]

PATIENCE_S = 60.0
TTL_S = 6.0  # as the lab's profile says
FLAG = f"{HOST_STATE}/stubborn"
# While its host has the flag it does not stop.
STUBBORN = {
    "start": ["true"],
    "stop": ["sh", "-c", f"test ! -e {FLAG} || sleep 600"],
    "start_timeout": "5s",
    "stop_timeout": "1s",
}


@dataclass
class Watched:
    """A cluster whose replicas have watchdogs."""

    cluster: Cluster
    views: Views
    watcher: Observer[Findings]
    dogs: dict[str, Dog] = field(default_factory=dict)
    resets: list[tuple[float, str]] = field(default_factory=list)  # when, and who serves then

    @property
    def lab(self) -> Lab:
        return self.cluster.lab

    def wait_reset(self, node: str) -> float:
        """Until its watchdog fired and its power is gone; when it fired."""
        dog = self.dogs[node]
        self.views.wait(
            lambda: dog.fired is not None and not self.lab.has_power(node),
            PATIENCE_S,
            f"the watchdog resets {node}",
        )
        assert dog.fired is not None
        return dog.fired


@pytest.fixture(scope="module")
def watched(watchdog_lab: Lab) -> Iterator[Watched]:
    """a is active, both replicas are in sync."""
    cluster = Cluster(watchdog_lab, more={"services": {"stubborn": STUBBORN}})
    cluster.install()
    with ExitStack() as stack:
        views = stack.enter_context(Views(watchdog_lab))
        told = Watched(cluster, views, stack.enter_context(watch_arp(watchdog_lab)))
        for node in REPLICAS:
            told.dogs[node] = stack.enter_context(Dog(watchdog_lab, node))
        cluster.start()
        views.wait_protected("a", PATIENCE_S)
        yield told


def test_a_daemon_that_is_stopped_is_reset_before_its_lease_is_over(watched: Watched) -> None:
    stopped = watched.lab.signal_unit("a", DAEMON, signal.SIGSTOP)
    reset = watched.wait_reset("a")
    assert reset - stopped < TTL_S
    watched.views.wait(lambda: watched.views.serving() == "b", PATIENCE_S, "b serves")
    watched.resets.append((reset, "b"))


def test_a_host_whose_services_do_not_stop_is_reset(watched: Watched) -> None:
    """Its addresses went when its lease ended, so the other does not wait for that."""
    with ExitStack() as stack:
        # a comes back, with a watchdog of this boot.
        watched.lab.power_on("a")
        watched.lab.ask_init("a", op="stop", unit=DAEMON)
        watched.dogs["a"] = stack.enter_context(Dog(watched.lab, "a"))
        watched.lab.ask_init("a", op="start", unit=DAEMON)
        watched.views.wait_protected("b", PATIENCE_S)
        watched.lab.run("b", ["touch", FLAG])
        for link in ("a-b", "b-w"):
            watched.lab.cut(link)
        watched.wait_reset("b")
        watched.views.wait(lambda: watched.views.serving() == "a", PATIENCE_S, "a serves")
        for link in ("a-b", "b-w"):
            watched.lab.heal(link)
        assert watched.dogs["a"].fired is None, "the one that serves is kicked all the time"


def test_who_was_reset_was_silent_before_the_other_answered(watched: Watched) -> None:
    findings = watched.watcher.finish()
    assert findings.doubles == []
    for reset, winner in watched.resets:
        before = [who for instant, who in findings.holders if instant <= reset]
        assert before[-1] != winner
        assert winner in {who for instant, who in findings.holders if instant > reset}
