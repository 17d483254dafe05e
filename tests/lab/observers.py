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
from lab.prober import Record


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

    def finish(self) -> Result:
        """Ends it."""
        output, _ = self._process.communicate(timeout=10)
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
            self._process.communicate(timeout=10)


def watch_arp(lab: Lab) -> Observer[Findings]:
    """Who answers for the VIP."""
    return Observer(lab, "switch", Findings, "arpwatch")


def probe_http(lab: Lab, path: str = "/index.html", *, interval_ms: int = 50) -> Observer[Record]:
    """What the client sees of the VIP."""
    return Observer(
        lab, "client", Record, "prober", f"http://{VIP}{path}", "--interval-ms", str(interval_ms)
    )
