"""Log lines: one line an event, nothing forged, nothing repeated for ever."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from staqraft import logs


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    """What is logged, with the process's logging put back afterwards."""
    root, ours = logging.getLogger(), logging.getLogger("staqraft")
    before = (root.handlers[:], root.level, ours.level)
    stream = io.StringIO()
    logs.setup("info", stream=stream)
    yield stream
    logging.captureWarnings(capture=False)
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])


def test_a_line_is_time_level_component_sentence_values(out: io.StringIO) -> None:
    logging.getLogger("staqraft.actions.vip").warning(
        "address did not come", extra={"vip": "192.0.2.10/24", "reason": "no such device"}
    )
    line = out.getvalue()
    assert line.endswith(
        " warning actions.vip: address did not come vip=192.0.2.10/24 reason='no such device'\n"
    )


def test_below_the_level_nothing_is_said(out: io.StringIO) -> None:
    logging.getLogger("staqraft.x").debug("detail")
    logging.getLogger("somebody.else").info("chatter")
    assert out.getvalue() == ""


def test_journald_gets_its_priority_and_no_time() -> None:
    record = logging.makeLogRecord(
        {"name": "staqraft.daemon", "levelno": logging.ERROR, "msg": "broken"}
    )
    assert logs.LineFormatter(journald=True).format(record) == "<3>daemon: broken"


def test_a_file_name_forges_no_line(out: io.StringIO) -> None:
    logging.getLogger("staqraft.apply").info(
        "quarantined\n<0>forged: panic", extra={"path": "a\x1b[2Jb\nc"}
    )
    assert out.getvalue().count("\n") == 1
    assert "quarantined\\n<0>forged" in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_a_traceback_is_indented_under_its_sentence() -> None:
    with pytest.raises(ValueError, match="invalid literal") as caught:
        int("first\nsecond")
    error = caught.value
    record = logging.makeLogRecord(
        {
            "name": "staqraft.x",
            "levelno": logging.ERROR,
            "msg": "failed",
            "exc_info": (type(error), error, error.__traceback__),
        }
    )
    first, *rest = logs.LineFormatter(journald=True).format(record).splitlines()
    assert first == "<3>x: failed"
    assert all(line.startswith("<3>    ") for line in rest)
    assert rest[-1].startswith("<3>    ValueError: invalid literal")


def test_once_is_once() -> None:
    once = logs.Once()
    assert [once.first("x"), once.first("x"), once.first("y")] == [True, False, True]
    once.forget("x")
    assert once.first("x")


def test_once_forgets_the_longest_unseen_and_stays_small() -> None:
    once = logs.Once(capacity=3)
    for key in ("known", "1", "2", "known", "3"):
        once.first(key)
    assert not once.first("known")
    assert once.first("1")
    for number in range(10_000):
        once.first(str(number))
    assert len(once) == 3


def test_log_once_says_the_same_thing_once(out: io.StringIO) -> None:
    once, logger = logs.Once(), logging.getLogger("staqraft.x")
    said = [
        logs.log_once(once, "disk", logger, logging.WARNING, "disk is full", disk="/var")
        for _ in range(3)
    ]
    assert said == [True, False, False]
    assert out.getvalue().count("disk is full disk=/var") == 1
