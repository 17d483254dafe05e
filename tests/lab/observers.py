"""The watcher on the bridge and the prober in the client, as values with a beginning and an end."""

from __future__ import annotations

import subprocess
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from lab.arpwatch import Findings
from lab.errors import LabError
from lab.lab import Lab
from lab.layout import VIP
from lab.linux import boottime
from lab.prober import Record
from lab.processes import wait_until


class _Readable(Protocol):
    @classmethod
    def from_json(cls, text: str) -> Self: ...


Result = TypeVar("Result", bound=_Readable)


class Observer(AbstractContextManager["Observer[Result]"], Generic[Result]):
    """A module of the lab that runs in a host until `finish`, which returns what it saw."""

    def __init__(self, lab: Lab, host: str, result: type[Result], *argv: str) -> None:
        self._what = f"{argv[0]} in {host}"
        self._result = result
        self._process: subprocess.Popen[str] = lab.popen(host, lab.module(*argv))
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            self._process.kill()
            self._process.communicate()
            raise LabError(f"{self._what} did not start: see {lab.directory}/tools.log")

    def look(self) -> Result:
        """What it saw since the last look, or in all, as the module says; it goes on."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise LabError(f"{self._what} ended early; see tools.log of the lab")
        return self._result.from_json(line)

    def finish(self) -> Result:
        """Ends it."""
        output, _ = self._process.communicate(timeout=60)
        if self._process.returncode != 0:
            raise LabError(
                f"{self._what} ended with {self._process.returncode}; see tools.log of the lab"
            )
        return self._result.from_json(output)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.communicate(timeout=60)


def watch_arp(lab: Lab, vip: str = VIP) -> Observer[Findings]:
    """Who answers for the VIP."""
    return Observer(lab, "switch", Findings, "arpwatch", "--vip", vip)


def probe_http(
    lab: Lab, path: str = "/index.html", *, interval_ms: int = 50, at: str = VIP
) -> Observer[Record]:
    """What the client sees of the VIP."""
    return Observer(
        lab, "client", Record, "prober", f"http://{at}{path}", "--interval-ms", str(interval_ms)
    )


class Client:
    """A client that asks all the time, and everything that it has seen so far."""

    def __init__(self, prober: Observer[Record]) -> None:
        self._prober = prober
        self.record = Record()

    def served(self, asked_after: float) -> float | None:
        """When the first good answer came to a question asked after this instant; None: not yet."""
        self.record.outcomes += self._prober.look().outcomes
        return self.record.first_answer(asked_after)

    def wait_served(self, asked_after: float, timeout_s: float = 60.0) -> float:
        """When the first good answer came to a question asked after this instant."""
        wait_until(
            lambda: self.served(asked_after) is not None,
            timeout_s,
            "the client is served through the VIP",
            every_s=0.02,
        )
        answered = self.record.first_answer(asked_after)
        assert answered is not None
        return answered

    def forget(self) -> None:
        """All but the last second: what follows is what counts, and is looked through again and
        again.
        """
        self.served(0.0)
        since = boottime() - 1.0
        self.record.outcomes = [outcome for outcome in self.record.outcomes if outcome[1] > since]

    def finish(self) -> Record:
        """Ends it; all that it saw."""
        self.record.outcomes += self._prober.finish().outcomes
        return self.record
