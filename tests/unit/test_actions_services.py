"""The order of services, and what is said when one does not do as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from staqraft.actions.process import OUTPUT_KEPT, Finished
from staqraft.actions.services import (
    ServiceHealth,
    ServiceManager,
    ServiceStartFailed,
    ServiceStopFailed,
    State,
)
from staqraft.config.services import (
    CommandCheck,
    Endpoint,
    Service,
    TcpCheck,
    Timing,
    UnitCheck,
)
from staqraft.daemon.absences import Absences
from staqraft.decision.defects import NodeHealth
from staqraft.model import GroupId

YES = Finished(code=0, output="")
NO = Finished(code=3, output="connection refused")
HANGS = Finished(code=None, output="waiting for clients")


@dataclass
class Host:
    """A host whose commands answer what the test says, each once and the last for ever."""

    answers: dict[str, list[Finished]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    now_ms: int = 0

    async def run(
        self, argv: Sequence[str], timeout_ms: int, *, keep: int = OUTPUT_KEPT
    ) -> Finished:
        assert keep >= OUTPUT_KEPT
        call = " ".join(argv)
        self.calls.append(call)
        answers = self.answers.get(call, [YES])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer.code is None:
            self.now_ms += timeout_ms
        return answer

    async def sleep(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)
        await asyncio.sleep(0)


def service(name: str, *, check: bool = True) -> Service:
    return Service(
        name=name,
        start=(name, "start"),
        stop=(name, "stop"),
        checks=(CommandCheck(argv=(name, "check"), timing=Timing(failures=1)),) if check else (),
        start_timeout_ms=1000,
        stop_timeout_ms=2000,
    )


def manager(
    host: Host, *services: Service, vips: Sequence[str] = (), units: Units | None = None
) -> ServiceManager:
    return ServiceManager(
        GroupId("default"),
        services,
        vips=vips,
        run=host.run,
        units=units,
        clock=lambda: host.now_ms,
        sleep=host.sleep,
    )


async def test_each_service_is_confirmed_before_the_next_is_started() -> None:
    host = Host({"web check": [NO, NO, NO, YES], "mail check": [NO, YES]})
    services = manager(host, service("web"), service("mail"))
    await services.start_all()
    assert host.calls == [
        "web check", "web start", "web check", "web check", "web check",
        "mail check", "mail start", "mail check",
    ]  # fmt: skip
    assert [h.state for h in services.health] == [State.RUNNING, State.RUNNING]


async def test_what_runs_already_is_left_alone() -> None:
    host = Host()
    await manager(host, service("web")).start_all()
    assert host.calls == ["web check"]


async def test_what_was_stopped_here_is_started_without_asking_first() -> None:
    host = Host()
    services = manager(host, service("web"))
    await services.stop_all()
    await services.start_all()
    assert host.calls == ["web stop", "web start", "web check"]


async def test_a_start_that_says_no_though_the_service_runs_is_fine() -> None:
    host = Host({"web check": [NO, YES], "web start": [NO]})
    await manager(host, service("web")).start_all()


async def test_without_a_check_the_start_command_has_the_word() -> None:
    host = Host()
    services = manager(host, service("web", check=False))
    await services.start_all()
    assert host.calls == ["web start"]
    assert services.health == (ServiceHealth(name="web", state=State.RUNNING),)


async def test_a_service_that_does_not_come_up_takes_no_other_along() -> None:
    host = Host({"web check": [NO], "mail check": [NO, YES]})
    services = manager(host, service("web"), service("mail"))
    with pytest.raises(
        ServiceStartFailed,
        match=r"service web of group default is not running 1 s after its start at the latest:"
        r" check: 'web check' ended with exit status 3, saying \"connection refused\"",
    ):
        await services.start_all()
    assert host.calls[-1] == "mail check"
    assert [h.state for h in services.health] == [State.FAILED, State.RUNNING]
    assert 900 <= host.now_ms <= 1100


async def test_a_restart_stops_first_and_one_service_only() -> None:
    host = Host()
    services = manager(host, service("web"), service("mail"))
    await services.start_all()
    host.calls.clear()
    await services.restart("mail")
    assert host.calls == ["mail stop", "mail start", "mail check"]


async def test_what_does_not_stop_is_not_started_again() -> None:
    host = Host({"web stop": [HANGS]})
    services = manager(host, service("web"))
    with pytest.raises(ServiceStopFailed, match="may still be running"):
        await services.restart("web")
    assert host.calls == ["web stop"]
    assert services.health[0].stuck


@pytest.mark.parametrize(
    ("finished", "words"),
    [
        (HANGS, "did not end in time and was killed with all that it had started"),
        (Finished(code=-11, output=""), "was killed by signal 11"),
        (Finished(code=None, output="", problem="No such file or directory"),
         "cannot be executed: No such file or directory"),
    ],
)  # fmt: skip
async def test_the_failure_says_what_the_start_command_did(finished: Finished, words: str) -> None:
    host = Host({"web check": [NO], "web start": [finished]})
    with pytest.raises(ServiceStartFailed, match=f"'web start' {words}"):
        await manager(host, service("web")).start_all()


async def test_services_are_stopped_in_reverse_and_all_of_them() -> None:
    host = Host({"mail stop": [HANGS], "web stop": [NO]})
    services = manager(host, service("web"), service("dns"), service("mail"))
    with pytest.raises(ServiceStopFailed) as failure:
        await services.stop_all()
    assert host.calls == ["mail stop", "dns stop", "web stop"]
    assert "service mail of group default did not stop within 2 s" in str(failure.value)
    assert "service web of group default" in str(failure.value)
    assert "dns" not in str(failure.value)
    assert [h.state for h in services.health] == [State.FAILED, State.STOPPED, State.FAILED]


async def watched(
    host: Host, *services: Service, until: int, vips: Sequence[str] = (), serving: bool = True
) -> tuple[ServiceManager, list[ServiceHealth]]:
    """Watches until so many changes were told."""
    seen: list[ServiceHealth] = []
    enough = asyncio.Event()

    def changed(health: ServiceHealth) -> None:
        seen.append(health)
        if len(seen) == until:
            enough.set()

    made = manager(host, *services, vips=vips)
    watching = asyncio.create_task(made.watch(changed, lambda: serving))
    async with asyncio.timeout(30):
        await enough.wait()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    return made, seen


async def test_the_watch_tells_of_each_change_once() -> None:
    host = Host({"web check": [YES, YES, NO, NO, YES, NO]})
    _, seen = await watched(host, service("web"), until=4)
    assert [h.state.value for h in seen] == ["running", "failed", "running", "failed"]
    assert seen[1].detail == (
        "service web is not well: check: 'web check' ended with exit status 3, saying"
        ' "connection refused"'
    )


async def test_a_service_has_failed_when_a_check_failed_so_often_in_a_row() -> None:
    host = Host({"web check": [YES, NO, NO, YES, NO, NO, NO, YES]})
    patient = CommandCheck(argv=("web", "check"), timing=Timing(failures=3))
    web = replace(service("web"), checks=(patient,))
    made, seen = await watched(host, web, until=3)
    assert [h.state.value for h in seen] == ["running", "failed", "running"]
    assert len(host.calls) >= 8
    assert "connection refused" in made.health[0].last_failure


async def test_a_service_is_well_when_all_of_its_checks_are() -> None:
    host = Host({"web up": [YES, NO, NO, YES], "web page": [YES]})
    checks = [
        CommandCheck(argv=("web", word), timing=Timing(failures=1)) for word in ("up", "page")
    ]
    web = replace(service("web"), checks=tuple(checks))
    _, seen = await watched(host, web, until=3)
    assert [h.state.value for h in seen] == ["running", "failed", "running"]


async def test_a_check_over_a_virtual_address_waits_until_that_is_here() -> None:
    over_vip = TcpCheck(endpoint=Endpoint(address="192.0.2.10", port=80))
    web = replace(service("web"), checks=(*service("web").checks, over_vip))
    host = Host({"web check": [NO, YES]})
    await manager(host, web, vips=["192.0.2.10"]).start_all()  # or it would not get through
    host = Host({"web check": [YES, YES, NO]})
    _, seen = await watched(host, web, until=2, vips=["192.0.2.10"], serving=False)
    assert "192.0.2.10" not in seen[1].detail


async def test_what_is_just_being_restarted_is_not_judged() -> None:
    host = Host()
    services = manager(host, replace(service("web"), start_timeout_ms=1_000_000_000))
    told: list[ServiceHealth] = []
    first = asyncio.Event()

    def changed(health: ServiceHealth) -> None:
        told.append(health)
        first.set()

    watching = asyncio.create_task(services.watch(changed))
    await first.wait()
    host.answers = {"web check": [NO, NO, NO, YES]}  # while it starts
    await services.restart("web")
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert [health.state for health in told] == [State.RUNNING]


async def test_how_long_checks_take_is_known_as_long_as_they_are_watched() -> None:
    host = Host({"web check": [YES, HANGS]})
    services = manager(host, service("web"))
    seen: list[dict[tuple[str, str], int]] = []
    failed = asyncio.Event()

    def changed(health: ServiceHealth) -> None:
        seen.append(dict(services.took_ms))
        if health.state is State.FAILED:
            failed.set()

    watching = asyncio.create_task(services.watch(changed))
    async with asyncio.timeout(30):
        await failed.wait()
    assert seen == [{("web", "check"): 0}, {("web", "check"): Timing().timeout_ms}]
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert services.took_ms == {}


class Units:
    """systemd, with a unit that is active when it was started."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.active = False
        self.refusal = ""
        self.unusable = ""

    async def start(self, unit: str, timeout_ms: int) -> str:
        self.calls.append(f"start {unit} {timeout_ms}")
        self.active = not self.refusal
        return self.refusal

    async def stop(self, unit: str, timeout_ms: int) -> str:
        self.calls.append(f"stop {unit} {timeout_ms}")
        self.active = False
        return self.refusal

    async def why_not_active(self, unit: str, timeout_ms: int) -> str:
        assert timeout_ms > 0
        return "" if self.active else "it is inactive (dead)"

    async def why_unusable(self, unit: str, timeout_ms: int) -> str:
        assert unit
        assert timeout_ms > 0
        return self.unusable


def unit_service() -> Service:
    return Service(name="web", unit="web.service", checks=(UnitCheck(unit="web.service"),))


async def test_a_unit_is_started_and_stopped_by_systemd() -> None:
    host, units = Host(), Units()
    services = manager(host, unit_service(), units=units)
    await services.start_all()
    await services.stop_all()
    assert units.calls == ["start web.service 30000", "stop web.service 30000"]
    assert not host.calls


async def test_what_could_not_run_here_is_named_and_left_alone() -> None:
    host, units = Host(), Units()
    there = replace(service("there"), start=("sh", "x"), stop=("true",))
    ghost = replace(service("ghost"), start=("/no/such/program", "run"), stop=("true",))
    services = manager(host, unit_service(), there, ghost, units=units)
    what = "cannot run here: '/no/such/program', its 'start', is no program on this host"
    assert await services.missing() == (("ghost", f"service ghost {what}"),)
    units.unusable = "there is no such unit on this host"
    assert (await services.missing())[0] == (
        "web",
        "service web cannot run here: web.service: there is no such unit on this host",
    )
    absences = Absences("b", services.missing)
    await absences.look()
    assert absences.problems[1].startswith(f"on b service ghost {what}. Install it as on the other")
    said = NodeHealth(defects=absences.defects)
    assert said.absent_services["ghost"].text == f"on b service ghost {what}"
    assert (said.suspected, said.kinds, said.barring) == (frozenset(), frozenset(), ())
    assert not host.calls
    assert not units.calls


async def test_what_systemd_says_is_in_the_failure() -> None:
    units = Units()
    units.refusal = "its job failed, and it is failed"
    services = manager(Host(), unit_service(), units=units)
    with pytest.raises(ServiceStartFailed, match=r"its job failed.*Try 'systemctl status web"):
        await services.start_all()
    with pytest.raises(ServiceStopFailed, match="its job failed, and it is failed"):
        await services.stop_all()
