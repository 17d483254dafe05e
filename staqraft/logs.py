"""One line an event on stderr, made for journald and for a tired reader.

A line is `component: sentence key=value ...`. Under systemd (JOURNAL_STREAM) it begins with the
journal's own priority prefix and leaves time and host to it; on a terminal it begins with the time.
Line breaks in values are escaped: no peer and no file name can forge a line.

`Once` keeps repeated findings from flooding the log, in bounded memory: it remembers the last
`capacity` keys and forgets the longest unseen, so whoever invents new names for ever costs nothing.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import OrderedDict
from typing import TextIO

LEVELS = ("debug", "info", "warning", "error")

_ROOT = "staqraft"
_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class Once:
    """Says of each key whether it is new. Thread-safe; remembers the last `capacity` keys."""

    def __init__(self, capacity: int = 256) -> None:
        self._capacity = capacity
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._seen)

    def __contains__(self, key: str) -> bool:
        with self._lock:
            return key in self._seen

    def first(self, key: str) -> bool:
        """True when `key` is not among the remembered ones; remembers it."""
        with self._lock:
            known = key in self._seen
            self._seen[key] = None
            self._seen.move_to_end(key)
            if len(self._seen) > self._capacity:
                self._seen.popitem(last=False)
            return not known

    def forget(self, key: str) -> None:
        """The finding is over: the next one is news again."""
        with self._lock:
            self._seen.pop(key, None)


def log_once(
    once: Once, key: str, logger: logging.Logger, level: int, sentence: str, **values: object
) -> bool:
    """Logs `sentence` unless `key` is remembered by `once`. True when it was logged."""
    if not once.first(key):
        return False
    logger.log(level, sentence, extra=values)
    return True


class LineFormatter(logging.Formatter):
    """`component: sentence key=value` on one line; a traceback, if any, follows indented."""

    def __init__(self, *, journald: bool) -> None:
        super().__init__(datefmt="%Y-%m-%d %H:%M:%S")
        self._journald = journald

    def format(self, record: logging.LogRecord) -> str:
        """The line for `record`; what was passed as `extra` follows the sentence."""
        component = record.name.removeprefix(f"{_ROOT}.")
        values = "".join(
            f" {name}={_value(value)}"
            for name, value in vars(record).items()
            if name not in _STANDARD
        )
        lines = [_one_line(f"{component}: {record.getMessage()}{values}")]
        if record.exc_info:
            trace = self.formatException(record.exc_info).splitlines()
            lines += [f"    {_one_line(line)}" for line in trace]
        if self._journald:
            prefix = f"<{_PRIORITY.get(record.levelno, 6)}>"
        else:
            stamp = f"{self.formatTime(record, self.datefmt)}.{int(record.msecs):03d}"
            prefix = f"{stamp} {record.levelname.lower():7} "
        return "\n".join(prefix + line for line in lines)


def _value(value: object) -> str:
    text = str(value)
    return repr(text) if " " in text or not text else text


def _one_line(text: str) -> str:
    """`text` without anything that could begin a new line or steer a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def setup(level: str = "info", *, stream: TextIO | None = None) -> None:
    """Sends everything logged in this process to `stream` (stderr), from `level` upward.

    Called once by each process; a second call replaces the first. `JOURNAL_STREAM` decides on the
    form of the lines. Libraries speak from warnings upward.
    """
    out = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(out)
    journald = stream is None and "JOURNAL_STREAM" in os.environ
    handler.setFormatter(LineFormatter(journald=journald))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(_ROOT).setLevel(level.upper())
    logging.captureWarnings(capture=True)
