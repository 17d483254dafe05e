"""`staqctl verify`: whether both replicas have the same, and what is not."""

from __future__ import annotations

import time
from argparse import Namespace

from staqraft.apply.rate import Rate, left_s, work
from staqraft.cli.commands import ATTENTION, OK, about, me, show, to_json
from staqraft.cli.connection import connected
from staqraft.cli.progress import Line, left_text
from staqraft.cli.rendering import path_text, safe, size_text
from staqraft.wire.v1 import data_admin_pb2 as pb
from staqraft.wire.v1 import data_admin_pb2_grpc as pb_grpc
from staqraft.wire.v1 import data_worker_pb2

_SHOWN = 200  # findings; --json has all


async def verify(options: Namespace) -> int:
    """Shows how far it is, then what differs."""
    wish = data_worker_pb2.VerifyTreesRequest(
        trees=options.trees, deep=options.deep, repair=options.repair
    )
    told = Told(options)
    async with connected(options) as channel:
        stub = pb_grpc.DataAdminServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
        request = pb.VerifyRequest(group=options.group, wish=wish, requested_by=me())
        try:
            # However long it takes: everything may have to be read, and Ctrl-C ends it.
            async for response in stub.Verify(request, metadata=about(options)):
                told.on(response)
        finally:
            told.line.end()
    return told.verdict()


class Told:
    """What was told so far."""

    def __init__(self, options: Namespace) -> None:
        self.line = Line()
        self._options = options
        self._objects, self._bytes, self._work = Rate(), Rate(), Rate()
        self._findings = self._repaired = 0
        self._last = data_worker_pb2.VerifyTreesResponse()
        self._node = ""

    def on(self, response: pb.VerifyResponse) -> None:
        """One message."""
        step = response.step
        self._node = response.node
        if self._options.json:
            show(to_json(response))
        if step.HasField("finding"):
            self._finding(step.finding)
            return
        self._last = step
        if not step.done and not self._options.json:
            self.line.show(self._progress(step))

    def _progress(self, step: data_worker_pb2.VerifyTreesResponse) -> str:
        now_s = time.monotonic()
        objects = self._objects.per_s(step.objects_done, now_s)
        parts = [f"{step.objects_done:,} of {step.objects_total:,} objects"]
        left = left_s(step.objects_done, step.objects_total, objects)
        if self._options.deep:
            size = self._bytes.per_s(step.bytes_done, now_s)
            done, total = size_text(step.bytes_done), size_text(step.bytes_total)
            parts.append(f"{done} of {total}, {size_text(round(size))}/s")
            done_so_far = work(step.objects_done, step.bytes_done)
            pace = self._work.per_s(done_so_far, now_s)
            left = left_s(done_so_far, work(step.objects_total, step.bytes_total), pace)
        parts.append(left_text(left))
        if step.suspects:
            parts.append(f"{step.suspects:,} to be looked at again")
        return f"{safe(step.phase)}: {', '.join(parts)}"

    def _finding(self, finding: data_worker_pb2.VerifyFinding) -> None:
        self._findings += 1
        self._repaired += finding.repaired
        if self._options.json or self._findings > _SHOWN:
            return
        self.line.end()
        show(render_finding(finding, self._node))

    def verdict(self) -> int:
        """The last words, and the exit code."""
        left = self._findings - self._repaired
        if not self._options.json:
            if self._findings > _SHOWN:
                show(f"... and {self._findings - _SHOWN:,} more; --json lists all")
            show(self._summary(left))
            for text in self._last.not_repaired:
                show(f"Not repaired: {safe(text)}.")
        return ATTENTION if left else OK

    def _summary(self, left: int) -> str:
        last = self._last
        how = ", every file read on both" if self._options.deep else ""
        looked = f"{last.objects_done:,} objects, {size_text(last.bytes_done)}{how}"
        if not self._findings:
            text = f"Equal on both replicas: {looked}."
        else:
            text = f"{self._findings:,} of {looked} differ"
            if self._repaired:
                text += f"; {self._repaired:,} were fetched from the active and are equal now"
            if left and not self._options.repair:
                text += "; --repair fetches them from the active"
            text += "."
        if last.restless:
            text += (
                f" {last.restless:,} changed each time they were looked at, and were not compared."
            )
        return text


def render_finding(finding: data_worker_pb2.VerifyFinding, node: str) -> str:
    """An object that differs, in a line."""
    where = f"{safe(finding.tree)}:{path_text(finding.path) or '(its root)'}"
    match list(finding.aspects):
        case ["missing"]:
            what = f"missing on {safe(node)}"
        case ["extra"]:
            what = f"only on {safe(node)}"
        case other:
            what = f"differs in {', '.join(map(safe, other)) or 'content'}"
    if finding.corrupt_on:
        bad = safe(finding.corrupt_on)
        what += f"; damaged on {bad} without being written: check the disk of {bad}"
        if finding.corrupt_on != node:
            what += (
                f", and copy the file over from {safe(node)} on {bad} if it is good there (it is"
                " never repaired from a damaged one)"
            )
    if finding.repaired:
        what += "; repaired"
    return f"{where}  {what}"
