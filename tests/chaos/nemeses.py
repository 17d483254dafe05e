"""What is done to the cluster: faults with a name, `inject` and `heal`, drawn from a seed.

A nemesis is used once. It names roles, not hosts, so that a seed means the same whoever happens to
be active; which hosts these are is known when it strikes. `Together` puts several into one.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress

from chaos.ground import Ground
from lab.layout import REPLICAS
from lab.processes import wait_until


class Nemesis(ABC):
    """`kind` groups faults in reports. `hold_s` is how long it lasts before it is healed."""

    def __init__(self, kind: str, name: str, hold_s: float) -> None:
        self.kind = kind
        self.name = name
        self.hold_s = hold_s
        self._repairs = ExitStack()

    @abstractmethod
    def inject(self, ground: Ground) -> None:
        """Strikes. Whatever has to be undone is pushed to `_repairs` before it is done."""

    def heal(self) -> None:
        """Undoes all of it, the last first."""
        self._repairs.close()


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # it ended by itself, or by what else is going on
            os.kill(pid, number)


LOOP = "crash loop of"


class Kill(Nemesis):
    """SIGKILL, once or again and again. Its supervisor starts it anew."""

    def __init__(self, role: str, what: str, *, again: bool = False, hold_s: float = 0.0) -> None:
        kind = f"{LOOP} {what}" if again else f"kill {what}"
        super().__init__(kind, f"{kind}, {role}", hold_s)
        self._role = role
        self._what = what
        self._again = again

    def inject(self, ground: Ground) -> None:
        host = ground.host(self._role)

        def strike() -> None:
            daemon = self._what == "staqraftd"
            pids = ground.daemon(host) if daemon else ground.worker(host, self._what)
            _signal(pids, signal.SIGKILL)

        strike()
        if self._again:
            self._repairs.callback(_repeat(strike, lambda: 0.5))


class Stop(Nemesis):
    """SIGSTOP of the daemon with its workers, or of all that runs in the host, then SIGCONT."""

    def __init__(self, role: str, what: str, hold_s: float) -> None:
        super().__init__(f"stop {what}", f"stop {what}, {role}", hold_s)
        self._role = role
        self._what = what

    def inject(self, ground: Ground) -> None:
        host = ground.host(self._role)
        match self._what:
            case "daemon":
                pids = ground.daemon_and_workers(host)
            case "host":
                pids = ground.everything(host)
            case worker:
                pids = ground.worker(host, worker)
        # The last to go on is the first that was stopped: the daemon wakes up among its workers.
        self._repairs.callback(_signal, pids[::-1], signal.SIGCONT)
        _signal(pids, signal.SIGSTOP)


class Cut(Nemesis):
    """A path between two hosts, one way or both, on one network or all; carriers stay."""

    def __init__(
        self, ends: tuple[str, str], hold_s: float, *, one_way: bool, network: str = ""
    ) -> None:
        arrow = "->" if one_way else "<->"
        where = f" ({network})" if network else ""
        kind = "one-way cut" if one_way else "two-way cut"
        super().__init__(kind, f"{kind} {ends[0]} {arrow} {ends[1]}{where}", hold_s)
        self._ends = ends
        self._one_way = one_way
        self._network = network

    def inject(self, ground: Ground) -> None:
        sender, target = (ground.host(role) for role in self._ends)
        link = f"{sender}-{target}" + (f":{self._network}" if self._network else "")
        only = sender if self._one_way else None
        self._repairs.callback(ground.lab.heal, link, only)
        ground.lab.cut(link, only)


class Unplug(Nemesis):
    """Cables of a host, or of a whole network."""

    def __init__(self, kind: str, links: Sequence[tuple[str, str]], hold_s: float) -> None:
        name = ", ".join(":".join(part for part in link if part) for link in links)
        super().__init__(kind, f"{kind} ({name})", hold_s)
        self._links = links

    def inject(self, ground: Ground) -> None:
        for role, network in self._links:
            link = f"{ground.host(role)}:{network}" if role else network
            self._repairs.callback(ground.lab.heal, link)
            ground.lab.cut(link)


class Flap(Nemesis):
    """A path that comes and goes."""

    def __init__(self, ends: tuple[str, str], hold_s: float, rng: random.Random) -> None:
        super().__init__("flapping link", f"flapping link {ends[0]} <-> {ends[1]}", hold_s)
        self._ends = ends
        self._pauses = [rng.uniform(0.1, 1.2) for _ in range(64)]

    def inject(self, ground: Ground) -> None:
        link = "-".join(ground.host(role) for role in self._ends)
        cut = False
        turn = 0

        def toggle() -> None:
            nonlocal cut
            (ground.lab.heal if cut else ground.lab.cut)(link)
            cut = not cut

        def pause() -> float:
            nonlocal turn
            turn += 1
            return self._pauses[turn % len(self._pauses)]

        self._repairs.callback(ground.lab.heal, link)
        toggle()
        self._repairs.callback(_repeat(toggle, pause))


class Power(Nemesis):
    """The power of hosts is cut in this order and comes back in that order."""

    def __init__(
        self,
        roles: Sequence[str],
        hold_s: float,
        *,
        back: Sequence[str] | None = None,
        between_s: float = 0.0,
    ) -> None:
        order = list(back or roles)
        names = " and ".join(roles)
        way = f", back first: {order[0]}" if len(order) > 1 else ""
        super().__init__(f"power cut of {names}", f"power cut of {names}{way}", hold_s)
        self._roles = list(roles)
        self._back = order
        self._between_s = between_s

    def inject(self, ground: Ground) -> None:
        hosts = [ground.host(role) for role in self._back]

        def restore() -> None:
            for number, host in enumerate(hosts):
                if number:
                    threading.Event().wait(self._between_s)
                ground.lab.power_on(host)

        self._repairs.callback(restore)
        for role in self._roles:
            ground.lab.power_off(ground.host(role))


class ReadOnly(Nemesis):
    """The data disk takes nothing any more, as after an error of the filesystem."""

    def __init__(self, role: str, hold_s: float) -> None:
        super().__init__("read-only disk", f"read-only disk, {role}", hold_s)
        self._role = role

    def inject(self, ground: Ground) -> None:
        host = ground.host(self._role)

        def remount(how: str) -> bool:
            argv = ["mount", "-o", f"remount,{how}", "/srv"]
            return ground.lab.run(host, argv, check=False).returncode == 0

        def restore() -> None:
            if ground.lab.has_power(host):  # a reboot mounts it anew
                remount("rw")

        self._repairs.callback(restore)
        # The kernel refuses while a file is open for writing.
        wait_until(lambda: remount("ro"), 5, f"the data disk of {host} is read-only")


class Busy(Nemesis):
    """Not a fault: hundreds of mails delivered, flagged, moved and deleted as fast as it goes."""

    def __init__(self) -> None:
        super().__init__("load", "load", 0.0)

    def inject(self, ground: Ground) -> None:
        lab = ground.lab
        users = lab.popen(ground.active, lab.module("workload", "mail"))
        self._repairs.callback(users.communicate)  # to its end, which may be that of its host


class SwitchOver(Nemesis):
    """Not a fault, but things happen at bad moments."""

    def __init__(self, hold_s: float = 0.0) -> None:
        super().__init__("switchover", "switchover", hold_s)

    def inject(self, ground: Ground) -> None:
        ground.ask_switchover()


class Together(Nemesis):
    """One after the other at once; healed in the reverse order."""

    def __init__(self, *parts: Nemesis) -> None:
        super().__init__(
            " + ".join(part.kind for part in parts),
            " + ".join(part.name for part in parts),
            max(part.hold_s for part in parts),
        )
        self._parts = parts

    def inject(self, ground: Ground) -> None:
        for part in self._parts:
            self._repairs.callback(part.heal)
            part.inject(ground)


def _repeat(strike: Callable[[], None], pause: Callable[[], float]) -> Callable[[], None]:
    """Strikes again after each pause, in a thread, until the returned function is called."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(pause()):
            strike()

    thread = threading.Thread(target=run, name="nemesis", daemon=True)
    thread.start()

    def end() -> None:
        over.set()
        thread.join()

    return end


# --- drawing --------------------------------------------------------------------------------------

LEASE_S = 3.0
Maker = Callable[[random.Random], Nemesis]


def _short(rng: random.Random) -> float:
    return rng.uniform(0.2, 2.0)


def _long(rng: random.Random) -> float:
    """Longer than the lease."""
    return rng.uniform(LEASE_S + 0.5, LEASE_S + 3)


def _any(rng: random.Random) -> float:
    return rng.choice((_short, _long))(rng)


def _pair(rng: random.Random) -> tuple[str, str]:
    ends = rng.choice((("active", "standby"), ("active", "w"), ("standby", "w")))
    return ends if rng.random() < 0.5 else ends[::-1]


def _network(rng: random.Random, ends: tuple[str, str]) -> str:
    return "" if "w" in ends else rng.choice(("", "service", "sync"))


def _cut(rng: random.Random, ends: tuple[str, str], *, one_way: bool = True) -> Nemesis:
    return Cut(ends, _any(rng), one_way=one_way, network=_network(rng, ends))


def _both_replicas(rng: random.Random) -> Nemesis:
    off = rng.sample(("active", "standby"), 2)
    back = rng.sample(("active", "standby"), 2)
    return Power(off, _short(rng), back=back, between_s=rng.choice((0.0, 1.0, LEASE_S + 2)))


MAKERS: tuple[Maker, ...] = (
    lambda _: Kill("active", "staqraftd"),
    lambda _: Kill("standby", "staqraftd"),
    lambda _: Kill("w", "staqraftd"),
    lambda _: Kill("active", "trees"),
    lambda _: Kill("active", "stream"),
    lambda rng: Kill("standby", rng.choice(("trees", "stream"))),
    lambda rng: Kill("active", "staqraftd", again=True, hold_s=_long(rng)),
    lambda rng: Stop("active", "daemon", _long(rng)),
    lambda rng: Stop("active", "host", _long(rng)),
    lambda rng: Stop(rng.choice(("standby", "w")), rng.choice(("daemon", "host")), _any(rng)),
    lambda rng: Stop(rng.choice(REPLICAS), rng.choice(("trees", "stream")), _any(rng)),
    lambda rng: _cut(rng, ("active", "standby")),
    lambda rng: _cut(rng, ("standby", "active")),
    lambda rng: _cut(rng, ("active", "w")),
    lambda rng: _cut(rng, ("w", "active")),
    lambda rng: _cut(rng, rng.choice((("standby", "w"), ("w", "standby")))),
    lambda rng: _cut(rng, _pair(rng), one_way=False),
    lambda rng: Unplug("isolation", [("active", "sync"), ("active", "service")], _long(rng)),
    lambda rng: Unplug("isolation", [("standby", "sync"), ("standby", "service")], _any(rng)),
    lambda rng: Unplug(
        "cable out", [(rng.choice(("active", "standby")), rng.choice(("sync", "service")))],
        _long(rng),
    ),
    lambda rng: Unplug("network down", [("", "service")], _any(rng)),
    lambda rng: Unplug("network down", [("", "sync")], _any(rng)),
    lambda rng: Flap(_pair(rng), rng.uniform(3, 6), rng),
    lambda rng: Power(["w"], _any(rng)),
    lambda rng: Power(["active"], _any(rng)),
    lambda rng: Power(["standby"], _any(rng)),
    _both_replicas,
    lambda rng: Power(["w", "standby"], _any(rng)),
    lambda rng: Power(["w", "active"], _any(rng)),
    lambda rng: Together(Stop("standby", "trees", 1.0), Power(["active"], _long(rng))),
    lambda rng: Together(ReadOnly("standby", 1.0), Power(["active"], _long(rng))),
    lambda _: SwitchOver(),
)  # fmt: skip
MEANWHILE = 0.2  # how often an operator asks for a switchover just then
UNDER_LOAD = 0.5  # how often something is killed while users are busy


def draw(seed: int) -> Iterator[Nemesis]:
    """Faults without end: all kinds in a random order, then all in another, and so on."""
    rng = random.Random(seed)
    while True:
        for maker in rng.sample(MAKERS, len(MAKERS)):
            nemesis = maker(rng)
            once = isinstance(nemesis, (Kill, Power)) and not nemesis.kind.startswith(LOOP)
            if once and rng.random() < UNDER_LOAD:
                # Only with what leaves the active in office or kills it: a former active that
                # lives on stops its services, and nobody would stop these users.
                nemesis = Together(Busy(), nemesis)
            elif rng.random() < MEANWHILE and not isinstance(nemesis, SwitchOver):
                nemesis = Together(nemesis, SwitchOver())
            yield nemesis
