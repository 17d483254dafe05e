"""What waits for a receiver, when it is tried, and what becomes of too much."""

from __future__ import annotations

from staqraft.model import NodeId
from staqraft.notify.message import Message, Severity
from staqraft.notify.outbox import MOST_WAITING, Backlog, Outbox

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def message(text: str, severity: Severity = Severity.WARNING) -> Message:
    return Message(
        cluster="lab", node=NodeId("a"), group=None, kind="x", severity=severity,
        text=text, wall_ms=0,
    )  # fmt: skip


def outbox(most_per_hour: int = 60) -> Outbox:
    return Outbox(severity=Severity.WARNING, most_per_hour=most_per_hour, retry_for_ms=DAY_MS)


def text(box: Outbox, now_ms: int) -> str | None:
    found = box.next(now_ms)
    return None if found is None else found.text


def test_messages_go_in_order_and_what_is_not_bad_enough_does_not_go() -> None:
    box = outbox()
    box.put(message("one"), 0)
    box.put(message("by the way", Severity.INFO), 0)
    box.put(message("two", Severity.CRITICAL), 0)
    assert text(box, 0) == "one"
    assert text(box, 0) == "one"  # until it is said that it arrived
    box.sent(0)
    assert text(box, 1) == "two"
    box.sent(1)
    assert text(box, 2) is None
    assert box.wake_ms(2) is None


def test_what_is_held_back_waits_for_nobody_until_it_fails() -> None:
    box = outbox(most_per_hour=1)
    for word in ("one", "two", "three"):
        box.put(message(word), 0)
    assert text(box, 0) == "one"
    box.sent(0)
    assert text(box, 0) is None
    assert box.backlog == Backlog(waiting=0, held_back=2, dropped=0)
    assert "1 more messages" in str(text(box, HOUR_MS))
    box.failed(HOUR_MS)
    assert box.backlog == Backlog(waiting=1, held_back=2, dropped=0)


def test_what_fails_is_tried_again_and_further_and_further_apart() -> None:
    box = outbox()
    box.put(message("one"), 0)
    now_ms, pauses = 0, []
    for _ in range(10):
        assert text(box, now_ms) == "one"
        pause_ms = box.failed(now_ms)
        assert text(box, now_ms + pause_ms - 1) is None
        assert box.wake_ms(now_ms) == now_ms + pause_ms
        now_ms += pause_ms
        pauses.append(pause_ms // 1000)
    assert pauses == [5, 10, 20, 40, 80, 160, 320, 600, 600, 600]
    assert text(box, now_ms) == "one"
    box.sent(now_ms)
    box.put(message("two"), now_ms)
    assert text(box, now_ms) == "two"  # the next has its own luck


def test_after_a_day_nobody_wants_to_know() -> None:
    box = outbox()
    box.put(message("old"), 0)
    box.failed(0)
    box.put(message("new"), DAY_MS)
    assert text(box, DAY_MS + 1) == "new"
    assert box.dropped == 1


def test_what_is_more_than_the_hour_allows_becomes_one_message() -> None:
    box = outbox(most_per_hour=2)
    for number in range(2):
        box.put(message(f"{number}"), 0)
        assert text(box, number) == f"{number}"
        box.sent(number)
    box.put(message("an alarm", Severity.CRITICAL), 10)
    assert text(box, 10) is None
    for number in range(3):
        box.put(message(f"later {number}"), 20 + number)
        assert text(box, 20 + number) is None
    assert box.wake_ms(30) == HOUR_MS
    said = text(box, HOUR_MS)
    assert said is not None
    assert said.startswith("an alarm (and 3 more messages")
    box.sent(HOUR_MS)
    assert text(box, HOUR_MS + 1) is None
    assert len(box) == 0


def test_a_receiver_that_is_away_does_not_fill_the_memory() -> None:
    box = outbox()
    for number in range(MOST_WAITING + 7):
        box.put(message(str(number)), 0)
    assert len(box) == MOST_WAITING
    assert box.dropped == 7
    assert text(box, 0) == "0", "it may be under way"
    box.sent(0)
    assert text(box, 0) == "8"
