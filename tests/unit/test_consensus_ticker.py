"""The thread that ticks the Raft members: woken, staggered, isolated, late."""

from __future__ import annotations

import contextlib
import logging
import threading
import time

import pytest

from staqraft.consensus.ticker import LATENESS_S, RaftTicker


class Ticked:
    """Counts its ticks; says when it had enough."""

    def __init__(self, name: str, *, wanted: int = 1, wish_s: float = 60.0) -> None:
        self.name = name
        self.ticks = 0
        self.wish_s = wish_s
        self.wanted = wanted
        self.enough = threading.Event()

    def tick(self) -> float:
        self.ticks += 1
        if self.ticks >= self.wanted:
            self.enough.set()
        return self.wish_s


class Broken(Ticked):
    def tick(self) -> float:
        super().tick()
        raise RuntimeError("broken by the test")


class Slow(Ticked):
    def __init__(self, go_on: threading.Event) -> None:
        super().__init__("slow")
        self.go_on = go_on

    def tick(self) -> float:
        super().tick()
        self.go_on.wait(5)
        return 60.0


def test_a_member_is_ticked_when_it_wishes_and_when_it_is_woken() -> None:
    ticker, eager, idle = RaftTicker(), Ticked("eager", wanted=5, wish_s=0.0), Ticked("idle")
    ticker.add(eager, shortest_s=0.001, late_s=10)
    ticker.add(idle, shortest_s=0.001, late_s=10)
    assert eager.enough.wait(60)
    assert idle.enough.wait(60)
    idle.enough.clear()
    ticker.wake(idle)
    assert idle.enough.wait(60)
    assert idle.ticks == 2
    for member in (eager, idle):
        ticker.remove(member)


def test_a_member_that_fails_does_not_stop_another_and_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ticker, broken = RaftTicker(), Broken("broken", wanted=5)
    healthy = Ticked("healthy", wanted=5, wish_s=0.0)
    ticker.add(broken, shortest_s=0.001, late_s=10)
    ticker.add(healthy, shortest_s=0.001, late_s=10)
    assert broken.enough.wait(60)
    assert healthy.enough.wait(60)
    ticker.remove(broken)
    ticker.remove(healthy)
    said = [record for record in caplog.records if "broken failed" in record.getMessage()]
    assert len(said) == 1


def test_a_late_tick_is_counted_and_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    now = [0.0]
    ticker, member = RaftTicker(clock=lambda: now[0]), Ticked("default", wanted=2)
    ticker.add(member, shortest_s=0.0, late_s=0.1)
    while member.ticks < 1:
        member.enough.wait(0.001)
    now[0] = 100.0
    ticker.wake(member)
    assert member.enough.wait(60)
    assert ticker.late_ticks(member) == 1
    ticker.remove(member)
    assert "40000 ms late" in caplog.text


def test_a_removed_member_is_not_being_ticked_any_more() -> None:
    go_on = threading.Event()
    ticker, slow = RaftTicker(), Slow(go_on)
    ticker.add(slow, shortest_s=0.001, late_s=10)
    assert slow.enough.wait(60)
    removal = threading.Thread(target=ticker.remove, args=(slow,))
    removal.start()
    assert removal.is_alive()
    go_on.set()
    removal.join(60)
    assert not removal.is_alive()
    assert slow.ticks == 1


def test_a_member_whose_work_may_wait_is_ticked_when_that_time_is_over() -> None:
    ticker, idle = RaftTicker(), Ticked("idle", wanted=2)
    ticker.add(idle, shortest_s=0.001, late_s=10)
    while idle.ticks < 1:
        idle.enough.wait(0.001)
    began = time.monotonic()
    for _ in range(10):
        ticker.wake(idle, within_s=0.2)
    assert idle.enough.wait(60)
    assert time.monotonic() - began >= 0.2
    ticker.remove(idle)
    assert idle.ticks == 2


def test_work_that_comes_in_quick_succession_is_done_together() -> None:
    ticker = RaftTicker(together_s=0.2)
    first, second = Ticked("first", wanted=2), Ticked("second", wanted=2)
    for member in (first, second):
        ticker.add(member, shortest_s=0.001, late_s=10)
    while min(first.ticks, second.ticks) < 1:
        first.enough.wait(0.001)
    for _ in range(20):  # within the pause that follows a tick
        ticker.wake(first)
        ticker.wake(second)
    assert first.enough.wait(60)
    assert second.enough.wait(60)
    for member in (first, second):
        ticker.remove(member)
    assert (first.ticks, second.ticks) == (2, 2)


def test_how_late_the_ticks_were_is_counted_by_size() -> None:
    now = [0.0]
    ticker, member = RaftTicker(clock=lambda: now[0]), Ticked("default", wanted=2)
    ticker.add(member, shortest_s=0.0, late_s=1000)
    while member.ticks < 1:
        member.enough.wait(0.001)
    now[0] = 60.15
    ticker.wake(member)
    assert member.enough.wait(60)
    ticker.remove(member)
    counted = dict(zip((*LATENESS_S, None), ticker.lateness, strict=True))
    assert {bound: count for bound, count in counted.items() if count} == {0.001: 1, 0.2: 1}


def test_members_that_wait_for_the_disk_do_so_side_by_side() -> None:
    ticker, meeting = RaftTicker(at_once=4), threading.Barrier(4)

    class Meets(Ticked):
        def tick(self) -> float:
            with contextlib.suppress(threading.BrokenBarrierError):
                meeting.wait(5)
            return super().tick()

    all_wait = threading.Event()
    before = Slow(all_wait)
    ticker.add(before, shortest_s=0.0, late_s=10)
    assert before.enough.wait(60)
    members = [Meets(str(number)) for number in range(4)]
    for member in members:
        ticker.add(member, shortest_s=0.0, late_s=10)
    all_wait.set()
    for member in members:
        assert member.enough.wait(10)
    for one in (before, *members):
        ticker.remove(one)
    assert not meeting.broken, "they were ticked one after the other"
