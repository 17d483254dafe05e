"""The client's view: asks for a page every 50 ms over a fresh connection, each with its own short
time limit.

Runs in a host: `python -m lab.prober URL [--interval-ms 50] [--timeout-ms 250]`; ends when its
standard input is closed and then prints a `Record` as JSON. A line there asks for the record so
far: what was printed is not printed again. Requests are started by the clock,
whether or not earlier ones were answered, so that an outage is measured to one interval, and a
connection attempt never waits in TCP's own back-off.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from urllib.parse import urlsplit

from lab.linux import boottime

Outcome = tuple[float, float, str]  # started, ended (s on CLOCK_BOOTTIME), "" or what went wrong


@dataclass(frozen=True, slots=True)
class Outage:
    """The time between two successive answers, and when the first of them came."""

    since: float
    seconds: float


@dataclass(slots=True, kw_only=True)
class Record:
    """All requests, in order of their ends."""

    outcomes: list[Outcome] = field(default_factory=list)

    @classmethod
    def from_json(cls, text: str) -> Record:
        return cls(
            outcomes=[(begun, ended, error) for begun, ended, error in json.loads(text)["outcomes"]]
        )

    @property
    def span(self) -> tuple[float, float]:
        """When the first request was started and the last one ended."""
        return min(begun for begun, _, _ in self.outcomes), self.outcomes[-1][1]

    @property
    def answers(self) -> list[float]:
        """When good answers came."""
        return [ended for _, ended, error in self.outcomes if not error]

    def errors(self) -> dict[str, int]:
        """How often what went wrong."""
        return dict(Counter(error for _, _, error in self.outcomes if error))

    def first_answer(self, asked_after: float) -> float | None:
        """When the first good answer came to a question that was asked after this instant."""
        later = (end for begun, end, error in self.outcomes if not error and begun > asked_after)
        return min(later, default=None)

    def worst(self, since: float = 0.0, until: float = float("inf")) -> Outage:
        """The longest time without an answer that touches the span, or from it to the end."""
        first, last = self.span
        instants = [first, *self.answers, last]
        return max(
            (
                Outage(before, after - before)
                for before, after in pairwise(instants)
                if after >= since and before <= until
            ),
            key=lambda outage: outage.seconds,
        )


async def _request(host: str, port: int, path: str) -> str:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"GET {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
    finally:
        writer.close()
    status = answer.split(b"\r\n", 1)[0].decode(errors="replace")
    if " 200 " not in f"{status} ":
        return status or "empty answer"
    return "" if answer.partition(b"\r\n\r\n")[2] else "empty page"


async def _one(url: str, timeout_s: float, record: Record) -> None:
    parts = urlsplit(url)
    begun = boottime()
    try:
        async with asyncio.timeout(timeout_s):
            error = await _request(parts.hostname or "", parts.port or 80, parts.path)
    except TimeoutError:
        error = "no answer in time"
    except OSError as refusal:
        error = os.strerror(refusal.errno) if refusal.errno else str(refusal)
    record.outcomes.append((begun, boottime(), error))


async def probe(url: str, interval_s: float, timeout_s: float) -> Record:
    """Until standard input ends."""
    record = Record()
    closed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked() -> None:
        if os.read(sys.stdin.fileno(), 1):
            print(json.dumps(asdict(record)), flush=True)
            record.outcomes.clear()
        else:
            closed.set()

    loop.add_reader(sys.stdin.fileno(), asked)
    print("ready", flush=True)
    next_at = loop.time()
    async with asyncio.TaskGroup() as requests:
        while not closed.is_set():
            requests.create_task(_one(url, timeout_s, record))
            next_at += interval_s
            try:
                async with asyncio.timeout_at(next_at):
                    await closed.wait()
            except TimeoutError:
                continue
    return record


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--interval-ms", type=int, default=50)
    parser.add_argument("--timeout-ms", type=int, default=250)
    arguments = parser.parse_args()
    record = asyncio.run(
        probe(arguments.url, arguments.interval_ms / 1000, arguments.timeout_ms / 1000)
    )
    print(json.dumps(asdict(record)))


if __name__ == "__main__":
    main()
