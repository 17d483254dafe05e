"""The order of services, and what is said when one does not do as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from staqraft.actions.process import Finished
from staqraft.actions.services import (
    ServiceHealth,
    ServiceManager,
    ServiceStartFailed,
    ServiceStopFailed,
    State,
)
from staqraft.config.schema import Service
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

    async def run(self, argv: Sequence[str], timeout_ms: int) -> Finished:
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
        check=(name, "check") if check else (),
        start_timeout_ms=1000,
        stop_timeout_ms=2000,
    )


def manager(host: Host, *services: Service) -> ServiceManager:
    return ServiceManager(
        GroupId("default"), services, run=host.run, clock=lambda: host.now_ms, sleep=host.sleep
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
    assert await services.check_all() == (ServiceHealth(name="web", state=State.RUNNING),)


async def test_a_service_that_does_not_come_up_ends_the_start() -> None:
    host = Host({"web check": [NO]})
    services = manager(host, service("web"), service("mail"))
    with pytest.raises(
        ServiceStartFailed,
        match=r"service web of group default is not running 1 s after its start at the latest:"
        r" 'web check' ended with exit status 3, saying \"connection refused\"",
    ):
        await services.start_all()
    assert "mail start" not in host.calls
    assert [h.state for h in services.health] == [State.FAILED, State.UNKNOWN]
    assert 900 <= host.now_ms <= 1100


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


async def test_the_watch_tells_of_each_change_once() -> None:
    host = Host({"web check": [YES, YES, NO, NO, YES, NO]})
    seen: list[ServiceHealth] = []
    three = asyncio.Event()

    def changed(health: ServiceHealth) -> None:
        seen.append(health)
        if len(seen) == 4:
            three.set()

    watching = asyncio.create_task(manager(host, service("web")).watch(changed))
    await three.wait()
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching
    assert [h.state.value for h in seen] == ["running", "failed", "running", "failed"]
    assert seen[1].detail == (
        "service web is not well: 'web check' ended with exit status 3, saying"
        ' "connection refused"'
    )
