"""What the watcher and the prober conclude from what they saw; no network needed."""

from __future__ import annotations

import socket

from lab.arpwatch import HEADER, REPLY, REQUEST, Watcher
from lab.layout import HOSTS, VIP
from lab.prober import Outage, Record

A, B = (bytes.fromhex(HOSTS[name].mac().replace(":", "")) for name in ("a", "b"))


def answer(question: bytes, mac: bytes) -> bytes:
    """What a host that holds the VIP says to a question."""
    _, asker, *_, sender_mac, sender, _, vip = HEADER.unpack(question)
    return HEADER.pack(
        asker, mac, 0x0806, 1, 0x0800, 6, 4, REPLY, mac, vip, sender_mac, sender
    )  # fmt: skip


def announcement(mac: bytes) -> bytes:
    vip = socket.inet_aton(VIP)
    return HEADER.pack(
        b"\xff" * 6, mac, 0x0806, 1, 0x0800, 6, 4, REQUEST, mac, vip, b"\0" * 6, vip
    )  # fmt: skip


def test_a_holder_is_known_from_the_first_question_that_it_answered() -> None:
    watcher = Watcher(VIP)
    watcher.ask(1.0)
    question = watcher.ask(2.0)
    watcher.receive(answer(question, A), 2.001)
    findings = watcher.finish()
    assert findings.holders == [(1.0, ""), (2.0, "a")]
    assert findings.until == [1.0, 2.0]
    assert (findings.questions, findings.answered) == (2, 1)


def test_the_last_question_that_a_holder_answered_is_known() -> None:
    watcher = Watcher(VIP)
    for asked, mac in ((1.0, A), (2.0, A), (3.0, None), (4.0, B)):
        question = watcher.ask(asked)
        if mac is not None:
            watcher.receive(answer(question, mac), asked + 0.5)
    findings = watcher.finish()
    assert findings.holders == [(1.0, "a"), (3.0, ""), (4.0, "b")]
    assert findings.until == [2.0, 3.0, 4.0]


def test_two_answers_to_one_question_are_a_double() -> None:
    watcher = Watcher(VIP)
    question = watcher.ask(1.0)
    watcher.receive(answer(question, A), 1.001)
    watcher.receive(answer(question, B), 1.002)
    assert watcher.finish().doubles == [(1.0, ["a", "b"])]


def test_answers_to_successive_questions_are_a_handover_even_when_one_comes_late() -> None:
    watcher = Watcher(VIP)
    first, second = watcher.ask(1.0), watcher.ask(1.02)
    watcher.receive(answer(second, B), 1.021)
    watcher.receive(answer(first, A), 1.022)
    findings = watcher.finish()
    assert findings.doubles == []
    assert findings.holders == [(1.0, "a"), (1.02, "b")]


def test_the_same_host_answering_twice_is_no_double() -> None:
    watcher = Watcher(VIP)
    question = watcher.ask(1.0)
    watcher.receive(answer(question, A), 1.001)
    watcher.receive(answer(question, A), 1.002)
    assert watcher.finish().doubles == []


def test_announcements_are_noted_and_answer_no_question() -> None:
    watcher = Watcher(VIP)
    watcher.ask(1.0)
    watcher.receive(announcement(B), 1.001)
    findings = watcher.finish()
    assert findings.announcements == [(1.001, "b")]
    assert findings.answered == 0


def served(*instants: float) -> list[tuple[float, float, str]]:
    return [(at - 0.01, at, "") for at in instants]


def test_an_outage_is_the_longest_time_between_two_answers() -> None:
    record = Record(
        outcomes=[*served(1.0, 1.1), (1.2, 1.4, "no answer in time"), *served(2.0, 2.1)]
    )
    assert record.worst() == Outage(1.1, 2.0 - 1.1)
    assert record.errors() == {"no answer in time": 1}


def test_an_outage_that_does_not_end_counts_to_the_end_of_the_record() -> None:
    record = Record(outcomes=[*served(1.0, 1.1), (4.0, 4.25, "no answer in time")])
    assert record.worst() == Outage(1.1, 4.25 - 1.1)


def test_outages_before_the_fault_are_left_out() -> None:
    record = Record(outcomes=served(1.0, 3.0, 3.1, 3.5))
    assert record.worst(since=3.05) == Outage(3.1, 3.5 - 3.1)
