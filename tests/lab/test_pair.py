"""Two replicas without a witness, on real daemons with real fence agents.

Each test stands on the one before it, as in `test_story`.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from lab.cluster import DAEMON, FENCE_AGENT, Cluster
from lab.errors import LabError
from lab.lab import Lab
from lab.layout import POWER, REPLICAS, other
from lab.linux import boottime
from lab.processes import wait_until
from lab.story import Story
from lab.strip import SOCKET, set_mood
from lab.views import View, Views

pytestmark = [pytest.mark.lab, pytest.mark.slow]

PATIENCE_S = 60.0


class Pair(Story):
    """The story of two, with views of what either says."""

    views: Views

    def wait(self, node: str, holds: Callable[[View], bool], what: str) -> View:
        """Until the node says so, from now on."""
        since = boottime()

        def said() -> bool:
            view = self.views.latest[node]
            return view is not None and view.begun > since and holds(view)

        self.views.wait(said, PATIENCE_S, f"{node}: {what}")
        view = self.views.latest[node]
        assert view is not None
        return view

    def wait_serves_alone(self, node: str) -> None:
        self.wait(node, lambda v: v.serves and v.in_sync == (node,), "serves, alone in sync")
        self.active = node

    def returns(self, node: str) -> None:
        """It gets power, is taken in, follows, and has what the active has."""
        self.lab.power_on(node)
        # Who was alone could commit nothing: the set still names both, and is mended first.
        wait_until(self._confirmed, PATIENCE_S, f"{node} is in sync again")

    def _confirmed(self) -> bool:
        try:
            self.barrier()
        except LabError:  # by one alone, or by nobody in time
            return False
        return True


@pytest.fixture(scope="module")
def pair(pair_lab: Lab) -> Iterator[Pair]:
    """a is active, both replicas are in sync."""
    told = Pair(lab=pair_lab, cluster=Cluster(pair_lab))
    told.start()
    told.write("mail")
    told.write("accounts")
    with Views(pair_lab) as told.views:
        yield told
    if told.watcher is not None:
        told.watcher.finish()


@pytest.mark.parametrize(("mood", "code"), [("refusing", 1), ("lying", 0)])
def test_a_strip_in_a_bad_mood_turns_nothing_off(pair_lab: Lab, mood: str, code: int) -> None:
    def agent(action: str) -> int:
        text = f"action={action}\nplug=client\n"
        return pair_lab.run("a", [str(FENCE_AGENT)], text=text, check=False).returncode

    set_mood(pair_lab.directory, "client", mood)
    assert agent("off") == code
    assert agent("status") == 0  # it is on, and says so
    set_mood(pair_lab.directory, "client", "")
    assert pair_lab.has_power("client")


def test_a_device_that_does_not_answer_is_told_of_before_it_is_needed(pair: Pair) -> None:
    strip = pair.lab.directory / POWER / SOCKET
    away = strip.with_name("away")

    def told(node: str) -> bool:
        problems = (pair.cluster.status(node) or {}).get("problems", [])
        texts = [problem["text"] for problem in problems if problem["code"] == "fence-device"]
        return len(texts) == 1 and "the power strip does not answer" in texts[0]

    def well(node: str) -> bool:
        return bool(pair.cluster.status(node)) and not told(node)

    strip.rename(away)
    for node in REPLICAS:
        wait_until(partial(told, node), PATIENCE_S, f"{node} says that its device is silent")
    away.rename(strip)
    for node in REPLICAS:
        wait_until(partial(well, node), PATIENCE_S, f"{node} can use its device again")
    kinds = [event["kind"] for event in pair.cluster.events("a")]
    assert kinds.count("fence-device") == len(REPLICAS) * 2


def test_the_active_loses_its_power_and_the_standby_has_it_turned_off(pair: Pair) -> None:
    pair.barrier()
    acknowledged = pair.trees_of("a")
    pair.lab.power_off("a")
    pair.wait_serves_alone("b")
    pair.expect_equal(acknowledged, pair.trees_of("b"), "a at its last barrier and b")
    assert pair.cluster.barrier("b").replicas == ("b",)


def test_the_old_active_returns_and_is_taken_in(pair: Pair) -> None:
    pair.write("mbox")
    pair.returns("a")
    pair.compare()


def test_the_standby_loses_its_power_and_the_active_goes_on(pair: Pair) -> None:
    epoch = pair.wait("b", lambda v: v.serves, "serves").epoch
    pair.lab.power_off("a")
    pair.write("mbox")
    assert pair.cluster.barrier("b").replicas == ("b",)
    pair.wait_serves_alone("b")
    assert pair.wait("b", lambda v: v.serves, "serves").epoch == epoch
    pair.returns("a")


@pytest.mark.long
def test_who_stops_in_order_is_not_turned_off_for_that(pair: Pair) -> None:
    pair.stop_daemon("a")
    pair.write("mbox")
    pair.wait_serves_alone("b")
    assert pair.cluster.barrier("b").replicas == ("b",)
    assert pair.lab.has_power("a")
    pair.start_daemon("a")
    pair.views.wait_protected("b")
    pair.barrier()


@pytest.mark.long
def test_of_two_that_lose_each_other_one_survives(pair: Pair) -> None:
    pair.lab.cut("a-b")
    pair.wait_serves_alone("b")
    assert pair.lab.has_power("b")
    assert not pair.lab.has_power("a")
    pair.lab.heal("a-b")
    pair.returns("a")


@pytest.mark.long
@pytest.mark.parametrize("first", REPLICAS)
def test_after_both_rebooted_nobody_serves_before_they_met(pair: Pair, first: str) -> None:
    for node in REPLICAS:
        pair.lab.power_off(node)
    pair.lab.power_on(first)
    pair.wait(first, lambda v: "its host started" in v.summary, "says what it waits for")
    assert pair.lab.has_power(first)
    assert not pair.answers_for_vip(first)
    pair.lab.power_on(other(first))
    pair.active = pair.views.wait_protected().node
    pair.barrier()


@pytest.mark.long
def test_without_a_device_the_active_goes_on_serving_and_barriers_wait(pair: Pair) -> None:
    for node in REPLICAS:
        pair.cluster.configure(node, devices=False)
        pair.lab.signal_unit(node, DAEMON, signal.SIGKILL)
        pair.views.wait_protected(pair.active)
    pair.lab.power_off(other(pair.active))
    said = pair.wait(pair.active, lambda v: "barriers wait" in v.summary, "says what it does")
    assert said.serves
    assert "no fence device is configured" in said.summary
    pair.returns(other(pair.active))


@pytest.mark.long
def test_without_a_device_the_standby_waits_for_somebodys_word(pair: Pair) -> None:
    lost, left = pair.active, other(pair.active)
    pair.lab.power_off(lost)
    said = pair.wait(left, lambda v: "--confirm-off" in v.summary, "says what it waits for")
    assert not said.serves
    assert "no fence device is configured" in said.summary
    pair.cluster.ctl(left, "fence", lost, "--confirm-off")
    pair.wait_serves_alone(left)
    assert pair.cluster.barrier(left).replicas == (left,)


@pytest.mark.long
def test_who_was_given_up_comes_back_and_does_not_serve(pair: Pair) -> None:
    given_up, left = pair.active, other(pair.active)
    pair.lab.power_off(given_up)  # it was alone: what it acknowledged the other does not have
    pair.lab.power_on(left)
    pair.wait(left, lambda v: "force-active" in v.summary, "says what is left to do")
    pair.cluster.ctl(left, "force-active", left, "--accept-data-loss")
    pair.wait_serves_alone(left)
    pair.lab.power_on(given_up)
    said = pair.wait(given_up, lambda v: "went on without" in v.summary, "meets the other")
    assert not said.serves
    assert pair.wait(left, lambda v: v.serves, "serves").serves


@pytest.mark.long
def test_and_is_taken_in_again_without_its_raft_directory(pair: Pair) -> None:
    left = other(given_up := other(pair.active))
    pair.stop_daemon(given_up)
    raft = "/var/lib/staqraft/raft"
    pair.lab.run(given_up, ["mv", raft, f"{raft}.given-up"])
    pair.start_daemon(given_up)
    pair.views.wait_protected(left)
    pair.compare()


def test_at_no_time_did_two_hosts_answer_for_the_vip(pair: Pair) -> None:
    findings = pair.finish()
    assert findings.doubles == []
    assert findings.questions > 100
