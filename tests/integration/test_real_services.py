"""The native checks against Debian's own nginx, bind9 and dovecot, on ports of their own.

What StaqRaft does about them is tried in `tests/lab/test_services.py`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from fakes.ports import free_port
from staqraft.actions.checks.run import Checker
from staqraft.actions.process import run
from staqraft.actions.systemd import Systemd
from staqraft.config.services import (
    Check,
    DnsCheck,
    Endpoint,
    HttpCheck,
    PluginCheck,
    Protocol,
    TalkCheck,
    Timing,
)

PATIENT = Timing(timeout_ms=20_000)
SETTLES_S = 60.0
PLUGINS = Path("/usr/lib/nagios/plugins")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="dovecot and bind9 are started by root")


@dataclass(frozen=True)
class Program:
    """How one of them is configured, run in the foreground, and checked."""

    name: str
    package: str
    configuration: Callable[[Path, int], str]
    argv: Callable[[Path], Sequence[str]]
    check: Callable[[Endpoint], Check]
    silent: str  # what is said of it when it is gone


def _nginx(base: Path, port: int) -> str:
    temporary = "".join(
        f"{kind}_temp_path {base}/{kind};" for kind in ("proxy", "fastcgi", "uwsgi", "scgi")
    )
    return (
        f"daemon off; pid {base}/pid; error_log stderr; events {{}} http {{ access_log off;"
        f" client_body_temp_path {base}/body; {temporary}"
        f" server {{ listen 127.0.0.1:{port}; location / {{ return 200 'all is well'; }} }} }}"
    )


def _named(base: Path, port: int) -> str:
    (base / "zone").write_text("$TTL 60\n@ SOA ns a 1 60 60 60 60\n@ NS ns\nns A 192.0.2.7\n")
    return (
        f'options {{ directory "{base}"; pid-file "{base}/pid"; session-keyfile none;'
        f" recursion no; dnssec-validation no; listen-on port {port} {{ 127.0.0.1; }};"
        ' listen-on-v6 { none; }; }; controls { }; zone "example" { type primary; file "zone"; };'
    )


def _dovecot(base: Path, port: int) -> str:
    return (
        f"base_dir = {base}/run\nstate_dir = {base}/run\nlog_path = {base}/log\nssl = no\n"
        "protocols = imap\nmail_location = maildir:/nowhere\n"
        "passdb {\n  driver = static\n}\nuserdb {\n  driver = static\n  args = uid=mail\n}\n"
        f"service imap-login {{\n  inet_listener imap {{\n    address = 127.0.0.1\n"
        f"    port = {port}\n  }}\n  inet_listener imaps {{\n    port = 0\n  }}\n}}\n"
    )


PROGRAMS = [
    Program(
        name="nginx",
        package="nginx-light",
        configuration=_nginx,
        argv=lambda conf: ["-e", "stderr", "-c", str(conf)],
        check=lambda at: HttpCheck(
            endpoint=at, host="shop.example", text="all is well", timing=PATIENT
        ),
        silent="http on {at} for shop.example: nobody listens there (connection refused)",
    ),
    Program(
        name="named",
        package="bind9",
        configuration=_named,
        argv=lambda conf: ["-f", "-n", "1", "-c", str(conf)],
        check=lambda at: DnsCheck(
            endpoint=at, name="ns.example", expect="192.0.2.7", timing=PATIENT
        ),
        silent="dns on {at}: nobody listens there (connection refused)",
    ),
    Program(
        name="dovecot",
        package="dovecot-imapd",
        configuration=_dovecot,
        argv=lambda conf: ["-F", "-c", str(conf)],
        check=lambda at: TalkCheck(protocol=Protocol.IMAP, endpoint=at, timing=PATIENT),
        silent="imap on {at}: nobody listens there (connection refused)",
    ),
]


@contextmanager
def running(program: Program, base: Path, port: int) -> Iterator[None]:
    path = shutil.which(program.name, path="/usr/sbin:/usr/bin")
    if path is None:
        pytest.skip(f"there is no {program.name}: scripts/bootstrap installs {program.package}")
    configuration = base / "configuration"
    configuration.write_text(program.configuration(base, port))
    with (base / "printed").open("wb") as printed:
        started = subprocess.Popen(
            [path, *program.argv(configuration)],
            stdout=printed,
            stderr=printed,
            start_new_session=True,
        )
    try:
        yield
    finally:
        # Its own children too: they are in its process group.
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()


async def settled(check: Check, wanted: str) -> str:
    """What the check says, once it says this; the last word after a minute."""
    checker = Checker(run, Systemd())
    loop = asyncio.get_running_loop()
    deadline = loop.time() + SETTLES_S
    while (said := await checker(check)) != wanted and loop.time() < deadline:  # noqa: ASYNC110 - another program's doing
        await asyncio.sleep(0.1)
    return said


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
async def test_it_is_well_while_it_runs(program: Program, tmp_path: Path) -> None:
    endpoint = Endpoint(address="127.0.0.1", port=free_port())
    check = program.check(endpoint)
    with running(program, tmp_path, endpoint.port):
        assert await settled(check, "") == "", (tmp_path / "printed").read_text()
    gone = program.silent.format(at=endpoint)
    assert await settled(check, gone) == gone


@pytest.mark.skipif(
    not PLUGINS.is_dir(), reason="scripts/bootstrap installs monitoring-plugins-basic"
)
async def test_a_plugin_of_debian_is_understood() -> None:
    argv = (str(PLUGINS / "check_tcp"), "-H", "127.0.0.1", "-p", str(free_port()))
    said = await Checker(run, Systemd())(PluginCheck(argv=argv, timing=PATIENT))
    assert said.startswith("plugin check_tcp: says critical: ")
    assert "refused" in said
