"""Makes one check, whatever its kind, and says in a sentence why it failed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Protocol, assert_never

from staqraft.actions.checks import dns, http, talk
from staqraft.actions.checks.lines import CheckFailed, conversation, quoted
from staqraft.actions.checks.process_table import running
from staqraft.actions.process import OUTPUT_KEPT, Finished, story
from staqraft.config.services import (
    Check,
    CommandCheck,
    DnsCheck,
    HttpCheck,
    PluginCheck,
    ProcessCheck,
    TalkCheck,
    TcpCheck,
    UnitCheck,
)

GRACE_S = 0.1
PLUGIN_OK, PLUGIN_WARNING = 0, 1
PLUGIN_KEPT = 64 << 10  # its first line is wanted, and the end is what is kept
PLUGIN_STATES = {1: "warning", 2: "critical", 3: "unknown"}

# A pid file may lie on a disk that hangs: that is to hold up this check and nothing else.
_files = ThreadPoolExecutor(max_workers=2, thread_name_prefix="pid-files")


class Runner(Protocol):
    """Runs a command to its end or time limit."""

    async def __call__(
        self, argv: Sequence[str], timeout_ms: int, *, keep: int = OUTPUT_KEPT
    ) -> Finished:
        """As `process.run`."""


class Units(Protocol):
    """Knows systemd's units."""

    async def why_not_active(self, unit: str, timeout_ms: int) -> str:
        """Why the unit is not active, in words that follow its name; empty if it is."""


class Checker:
    """Makes checks. `run` runs programs, `units` asks systemd."""

    def __init__(self, run: Runner, units: Units) -> None:
        self._run = run
        self._units = units

    async def __call__(self, check: Check, timeout_ms: int | None = None) -> str:
        """Asks once: a sentence of what is wrong, or nothing. Never raises for what it finds.

        `timeout_ms`, if it is shorter than the check's own, is what is left of somebody's time.
        """
        limit_ms = min(check.timing.timeout_ms, timeout_ms or check.timing.timeout_ms)
        try:
            if isinstance(check, UnitCheck | CommandCheck | PluginCheck | ProcessCheck):
                await self._on_this_host(check, limit_ms)
            else:
                timing = replace(check.timing, timeout_ms=limit_ms)
                # The check itself says better what was missed, if it gets to that.
                async with asyncio.timeout(limit_ms / 1000 + GRACE_S):
                    await _over_the_network(replace(check, timing=timing))
        except CheckFailed as error:
            return f"{name_of(check)}: {error}"
        except TimeoutError:
            return f"{name_of(check)}: not done within {limit_ms / 1000:g} s"
        except (OSError, ValueError) as error:  # of /proc, or a name that TLS does not take
            return f"{name_of(check)}: it cannot be looked at ({error})"
        return ""

    async def _on_this_host(
        self, check: UnitCheck | CommandCheck | PluginCheck | ProcessCheck, limit_ms: int
    ) -> None:
        match check:
            case UnitCheck(unit=unit):
                if problem := await self._units.why_not_active(unit, limit_ms):
                    raise CheckFailed(problem)
            case CommandCheck(argv=argv):
                finished = await self._run(argv, limit_ms)
                if not finished.ok:
                    raise CheckFailed(story(argv, finished))
            case PluginCheck():
                await self._plugin(check, limit_ms)
            case ProcessCheck():
                async with asyncio.timeout(limit_ms / 1000):
                    loop = asyncio.get_running_loop()
                    await loop.run_in_executor(_files, running, check)
            case _:
                assert_never(check)

    async def _plugin(self, check: PluginCheck, limit_ms: int) -> None:
        finished = await self._run(check.argv, limit_ms, keep=PLUGIN_KEPT)
        if finished.code == PLUGIN_OK:
            return
        if finished.code == PLUGIN_WARNING and not check.warning_fails:
            return
        state = PLUGIN_STATES.get(finished.code if finished.code is not None else -1)
        if state is None or finished.problem:
            raise CheckFailed(story(check.argv, finished))
        said = first_line(finished)
        raise CheckFailed(f"says {state}: {quoted(said)}" if said else f"says {state}, and not why")


async def _over_the_network(check: TcpCheck | HttpCheck | TalkCheck | DnsCheck) -> None:
    match check:
        case TcpCheck():
            limit_ms = check.timing.timeout_ms
            async with conversation(check.endpoint, source=check.source, timeout_ms=limit_ms):
                pass
        case HttpCheck():
            await http.page(check)
        case TalkCheck():
            await talk.talk(check)
        case DnsCheck():
            await dns.resolve(check)
        case _:
            assert_never(check)


def name_of(check: Check) -> str:
    """What is checked, and where."""
    match check:
        case UnitCheck(unit=unit):
            return unit
        case CommandCheck():
            return "check"
        case PluginCheck(argv=argv):
            return f"plugin {argv[0].rpartition('/')[2]}"
        case TcpCheck(endpoint=endpoint):
            return f"tcp on {endpoint}"
        case HttpCheck(tls=tls, endpoint=endpoint, host=host, path=path):
            scheme = "http" if tls is None else "https"
            site = f" for {host}" if host != endpoint.address else ""
            return f"{scheme} on {endpoint}{site}{path if path != '/' else ''}"
        case TalkCheck(protocol=protocol, endpoint=endpoint):
            return f"{protocol.value} on {endpoint}"
        case DnsCheck(endpoint=endpoint):
            return f"dns on {endpoint}"
        case ProcessCheck(pid_file=pid_file, executable=executable):
            return f"process {executable if pid_file is None else pid_file}"
        case _:
            assert_never(check)


def first_line(finished: Finished) -> str:
    """What a plugin says for people: its first line, without the figures behind the bar."""
    lines = finished.printed.decode(errors="backslashreplace").splitlines()
    return lines[0].partition("|")[0].strip() if lines else ""
