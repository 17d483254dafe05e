"""A cluster is upgraded node by node while a client is served; who is put back stops by itself."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import pytest

from fakes.next_version import VERSION
from lab.cluster import CONFIGURATION, DAEMON, STAQRAFTD, Cluster
from lab.errors import LabError
from lab.lab import Lab
from lab.layout import MEMBERS
from lab.processes import wait_until
from lab.story import Story
from staqraft import __version__
from staqraft.errors import Outdated

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.long]

OLD = [*STAQRAFTD, "--config", CONFIGURATION]
NEXT = [sys.executable, "-m", "fakes.next_version", "--config", CONFIGURATION]
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def story(lab: Lab) -> Iterator[Story]:
    told = Story(lab=lab, cluster=Cluster(lab))
    told.start()
    for part in ("web", "mail"):
        told.write(part)
    yield told
    if told.watcher is not None:
        told.watcher.finish()


def unit(lab: Lab, node: str) -> dict[str, object]:
    found: dict[str, object] = lab.ask_init(node, op="status")[DAEMON]
    return found


def stop(lab: Lab, node: str) -> None:
    """As `systemctl stop` does: an active hands over first."""
    lab.ask_init(node, op="stop", unit=DAEMON)
    wait_until(lambda: unit(lab, node)["pid"] is None, PATIENCE_S, f"{node} has stopped")


def install(lab: Lab, node: str, software: Sequence[str]) -> None:
    stop(lab, node)
    lab.enable(node, DAEMON, software)


def wait_versions(story: Story, **wanted: str) -> None:
    seen: dict[str, str] = {}

    def announced() -> bool:
        nodes = (story.cluster.status(story.active) or {}).get("nodes", [])
        seen.update((node["node"], node.get("version", "")) for node in nodes)
        return seen == wanted

    try:
        wait_until(announced, PATIENCE_S, f"{wanted} are announced", every_s=0.25)
    except LabError as error:
        logs = [log_of(story.lab, node)[-1500:] for node in MEMBERS]
        raise LabError(f"{error}; {seen} were\n{chr(10).join(logs)}") from None


def log_of(lab: Lab, node: str) -> str:
    return (lab.host_directory(node) / "log" / f"{DAEMON}.log").read_text(encoding="utf-8")


def wait_refused(story: Story, node: str) -> str:
    """Until the daemon has ended for good because it is too old; what it said last."""
    lab = story.lab

    def ended() -> bool:
        about = unit(lab, node)
        exits = about["exits"]
        assert isinstance(exits, list)
        return about["pid"] is None and exits[-1:] == [Outdated.exit_code]

    wait_until(ended, PATIENCE_S, f"{node} ends as outdated")
    return log_of(lab, node).rpartition("start ")[2]


def test_each_node_is_upgraded_in_turn_and_the_client_is_served(story: Story) -> None:
    install(story.lab, "b", NEXT)
    wait_versions(story, a=__version__, b=VERSION, w=__version__)
    story.cluster.wait_protected("a")
    assert story.switch_over().outage_s < 4
    install(story.lab, "a", NEXT)
    wait_versions(story, a=VERSION, b=VERSION, w=__version__)
    story.cluster.wait_protected("b")
    story.compare()


def test_who_was_away_and_put_back_meets_the_newer_commands_and_stops(story: Story) -> None:
    stop(story.lab, "a")
    install(story.lab, "w", NEXT)
    wait_versions(story, a=VERSION, b=VERSION, w=VERSION)
    story.cluster.wait_active("b")
    story.lab.enable("a", DAEMON, OLD)
    said = wait_refused(story, "a")
    assert "cannot follow" in said
    assert "upgrade this node" in said
    assert "it goes on from where it is when the version of the other nodes is installed" in said
    assert not story.answers_for_vip("a")
    story.cluster.wait_active("b")


def test_after_its_upgrade_it_goes_on(story: Story) -> None:
    story.lab.enable("a", DAEMON, NEXT)
    story.cluster.wait_protected("b")
    story.compare()


def test_an_active_that_is_put_back_hands_over_and_does_not_start(story: Story) -> None:
    install(story.lab, "b", OLD)
    said = wait_refused(story, "b")
    assert "is not touched" in said
    story.cluster.wait_active("a")
    story.active = "a"
    assert not story.answers_for_vip("b")
    story.lab.enable("b", DAEMON, NEXT)
    story.cluster.wait_protected("a")
    wait_versions(story, **dict.fromkeys(MEMBERS, VERSION))
    assert not story.finish().doubles
