"""What is worth a message: events by who caused them, complaints when they last."""

from __future__ import annotations

from dataclasses import replace

from staqraft.model import ClusterEvent, Epoch, GroupId, NodeId
from staqraft.notify.message import Message
from staqraft.notify.watch import LASTS_MS, Complaint, Watch

A, B = NodeId("a"), NodeId("b")
MAIL = GroupId("mail")


def event(index: int, node: NodeId, kind: str = "takeover") -> ClusterEvent:
    return ClusterEvent(
        index=index, wall_ms=0, group=MAIL, node=node, kind=kind,
        text=f"event {index}", epoch=Epoch(1),
    )  # fmt: skip


def told(messages: list[Message]) -> list[tuple[str, str]]:
    return [(message.severity.word, message.text) for message in messages]


def complained(watch: Watch, now_ms: int, *found: Complaint) -> list[tuple[str, str]]:
    return told(watch.complaints(found, now_ms=now_ms, wall_ms=0))


class TestEvents:
    def test_each_node_tells_what_it_caused(self) -> None:
        watch = Watch("lab", A, told_index=2)
        history = (event(1, A), event(3, A), event(4, B), event(5, A, "member"))
        assert told(watch.events(history)) == [("critical", "event 3"), ("info", "event 5")]
        assert watch.events(history) == []
        assert watch.told_index == 5

    def test_at_the_first_start_the_past_is_past(self) -> None:
        watch = Watch("lab", A, told_index=None)
        assert watch.events((event(1, A),)) == []
        assert len(watch.events((event(1, A), event(2, A)))) == 1

    def test_a_cluster_that_began_anew_is_heard_of_from_there_on(self) -> None:
        watch = Watch("lab", A, told_index=900)
        assert watch.events((event(1, A),)) == []
        assert len(watch.events((event(1, A), event(2, A)))) == 1


class TestComplaints:
    FULL = Complaint(MAIL, "full", "the volume is full")

    def test_what_lasts_is_told_once_and_when_it_is_over(self) -> None:
        watch = Watch("lab", A, None)
        assert complained(watch, 0, self.FULL) == []
        assert complained(watch, LASTS_MS, self.FULL) == [("warning", "the volume is full")]
        assert complained(watch, 60_000, self.FULL) == []
        assert complained(watch, 61_000) == []
        assert complained(watch, 90_000) == [
            ("warning", "over, after about 1 min: the volume is full")
        ]
        assert complained(watch, 200_000) == []

    def test_two_of_a_kind_are_two(self) -> None:
        watch = Watch("lab", A, None)
        both = [Complaint(None, "unreachable", f"{who} is away", about=who) for who in "bw"]
        assert complained(watch, 0, *both) == []
        assert complained(watch, LASTS_MS, *both) == [
            ("warning", "b is away"),
            ("warning", "w is away"),
        ]

    def test_what_another_node_tells_is_not_told_twice(self) -> None:
        watch = Watch("lab", A, None)
        theirs = replace(self.FULL, ours=False)
        assert complained(watch, 0, theirs) == []
        assert complained(watch, LASTS_MS, theirs) == []

    def test_what_is_over_at_once_is_not_told(self) -> None:
        watch = Watch("lab", A, None)
        assert complained(watch, 0, self.FULL) == []
        assert complained(watch, 60_000) == []

    def test_what_comes_and_goes_is_one_complaint(self) -> None:
        watch = Watch("lab", A, None)
        said = []
        for second in range(0, 120, 4):
            said += complained(watch, second * 1000, *([self.FULL] if second % 8 else []))
        assert said == [("warning", "the volume is full")]
