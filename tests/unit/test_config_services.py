"""Services and their checks in the configuration: what is understood, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from fakes.configs import write_config
from fakes.pki import cluster_pki
from staqraft.config.loader import check, load, read
from staqraft.config.services import (
    Check,
    DnsCheck,
    Endpoint,
    Flapping,
    HttpCheck,
    PluginCheck,
    ProcessCheck,
    Protocol,
    Service,
    TalkCheck,
    TcpCheck,
    Timing,
    TlsUse,
    UnitCheck,
)
from staqraft.errors import ConfigError
from staqraft.model import GroupId

REPOSITORY = Path(__file__).parents[2]
DEFAULT = GroupId("default")
LOOPBACK = "127.0.0.1"


def with_service(tmp_path: Path, text: str) -> Path:
    return write_config(tmp_path, {"nginx.service}": f"nginx.service, {text}}}"})


def service_of(tmp_path: Path, text: str) -> Service:
    (service,) = load(with_service(tmp_path, text)).groups[DEFAULT].services
    return service


def check_of(tmp_path: Path, text: str) -> Check:
    first, second = service_of(tmp_path, f"checks: [{{{text}}}]").checks
    assert first == UnitCheck(unit="nginx.service")
    return second


def problems_of(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path)
    return [problem.removeprefix(f"{path}:") for problem in caught.value.problems]


def at(port: int, address: str = LOOPBACK) -> Endpoint:
    return Endpoint(address=address, port=port)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("tcp: '127.0.0.1:8080'", TcpCheck(endpoint=at(8080))),
        ("tcp: '[::1]:8080'", TcpCheck(endpoint=at(8080, "::1"))),
        ("tcp: '127.0.0.1:1', interval: 10s, timeout: 1s, failures: 5, from: 127.0.0.2",
         TcpCheck(endpoint=at(1), source="127.0.0.2",
                  timing=Timing(interval_ms=10_000, timeout_ms=1_000, failures=5))),
        ("http: 'http://127.0.0.1/'", HttpCheck(endpoint=at(80), host=LOOPBACK)),
        ("http: 'https://127.0.0.1:8443/up?x=1', host: shop.example, status: [200, 204], text: ok",
         HttpCheck(endpoint=at(8443), host="shop.example", path="/up?x=1",
                   tls=TlsUse(host="shop.example"), statuses=(200, 204), text="ok")),
        ("http: 'https://10.0.0.10', verify: false",
         HttpCheck(endpoint=at(443, "10.0.0.10"), host="10.0.0.10",
                   tls=TlsUse(host="10.0.0.10", verify=False))),
        ("smtp: 127.0.0.1, starttls: true, host: mail.example, ca: /etc/ca.pem",
         TalkCheck(protocol=Protocol.SMTP, endpoint=at(25), starttls=True,
                   tls=TlsUse(host="mail.example", ca=Path("/etc/ca.pem")))),
        ("lmtp: /run/dovecot/lmtp",
         TalkCheck(protocol=Protocol.LMTP, endpoint=Endpoint(path=Path("/run/dovecot/lmtp")))),
        ("imap: '127.0.0.1:993', tls: true",
         TalkCheck(protocol=Protocol.IMAP, endpoint=at(993), tls=TlsUse(host=LOOPBACK))),
        ("pop3: 127.0.0.1", TalkCheck(protocol=Protocol.POP3, endpoint=at(110))),
        ("ftp: '::1'", TalkCheck(protocol=Protocol.FTP, endpoint=at(21, "::1"))),
        ("dns: 127.0.0.1, name: www.example, expect: 192.0.2.1",
         DnsCheck(endpoint=at(53), name="www.example", expect="192.0.2.1")),
        ("dns: '127.0.0.1:5353', name: example, type: MX, over_tcp: true",
         DnsCheck(endpoint=at(5353), name="example", type="MX", over_tcp=True)),
        ("process: /usr/sbin/nginx", ProcessCheck(executable=Path("/usr/sbin/nginx"))),
        ("process: /usr/sbin/nginx, pid_file: /run/nginx.pid",
         ProcessCheck(executable=Path("/usr/sbin/nginx"), pid_file=Path("/run/nginx.pid"))),
        ("plugin: [/usr/lib/nagios/plugins/check_dummy, '0']",
         PluginCheck(argv=("/usr/lib/nagios/plugins/check_dummy", "0"),
                     timing=Timing(timeout_ms=10_000))),
        ("unit: php-fpm.service", UnitCheck(unit="php-fpm.service")),
    ],
)  # fmt: skip
def test_each_kind_of_check_is_understood(tmp_path: Path, text: str, meant: Check) -> None:
    assert check_of(tmp_path, text) == meant


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("tcp: 127.0.0.1", "'127.0.0.1' has no port: write for instance 127.0.0.1:8080"),
        ("tcp: 'localhost:80'", "is no place to ask: 'localhost' is not an IP address"),
        ("tcp: '127.0.0.1:99999'", "is not a whole number from 1 to 65535"),
        ("http: 127.0.0.1", "is not a URL that can be checked: write for instance http://"),
        ("http: 'http://shop.example/'", "has a name, which would have to be looked up"),
        ("http: 'http://u@127.0.0.1/'", "is not a URL that can be checked"),
        ("http: 'http://127.0.0.1/', status: [20]", "is not a whole number from 100 to 599"),
        ("http: 'http://127.0.0.1/', verify: false", "verify: is not a known name"),
        ("http: 'http://127.0.0.1/', host: 'a b'", "is not a name that can be in DNS"),
        ("imap: 127.0.0.1, tls: true, starttls: true", "tls: stands beside 'starttls'"),
        ("imap: /run/imap", "is no place to ask"),
        ("dns: 127.0.0.1", "name: is missing: which name is to be asked for?"),
        ("dns: 127.0.0.1, name: x, type: ANY", "'ANY' is not one of A, AAAA"),
        ("process: nginx", "'nginx' is not an absolute path"),
        ("plugin: []", "plugin: is missing: give a program and its arguments"),
        ("tcp: '127.0.0.1:1', http: 'http://127.0.0.1/'", "here is tcp and http"),
        ("interval: 2s", "is to name one kind of check (unit, tcp, http, smtp,"),
        ("ttcp: '127.0.0.1:1'", "is to name one kind of check"),
        ("tcp: '127.0.0.1:1', failures: 0", "'0' is not a whole number from 1 to 1000"),
        ("tcp: '127.0.0.1:1', inteval: 2s", "did you mean 'interval'?"),
        ("tcp: '10.0.0.2:1'", "10.0.0.2 is b's own address: on any other node"),
        ("tcp: '127.0.0.1:1', from: '::1'", "one is IPv4, the other IPv6"),
    ],
)  # fmt: skip
def test_nonsense_is_refused_in_plain_words(tmp_path: Path, text: str, problem: str) -> None:
    (found,) = problems_of(with_service(tmp_path, f"checks: [{{{text}}}]"))
    assert problem in found


def test_how_failures_are_dealt_with(tmp_path: Path) -> None:
    service = service_of(tmp_path, "restarts: 1, restart_window: 5m, failover: false")
    assert (service.restarts, service.restart_window_ms, service.failover) == (1, 300_000, False)


def test_flapping_belongs_to_the_group(tmp_path: Path) -> None:
    path = write_config(
        tmp_path, {"initial_active: a": "initial_active: a\n    flapping: {moves: 2, window: 10m}"}
    )
    assert load(path).groups[DEFAULT].flapping == Flapping(moves=2, window_ms=600_000)


def test_the_interval_of_a_service_is_that_of_its_checks(tmp_path: Path) -> None:
    service = service_of(tmp_path, "check_interval: 7s, checks: [{tcp: '127.0.0.1:1'}]")
    assert [check.timing.interval_ms for check in service.checks] == [7000, 7000]


def test_a_unit_belongs_to_one_service(tmp_path: Path) -> None:
    path = write_config(
        tmp_path, {"nginx.service}": "nginx.service}\n      www: {unit: nginx.service}"}
    )
    (found,) = problems_of(path)
    assert "nginx.service belongs to service default.nginx already" in found


@pytest.mark.parametrize(
    ("state", "code", "text"),
    [
        ("enabled", 0, "systemd starts it at boot, also on the standby: 'systemctl disable --now"),
        ("masked", 2, "is masked on this host, so it cannot be started"),
        ("not-found", 2, "is not on this host now"),
        ("disabled", 0, ""),
        ("static", 0, ""),
        ("", 0, ""),
    ],
)
def test_check_tells_of_a_unit_that_systemd_starts_or_cannot_start(
    tmp_path: Path, state: str, code: int, text: str
) -> None:
    ended, lines = check(write_config(tmp_path), ask_unit=lambda _: state)
    assert ended == code
    said = lines[:-1] if code == 0 else lines
    assert any(text in line for line in said) == bool(text)


def test_a_program_that_is_not_on_this_host_is_said_before_it_is_needed(tmp_path: Path) -> None:
    """An error to who checks the file; a daemon starts, and runs what it can."""
    commands = "start: [sh, x], stop: [/no/such/program], checks: [{command: [nosuchprogram]}]"
    path = write_config(tmp_path, {"unit: nginx.service": commands})
    warnings = [line.split(": ", 2)[1:] for line in read(path).warnings]
    because = "is no program on this host now: the service could not run here"
    code, lines = check(path)
    assert code == 2
    assert sorted(line.split(": ", 2)[1:] for line in lines) == sorted(warnings)
    assert [(key.rpartition("services.")[2], text) for key, text in warnings] == [
        ("nginx.stop", f"'/no/such/program' {because}"),
        ("nginx.checks.1", f"'nosuchprogram' {because}"),
    ]


def test_the_services_in_the_example_are_right_and_show_every_kind(tmp_path: Path) -> None:
    pki = cluster_pki("example")
    text = (REPOSITORY / "deploy/staqraft.yaml").read_text()
    before, begin, rest = text.partition("      # dovecot:")
    services, end, after = f"{begin}{rest}".partition("    # A group that moved")
    services = re.sub("^      # ", "      ", services, flags=re.MULTILINE)
    path = tmp_path / "staqraft.yaml"
    path.write_text(
        f"{before}{services}{end}{after}".replace("/etc/staqraft/tls", str(pki.directory))
    )
    found = {service.name: service for service in load(path).groups[DEFAULT].services}
    assert list(found) == ["nginx", "dovecot", "web"]
    kinds = {type(check) for service in found.values() for check in service.checks}
    assert kinds == set(get_args(Check))
    assert found["dovecot"].restarts == Service(name="").restarts


def test_the_fingerprint_covers_the_checks(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    paths = [
        with_service(tmp_path / name, f"checks: [{{tcp: '127.0.0.1:{port}'}}]")
        for name, port in (("x", 1), ("y", 2))
    ]
    first, second = (read(path).config.groups for path in paths)
    assert first != second
