"""A replica of a scenario's world, and how long what it does takes."""

from __future__ import annotations

from dataclasses import dataclass, field

from staqraft.actions.gate import LATE_MS, timeout_ms
from staqraft.decision import events as on
from staqraft.decision.defects import Defect
from staqraft.decision.following import Following
from staqraft.decision.state import GroupState
from staqraft.lifetimes import ends_within_ms, lasting_lifetime_s, whole_lifetime_s
from staqraft.model import Admission, NodeId

TOOK_MS = {
    "FenceLoser": 5,
    "FinishData": 20,
    "StartCapture": 15,
    "StartServices": 60,
    "StopServices": 40,
    "TakeVips": 2,
    "DropVips": 2,
    "Flush": 8,
    "JoinBarrier": 3,
    "ArmWatchdog": 1,
    "RestartService": 50,
}


@dataclass
class Host:
    """A replica: its core, what its kernel holds, and how it is cut off."""

    name: NodeId
    core: GroupState | None = None
    vip_until_ms: int = 0
    dog_fires_ms: int | None = None  # the watchdog; None: it does not tick
    gate_until_ms: int = 0
    admits: Admission = Admission.CLOSED
    serves: bool = False  # the services run
    powered: bool = True
    stopped: bool = False
    raft: bool = True  # reaches the Raft majority
    stream: bool = True  # reaches the other replica's data worker
    fail: dict[str, str] = field(default_factory=dict)
    slow: dict[str, int] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)  # services that do not start here
    inbox: list[on.Event] = field(default_factory=list)
    epoch_broken: bool = False
    silent: bool = False  # its stream process says nothing
    following: Following = Following.WHOLE  # as a standby, while it is reached
    defects: dict[str, Defect] = field(default_factory=dict)
    seq: int = 100
    wake_ms: int = 0

    def keep_addresses(self, now_ms: int, deadline_ms: int, *, gate: bool) -> None:
        """Whole seconds, so few that they end in time however late the kernel is.

        Behind a gate they are rounded up, and it is the gate that ends within the lease.
        """
        remaining = deadline_ms - now_ms
        if gate:
            seconds = lasting_lifetime_s(remaining)
            duration_ms = timeout_ms(remaining)
            self.gate_until_ms = now_ms + duration_ms + LATE_MS if duration_ms else 0
            self.vip_until_ms = now_ms + ends_within_ms(seconds) if duration_ms else 0
            return
        seconds = whole_lifetime_s(remaining)
        self.vip_until_ms = now_ms + ends_within_ms(seconds) if seconds else 0
