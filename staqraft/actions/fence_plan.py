"""How a node is turned off by its devices, as a pure sequence of calls and answers.

A generator yields one `Call` after the other and is sent what the agent did; it returns the
verdict. It has no clock and starts no program, so that the simulator runs the same sequence over
devices that refuse, hang and lie. The rules are Pacemaker's, which agents are written for:

- All devices of a level must succeed (two power supplies), else the next level is tried. All are
  turned off before the first is looked at: one supply alone keeps the node running.
- Only what `status` says afterwards is proof. An agent that says "done" of a node that is on lies.
- A failed action is tried a second time within its budget; one that ran into its time limit is
  not: nobody knows what it did, and the budget is used up.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import groupby

from staqraft.config.schema import FenceDevice

DONE = 0
STATUS_ON = 0
STATUS_OFF = 2
_TRIES = 2
_SHORTEST_MS = 500  # with less left there is no second try


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """The agent of `device` is to be run with this action, and killed after `timeout_ms`."""

    device: FenceDevice
    action: str
    timeout_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the agent did. `code` None: it was killed at its time limit, or did not start."""

    code: int | None
    took_ms: int
    said: str = ""  # a sentence, without secrets


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether the node is as wanted, by the devices' word; `text` is a sentence either way."""

    proved: bool
    text: str


Plan = Generator[Call, Answer, Verdict]


def turn_off(devices: Sequence[FenceDevice]) -> Plan:
    """Off, and seen to be off."""
    return (yield from _power(devices, "off", STATUS_OFF))


def turn_on(devices: Sequence[FenceDevice]) -> Plan:
    """On again, and seen to be on."""
    return (yield from _power(devices, "on", STATUS_ON))


def look(device: FenceDevice, known: frozenset[str]) -> Plan:
    """Whether the device could do its work now, without touching the node.

    `known` are the actions of its agent; one without `monitor` is asked for the node's status.
    """
    if not known or "monitor" in known:
        answer = yield from _patiently(device, "monitor", {DONE})
        good = answer.code == DONE
    else:
        answer = yield from _patiently(device, "status", {STATUS_ON, STATUS_OFF})
        good = answer.code in {STATUS_ON, STATUS_OFF}
    return Verdict(proved=good, text="" if good else answer.said)


def _power(devices: Sequence[FenceDevice], action: str, wanted: int) -> Plan:
    problems: list[str] = []
    for _, level in groupby(sorted(devices, key=lambda d: d.level), key=lambda d: d.level):
        together = list(level)
        problem = yield from _level(together, action, wanted)
        if not problem:
            names = " and ".join(device.name for device in together)
            verb = "say" if len(together) > 1 else "says"
            return Verdict(proved=True, text=f"{names} turned it {action} and {verb} so")
        problems.append(problem)
    return Verdict(proved=False, text="; ".join(problems))


def _level(
    devices: Sequence[FenceDevice], action: str, wanted: int
) -> Generator[Call, Answer, str]:
    """All devices of a level; why it failed, or nothing."""
    for device in devices:
        answer = yield from _patiently(device, action, {DONE})
        if answer.code != DONE:
            return f"{device.name}: '{action}' failed: {answer.said}"
    for device in devices:
        answer = yield from _patiently(device, "status", {STATUS_ON, STATUS_OFF})
        if answer.code == wanted:
            continue
        if answer.code in {STATUS_ON, STATUS_OFF}:
            seen = "on" if answer.code == STATUS_ON else "off"
            return (
                f"{device.name}: said that it turned the node {action}, and then that it is {seen}:"
                " check 'plug', and whether the node has another power supply"
            )
        return (
            f"{device.name}: said that it turned the node {action}, and could not say how it is:"
            f" {answer.said}"
        )
    return ""


def _patiently(device: FenceDevice, action: str, good: set[int]) -> Generator[Call, Answer, Answer]:
    """Up to two tries within the device's budget; the last answer."""
    left_ms = device.timeout_ms
    answer = yield Call(device=device, action=action, timeout_ms=left_ms)
    for _ in range(_TRIES - 1):
        left_ms -= answer.took_ms
        if answer.code is None or answer.code in good or left_ms < _SHORTEST_MS:
            break
        answer = yield Call(device=device, action=action, timeout_ms=left_ms)
    return answer
