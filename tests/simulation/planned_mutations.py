"""What holds a switchover back that nobody asks for just now, taken out; see `mutations`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from simulation.patching import put
from staqraft.consensus import switchovers
from staqraft.consensus.verdict import Changed
from staqraft.decision import conflict, health, planned


def _choice_forgotten() -> None:
    real = planned.against_failback

    def against_failback(state: Any, now_ms: int) -> str | None:
        return real(replace(state, record=replace(state.record, chosen=None)), now_ms)

    put(planned, "against_failback", against_failback)


def _does_not_wait() -> None:
    put(planned, "wait_ms", lambda _: 0)


def _does_not_wait_longer() -> None:
    put(planned, "wait_ms", lambda state: state.settings.failback_ms)


def _health_does_not_matter() -> None:
    put(health, "worse", lambda *_: None)


def _services_do_not_matter() -> None:
    real = planned.against_failback
    put(
        planned,
        "against_failback",
        lambda state, now_ms: real(replace(state, moves_seen={}), now_ms),
    )


def _outlives_its_cancel() -> None:
    """What was proposed when it was due is done whenever it commits."""
    real = switchovers._request

    def request(group: Any, index: int, command: Any) -> Any:
        verdict = real(group, index, replace(command, schedule=0))
        if not command.schedule or not isinstance(verdict, Changed):
            return verdict
        wish = verdict.group.switchover
        assert wish is not None, "a request makes it a wish"
        late = replace(wish, schedule=command.schedule)
        return replace(verdict, group=replace(verdict.group, switchover=late, scheduled=None))

    put(switchovers, "_request", request)


def _taken_from_a_third_host() -> None:
    put(conflict, "objection", lambda _: None)


def _answer_not_waited_for() -> None:
    put(conflict, "pending", lambda _: False)


PATCHES: Final[tuple[tuple[str, Callable[[], None], tuple[str, ...]], ...]] = (
    ("failback undoes an operator's choice", _choice_forgotten, ("planned",)),
    ("failback does not wait", _does_not_wait, ("planned",)),
    ("failback waits no longer the next time", _does_not_wait_longer, ("planned",)),
    ("failback to who is not well", _health_does_not_matter, ("planned",)),
    ("failback of what services just moved", _services_do_not_matter, ("services",)),
    ("schedule outlives its cancel", _outlives_its_cancel, ("planned",)),
    ("an address is taken from a third host", _taken_from_a_third_host, ("planned",)),
    ("who has an address is not waited for", _answer_not_waited_for, ("planned",)),
)
