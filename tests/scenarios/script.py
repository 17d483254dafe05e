"""What the lines of a scenario's script do to its world: a function a verb."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from fakes.decision import FAST, GROUP, A
from fakes.fence_device import FakeDevice
from staqraft.decision import events as on
from staqraft.decision import fencing, services
from staqraft.decision.conflict import OnConflict
from staqraft.decision.defects import Defect, absent_service
from staqraft.decision.eligibility import reasons_against
from staqraft.decision.following import Following
from staqraft.decision.state import GroupState, ServicePolicy
from staqraft.model import (
    ClearFailures,
    DropSchedule,
    FenceRung,
    NodeId,
    RequestSwitchover,
    ScheduleSwitchover,
    SetMaintenance,
)

if TYPE_CHECKING:
    from scenarios.host import Host
    from scenarios.world import World

RESTART_WINDOW_MS: Final = 20_000
_QUIET: Final = {"run", "expect"}  # what the trace shows of them is what comes of them

Verb = Callable[["World", list[str]], None]
_VERBS: Final[dict[str, Verb]] = {}


def obey(world: World, line: str) -> None:
    """Does one line."""
    verb, *words = line.split()
    if verb not in _QUIET:
        world.say(f"--- {line}")
    try:
        do = _VERBS[verb]
    except KeyError:
        raise AssertionError(f"unknown line in the script: {line}") from None
    do(world, words)


def _verb(name: str) -> Callable[[Verb], Verb]:
    def known(do: Verb) -> Verb:
        _VERBS[name] = do
        return do

    return known


def _of_host(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A verb whose first word is a host; the function gets world, host and the other words."""

    def known(do: Callable[..., None]) -> Callable[..., None]:
        _VERBS[name] = lambda world, words: do(world, world.hosts[NodeId(words[0])], *words[1:])
        return do

    return known


def _core(world: World, name: str) -> GroupState:
    core = world.hosts[NodeId(name)].core
    assert core is not None, f"the daemon on {name} does not run"
    return core


# --- time, hosts and links ------------------------------------------------------------------------


@_verb("start")
def _start(world: World, names: list[str]) -> None:
    for name in names:
        world.start(NodeId(name))


@_verb("run")
def _run(world: World, words: list[str]) -> None:
    (duration,) = words
    world.run(int(duration))


@_of_host("power-off")
def _power_off(world: World, host: Host) -> None:
    world.power_off(host.name)


@_of_host("crash")
def _crash(world: World, host: Host) -> None:
    world.crash(host.name)


@_of_host("stop")
def _stop(_world: World, host: Host) -> None:
    host.stopped = True


@_of_host("continue")
def _continue(world: World, host: Host) -> None:
    world.resume(host.name)


@_of_host("cut-raft")
def _cut_raft(_world: World, host: Host) -> None:
    host.raft = False


@_of_host("heal-raft")
def _heal_raft(world: World, host: Host) -> None:
    world.reconnect(host)


@_of_host("cut-stream")
def _cut_stream(_world: World, host: Host) -> None:
    host.stream = False


@_of_host("heal-stream")
def _heal_stream(_world: World, host: Host) -> None:
    host.stream = True


@_of_host("follow")
def _follow(_world: World, host: Host, how: str) -> None:
    """As a standby it compares, settles, or is whole."""
    host.following = Following[how.upper()]


@_of_host("silent-worker")
def _silent_worker(_world: World, host: Host) -> None:
    host.silent = True


@_of_host("shutdown")
def _shutdown(world: World, host: Host) -> None:
    world.tell(host, on.ShutdownRequested(now_ms=world.now))


@_of_host("fail")
def _fail(_world: World, host: Host, action: str) -> None:
    host.fail[action] = "broken in this scenario"


@_of_host("slow")
def _slow(_world: World, host: Host, action: str, took: str) -> None:
    host.slow[action] = int(took)


@_of_host("break-capture")
def _break_capture(world: World, host: Host) -> None:
    world.tell(host, on.CaptureBroken(now_ms=world.now))


@_of_host("break-epoch")
def _break_epoch(_world: World, host: Host) -> None:
    host.epoch_broken = True


@_of_host("status")
def _status(world: World, host: Host) -> None:
    world.say(f"{host.name} waits: {fencing.story(_core(world, host.name), world.now)}")


# --- addresses and fencing ------------------------------------------------------------------------


@_verb("gate")
def _gate(world: World, words: list[str]) -> None:
    assert words == ["on"], words
    world.gate = True


@_verb("fast")
def _fast(world: World, words: list[str]) -> None:
    assert words == ["profile"], words
    world.gate, world.timing = True, FAST


@_verb("watchdog")
def _watchdog(world: World, words: list[str]) -> None:
    (timeout,) = words
    world.watchdog_ms = int(timeout)


@_verb("fenced-by")
def _fenced_by(world: World, rungs: list[str]) -> None:
    world.fenced_by = frozenset(map(FenceRung, rungs))


@_of_host("device")
def _device(world: World, host: Host, behaviour: str, delay_ms: str = "500") -> None:
    """The switch that turns the host off."""
    switch = FakeDevice(behaviour, lambda: host.powered, lambda: world.power_off(host.name))
    world.devices[host.name] = switch, int(delay_ms)


@_of_host("vouch")
def _vouch(world: World, host: Host, off: str) -> None:
    world.tell(host, on.OffConfirmed(now_ms=world.now, node=NodeId(off), by="root on b"))


@_verb("conflict")
def _conflict(world: World, words: list[str]) -> None:
    policy, *took = words
    world.on_conflict = OnConflict(policy)
    world.check_ms = int(*took) if took else world.check_ms


@_verb("claim")
def _claim(world: World, words: list[str]) -> None:
    who, kind = words
    world.claims[who] = kind


@_verb("no-claims")
def _no_claims(world: World, _words: list[str]) -> None:
    world.claims.clear()


# --- services and health --------------------------------------------------------------------------


@_verb("service")
def _service(world: World, words: list[str]) -> None:
    name, restarts, *stays = words
    world.services[name] = ServicePolicy(
        restarts=int(restarts), window_ms=RESTART_WINDOW_MS, failover=not stays
    )


@_of_host("unwell")
def _unwell(world: World, host: Host, service: str) -> None:
    world.report_service(host, service, f"{service} is silent")


@_of_host("stuck")
def _stuck(world: World, host: Host, service: str) -> None:
    world.report_service(host, service, "it hangs", stuck=True)


@_of_host("well")
def _well(world: World, host: Host, service: str) -> None:
    world.report_service(host, service, "")


@_of_host("broken")
def _broken(world: World, host: Host, service: str) -> None:
    host.broken.add(service)
    world.report_service(host, service, f"{service} is gone")


@_of_host("repaired")
def _repaired(_world: World, host: Host, service: str) -> None:
    host.broken.discard(service)


@_of_host("absent")
def _absent(_world: World, host: Host, service: str) -> None:
    """Its program is not on this host, by its own word."""
    text = f"on {host.name} service {service} cannot run here"
    defect = absent_service(service, text, "install it there")
    host.defects[defect.kind] = defect


@_of_host("installed")
def _installed(_world: World, host: Host, service: str) -> None:
    del host.defects[absent_service(service, "", "").kind]


@_of_host("defect")
def _defect(_world: World, host: Host, kind: str, *how: str) -> None:
    host.defects[kind] = Defect(
        kind=kind,
        text=f"the {kind} is bad",
        remedy=f"mend the {kind}",
        bars="bars" in how,
        sure="doubt" not in how,
        hangs="hangs" in how,
    )


@_of_host("mended")
def _mended(_world: World, host: Host, kind: str) -> None:
    del host.defects[kind]


# --- operators ------------------------------------------------------------------------------------


@_verb("clear")
def _clear(world: World, _words: list[str]) -> None:
    world.propose(ClearFailures(node=A, group=GROUP, requested_by="operator"))


@_verb("switchover")
def _switchover(world: World, words: list[str]) -> None:
    (target,) = words
    world.propose(
        RequestSwitchover(
            node=A, group=GROUP, target=NodeId(target), requested_by="operator", reason="test"
        )
    )


@_verb("schedule")
def _schedule(world: World, words: list[str]) -> None:
    target, at = words
    outcome = world.propose(
        ScheduleSwitchover(
            node=A,
            group=GROUP,
            wall_ms=world.now,
            target=NodeId(target),
            at_ms=int(at),
            requested_by="operator",
            reason="test",
        )
    )
    if (why := getattr(outcome, "reason", "")) != "":
        world.say(f"refused: {why}")


@_verb("unschedule")
def _unschedule(world: World, _words: list[str]) -> None:
    world.propose(DropSchedule(node=A, group=GROUP, reason="operator"))


@_verb("failback")
def _failback(world: World, words: list[str]) -> None:
    prefer, after = words
    world.prefer, world.failback_ms = NodeId(prefer), int(after)


@_verb("maintenance")
def _maintenance(world: World, words: list[str]) -> None:
    setting, *of = words
    world.propose(
        SetMaintenance(
            node=A,
            group=GROUP,
            enabled=setting == "on",
            requested_by="operator",
            target=NodeId(*of) if of else None,
        )
    )


# --- what is to be true ---------------------------------------------------------------------------


@_verb("expect")
def _expect(world: World, words: list[str]) -> None:
    record = world.group()
    match words:
        case ["active", name]:
            assert _core(world, name).phase.value == "active", _core(world, name).phase
            assert world.holder == name
        case ["against", name, *text]:
            against = reasons_against(_core(world, name), world.now)
            assert any(" ".join(text) in sentence for sentence in against), against
        case ["phase", name, phase]:
            assert _core(world, name).phase.value == phase, _core(world, name).phase
        case ["history", *text]:
            said = [event.text for event in world.record.events]
            assert any(" ".join(text) in line for line in said), said
        case ["stays", name, *text]:
            problems = [*services.problems(_core(world, name))]
            assert any(" ".join(text) in problem for problem in problems), problems
        case ["moves", moves]:
            assert len(record.moves) == int(moves), record.moves
        case ["address", name]:
            assert (world.holder or "nobody") == name
        case [name, "down"]:
            assert world.hosts[NodeId(name)].core is None
        case ["nobody", "active"]:
            assert world.holder is None
        case ["epoch", epoch]:
            assert record.epoch == int(epoch), record
        case ["in-sync", *names]:
            assert sorted(record.in_sync) == sorted(names), record.in_sync
        case ["scheduled", "nothing"]:
            assert record.scheduled is None, record.scheduled
        case ["fence", rung]:
            assert record.fence is not None
            assert record.fence.rung.value == rung
        case _:
            raise AssertionError(f"unknown expectation: {words}")
