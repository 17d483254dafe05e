"""What every member says of itself, asked many times a second over its own admin socket.

Unlike `staqctl`, which is a Python of its own each time, this costs hardly anything: it waits for
conditions in bench and chaos runs, and leaves a history that can be checked afterwards. Each view
has the instants (CLOCK_BOOTTIME) between which the daemon must have taken it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from types import TracebackType

import grpc

from lab.errors import LabError
from lab.lab import Lab
from lab.layout import REPLICAS
from lab.linux import boottime
from lab.processes import wait_until
from staqraft.model import Admission
from staqraft.wire.v1 import admin_pb2, admin_pb2_grpc

SOCKET = "run/staqraft/admin.sock"
ANSWER_S = 1.0  # a daemon that is stopped does not answer
_RECONNECT = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 200),
    ("grpc.enable_http_proxy", 0),
)


@contextmanager
def admin(lab: Lab, node: str) -> Iterator[admin_pb2_grpc.AdminServiceStub]:
    """The admin service of a node's daemon, as on the node itself. LabError without power."""
    pid = lab.init(node).pid
    with grpc.insecure_channel(f"unix:/proc/{pid}/root/{SOCKET}", options=_RECONNECT) as channel:
        yield _stub(channel)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A member's word about the group, given at some instant from `begun` to `ended`.

    `life` changes with every connection: what a restarted daemon knows may be older than what it
    knew before, until Raft has told it.
    """

    node: str
    life: int
    begun: float
    ended: float
    epoch: int
    active: str
    phase: str
    in_sync: tuple[str, ...] = ()
    lease_left_ms: int = 0
    holds_vip: bool = False
    raft_leader: str = ""  # whom it follows; information only
    summary: str = ""
    problems: tuple[str, ...] = ()

    @property
    def serves(self) -> bool:
        """It is active, by its own word, and its kernel has the address."""
        return self.active == self.node and self.phase == "active" and self.holds_vip

    def same_as(self, other: View) -> bool:
        """Apart from when it was given."""
        return _timeless(self) == _timeless(other)


def _timeless(view: View) -> View:
    return replace(view, begun=0.0, ended=0.0, lease_left_ms=0)


@dataclass(slots=True, kw_only=True)
class History:
    """Views in the order in which a member gave them. Of a run of equal ones the first and the
    last are kept.
    """

    views: list[View] = field(default_factory=list)
    taken: int = 0

    def add(self, view: View) -> None:
        self.taken += 1
        if len(self.views) > 1 and all(view.same_as(known) for known in self.views[-2:]):
            self.views[-1] = view
        else:
            self.views.append(view)


def _stub(channel: grpc.Channel) -> admin_pb2_grpc.AdminServiceStub:
    stub: admin_pb2_grpc.AdminServiceStub = admin_pb2_grpc.AdminServiceStub(
        channel  # type: ignore[no-untyped-call] # the generated glue is not typed
    )
    return stub


def _view(
    node: str,
    life: int,
    span: tuple[float, float],
    answer: admin_pb2.GetStatusResponse,
    name: str,
) -> View:
    group = next(group for group in answer.groups if group.group == name)
    return View(
        node=node,
        life=life,
        begun=span[0],
        ended=span[1],
        epoch=group.epoch,
        active=group.active,
        phase=group.phase,
        in_sync=tuple(group.in_sync),
        lease_left_ms=group.lease_left_ms,
        # Behind a closed gate an address is as good as gone.
        holds_vip=bool(group.vips)
        and all(vip.held for vip in group.vips)
        and group.gate != Admission.CLOSED.value,
        raft_leader=answer.raft.leader,
        summary=group.summary,
        problems=tuple(problem.text for problem in (*group.problems, *answer.problems)),
    )


class Views(AbstractContextManager["Views"]):
    """Asks all members until its end. `latest` of a member that does not answer is None."""

    def __init__(self, lab: Lab, interval_s: float = 0.05, *, group: str = "default") -> None:
        self._lab = lab
        self._group = group
        self._interval_s = interval_s
        self._over = threading.Event()
        self.latest: dict[str, View | None] = dict.fromkeys(lab.members)
        self.histories: dict[str, History] = {node: History() for node in lab.members}
        self._threads = [
            threading.Thread(target=self._follow, args=(node,), name=f"views-{node}", daemon=True)
            for node in lab.members
        ]
        for thread in self._threads:
            thread.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(timeout=2 * ANSWER_S)

    def _follow(self, node: str) -> None:
        life = 0
        while not self._over.is_set():
            life += 1
            if self._lab.has_power(node):
                with suppress(LabError), admin(self._lab, node) as daemon:  # power went just now
                    self._listen(node, life, daemon)
            self.latest[node] = None
            self._over.wait(self._interval_s)

    def _listen(self, node: str, life: int, daemon: admin_pb2_grpc.AdminServiceStub) -> None:
        """Until it does not answer."""
        while not self._over.is_set():
            begun = boottime()
            try:
                answer = daemon.GetStatus(admin_pb2.GetStatusRequest(), timeout=ANSWER_S)
            except grpc.RpcError:
                return
            view = _view(node, life, (begun, boottime()), answer, self._group)
            self.histories[node].add(view)
            self.latest[node] = view
            self._over.wait(self._interval_s)

    # --- conditions ---------------------------------------------------------------------------

    def serving(self) -> str | None:
        """The replica that serves now, by its own word."""
        return next(
            (view.node for view in list(self.latest.values()) if view is not None and view.serves),
            None,
        )

    def protected(self, active: str | None = None, *, since: float = 0.0) -> View | None:
        """One replica serves (`active`, if named), both are in sync, and all members say so,
        asked after `since` (CLOCK_BOOTTIME); the view of the one that serves.

        Members are asked one after the other, so this is what held within the last moments.
        """
        latest = list(self.latest.values())
        views = [view for view in latest if view is not None and view.begun > since]
        serving = [view for view in views if view.serves]
        if len(views) < len(self._lab.members) or len(serving) != 1:
            return None
        leading = serving[0]
        agreed = active in (None, leading.node) and all(
            (view.epoch, view.active) == (leading.epoch, leading.node)
            and view.in_sync == REPLICAS
            and view.phase in {"active", "standby", "witness"}
            for view in views
        )
        return leading if agreed else None

    def wait(self, condition: Callable[[], bool], timeout_s: float, what: str) -> float:
        """Until the condition holds; the seconds that it took. LabError says what members said."""
        begun = time.monotonic()
        try:
            wait_until(condition, timeout_s, what, every_s=0.02)
        except LabError as error:
            raise LabError(f"{error}\n{self.describe()}") from None
        return time.monotonic() - begun

    def wait_protected(self, active: str | None = None, timeout_s: float = 60.0) -> View:
        """Until `protected` by what is said from now on; the view of the one that serves."""
        since = boottime()
        found: View | None = None

        def holds() -> bool:
            nonlocal found
            found = self.protected(active, since=since)
            return found is not None

        self.wait(holds, timeout_s, f"{active or 'one replica'} serves and both are in sync")
        assert found is not None
        return found

    def describe(self) -> str:
        """A line a member."""
        lines = []
        for node, view in self.latest.items():
            if view is None:
                lines.append(f"  {node}: does not answer")
                continue
            vip = "has the VIP" if view.holds_vip else "has no VIP"
            lines.append(
                f"  {node}: epoch {view.epoch}, active is {view.active or 'nobody'}, phase"
                f" {view.phase}, in sync: {' '.join(view.in_sync) or 'nobody'}, {vip}; "
                + "; ".join((view.summary, *view.problems))
            )
        return "\n".join(lines)
