"""A power strip with a socket to talk to: the replicas' fence device (`fence_lab` is its agent).

`python -m lab.strip DIRECTORY` starts it outside of the hosts, prints its pid, and goes on in the
background until the lab's switch ends. It listens on power/strip.sock in the lab's directory, which
every host has below /run/lab: a way of its own to the device, that no cut link touches. A request
is a line of JSON, {"op": "off" | "on" | "status", "host": NAME}; the answer is {"power": bool} when
it is done, or {"error": SENTENCE}.

It may be in a bad mood about a host (`set_mood`): "refusing" to turn it off, "hanging" when asked
for anything, "lying" that it turned it off, while "status" tells the truth.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.lab import Lab
from lab.layout import POWER
from lab.linux import boottime
from lab.state import State

SOCKET = "strip.sock"
MOODS = "moods.json"
_PATIENCE_S = 10.0  # for a caller that says nothing
_unanswered: list[socket.socket] = []  # by a strip that hangs


def set_mood(directory: Path, host: str, mood: str) -> None:
    """How the strip of a lab treats requests about a host from now on; "": well."""
    moods = {**_moods(directory), host: mood}
    temporary = directory / POWER / f".{MOODS}"
    temporary.write_text(json.dumps(moods), encoding="ascii")
    temporary.rename(directory / POWER / MOODS)


def _moods(directory: Path) -> dict[str, str]:
    try:
        moods: dict[str, str] = json.loads((directory / POWER / MOODS).read_text(encoding="ascii"))
    except FileNotFoundError:
        return {}
    return moods


def _carry_out(directory: Path, request: dict[str, str]) -> dict[str, Any]:
    lab, host, wanted = Lab.open(directory), request["host"], request["op"]
    has_power = lab.has_power(host)
    if wanted == "off" and _moods(directory).get(host) == "refusing":
        return {"error": "this outlet does not switch"}
    if wanted == "off" and _moods(directory).get(host) == "lying":
        return {"power": False}
    match wanted:
        case "status":
            pass
        case "off" if has_power:
            lab.power_off(host)
        case "on" if not has_power:
            lab.power_on(host)
        case "off" | "on":
            pass
        case other:
            return {"error": f"unknown operation {other!r}"}
    return {"power": lab.has_power(host)}


def _answer(listener: socket.socket, directory: Path) -> None:
    connection, _ = listener.accept()
    with ExitStack() as closing:
        closing.enter_context(connection)
        connection.settimeout(_PATIENCE_S)
        try:
            request = json.loads(connection.makefile("r", encoding="utf-8").readline())
            if _moods(directory).get(request["host"]) == "hanging":
                closing.pop_all()
                _unanswered.append(connection)
                return
            reply = _carry_out(directory, request)
        except (LabError, OSError, ValueError, KeyError) as error:
            request, reply = {}, {"error": f"{type(error).__name__}: {error}"}
        print(f"{boottime():.3f}: {request} -> {reply}", file=sys.stderr, flush=True)
        try:
            connection.sendall(json.dumps(reply).encode() + b"\n")
        except OSError:
            return  # the caller has no power any more


def main() -> None:
    """Returns in the parent at once, in the child with the lab."""
    directory = Path(sys.argv[1])
    state = State.load(directory)
    if state is None:
        sys.exit(f"there is no lab in {directory}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(directory / POWER / SOCKET))
    listener.listen(16)
    switch = os.pidfd_open(state.switch.pid)
    child = os.fork()
    if child:
        print(child)
        return
    os.dup2(2, 1)  # who started us waits until our output ends
    listening = listener.fileno()
    while switch not in (ready := select.select([listening, switch], [], [])[0]):
        if listening in ready:
            _answer(listener, directory)


if __name__ == "__main__":
    main()
