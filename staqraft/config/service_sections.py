"""Services and their checks from the file: `groups.NAME.services` and `groups.NAME.flapping`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit

from staqraft.config import values
from staqraft.config.document import Section
from staqraft.config.services import (
    PORTS,
    Check,
    CommandCheck,
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

DNS_TYPES = ("A", "AAAA", "CNAME", "MX", "NS", "PTR", "SOA", "TXT")
MAX_FAILURES = 1000
MAX_RESTARTS = 20
MAX_MOVES = 8  # so many are kept of a group
MAX_NAME = 253
COMMAND_TIMEOUT_MS = 10_000
NOWHERE = Endpoint(address="127.0.0.1", port=1)

service_ms = values.duration_to("1h")
window_ms = values.duration_to("7d")
interval_ms = values.duration_between("100ms", "10m")


def service(name: str, section: Section) -> Service:
    """A service from its `unit`, or from commands of its own."""
    default = Service(name=name)
    with section:
        unit = section.read("unit", values.unit_name, "")
        if unit and (beside := [word for word in ("start", "stop") if word in section]):
            section.problem(f"stands beside '{beside[0]}': leave one of them out", "unit")
        found = Service(
            name=name,
            unit=unit,
            start=section.values("start", values.word),
            stop=section.values("stop", values.word),
            checks=_checks(section, unit),
            start_timeout_ms=section.read("start_timeout", service_ms, default.start_timeout_ms),
            stop_timeout_ms=section.read("stop_timeout", service_ms, default.stop_timeout_ms),
            restarts=section.read("restarts", values.integer(0, MAX_RESTARTS), default.restarts),
            restart_window_ms=section.read("restart_window", window_ms, default.restart_window_ms),
            failover=section.read("failover", values.boolean, default.failover),
        )
        advice = "give 'unit: NAME.service', or 'start' and 'stop' as lists of words"
        for command in ("start", "stop"):
            if "unit" not in section and not getattr(found, command):
                section.missing(command, advice)
    return found


def flapping(section: Section) -> Flapping:
    """When a group whose services fail everywhere stays where it is."""
    default = Flapping()
    with section:
        return Flapping(
            moves=section.read("moves", values.integer(1, MAX_MOVES), default.moves),
            window_ms=section.read("window", window_ms, default.window_ms),
        )


def _checks(section: Section, unit: str) -> tuple[Check, ...]:
    usual = Timing()
    every_ms = section.read("check_interval", interval_ms, usual.interval_ms)
    usual = replace(usual, interval_ms=every_ms)
    found: list[Check] = []
    if unit:
        found.append(UnitCheck(unit=unit, timing=usual))
    if command := section.values("check", values.word):
        slow = replace(usual, timeout_ms=COMMAND_TIMEOUT_MS)
        found.append(CommandCheck(argv=command, timing=slow))
    found += [check for part in section.listed("checks") if (check := _check(part, usual))]
    return tuple(found)


def _check(section: Section, usual: Timing) -> Check | None:
    with section:
        kinds = [kind for kind in _KINDS if kind in section]
        for other in _KINDS:
            if other not in kinds:
                section.skip(other)
        # A process may be told by both, its pid file and its executable.
        if len(kinds) != 1 and kinds != ["process", "pid_file"]:
            for name in section.nodes:
                section.skip(name)
            named = " and ".join(kinds) or "none"
            section.problem(f"is to name one kind of check ({', '.join(_KINDS)}); here is {named}")
            return None
        timing = Timing(
            interval_ms=section.read("interval", interval_ms, usual.interval_ms),
            timeout_ms=section.read("timeout", service_ms, _timeout_ms(kinds[0], usual)),
            failures=section.read("failures", values.integer(1, MAX_FAILURES), usual.failures),
        )
        return _KINDS[kinds[0]](section, kinds[0], timing)


def _timeout_ms(kind: str, usual: Timing) -> int:
    return COMMAND_TIMEOUT_MS if kind in {"command", "plugin"} else usual.timeout_ms


def _source(section: Section) -> str:
    return section.read("from", values.address, "")


def _tls(section: Section, host: str) -> TlsUse:
    return TlsUse(
        host=host,
        verify=section.read("verify", values.boolean, default=True),
        ca=section.read("ca", values.absolute_path, None),
    )


def _unit(section: Section, kind: str, timing: Timing) -> Check:
    return UnitCheck(unit=section.read(kind, values.unit_name, ""), timing=timing)


def _command(section: Section, kind: str, timing: Timing) -> Check:
    return CommandCheck(argv=_argv(section, kind), timing=timing)


def _plugin(section: Section, kind: str, timing: Timing) -> Check:
    return PluginCheck(
        argv=_argv(section, kind),
        warning_fails=section.read("warning_fails", values.boolean, default=False),
        timing=timing,
    )


def _argv(section: Section, kind: str) -> tuple[str, ...]:
    argv = section.values(kind, values.word)
    if not argv:
        section.missing(kind, "give a program and its arguments as a list of words")
    return argv


def _tcp(section: Section, kind: str, timing: Timing) -> Check:
    endpoint = section.read(kind, _endpoint(0), NOWHERE)
    return TcpCheck(endpoint=endpoint, source=_source(section), timing=timing)


def _http(section: Section, kind: str, timing: Timing) -> Check:
    url = section.read(kind, _url, urlsplit("http://127.0.0.1/"))
    address = str(url.hostname)
    host = section.read("host", _host_name, address)
    encrypted = url.scheme == "https"
    port = url.port or (443 if encrypted else 80)
    return HttpCheck(
        endpoint=Endpoint(address=address, port=port),
        host=host,
        path=(url.path or "/") + (f"?{url.query}" if url.query else ""),
        tls=_tls(section, host) if encrypted else None,
        statuses=section.values("status", values.integer(100, 599)),
        text=section.read("text", values.word, ""),
        source=_source(section),
        timing=timing,
    )


def _talk(section: Section, kind: str, timing: Timing) -> Check:
    protocol = Protocol(kind)
    endpoint = section.read(kind, _endpoint(PORTS[kind], path=kind == "lmtp"), NOWHERE)
    starttls = section.read("starttls", values.boolean, default=False)
    encrypted = section.read("tls", values.boolean, default=False)
    if starttls and encrypted:
        section.problem("stands beside 'starttls': the one encrypts from the beginning", "tls")
    host = section.read("host", _host_name, endpoint.address)
    return TalkCheck(
        protocol=protocol,
        endpoint=endpoint,
        starttls=starttls,
        tls=_tls(section, host) if starttls or encrypted else None,
        source=_source(section),
        timing=timing,
    )


def _dns(section: Section, kind: str, timing: Timing) -> Check:
    return DnsCheck(
        endpoint=section.read(kind, _endpoint(PORTS[kind]), NOWHERE),
        name=section.require("name", _host_name, "", "which name is to be asked for?"),
        type=section.read("type", values.one_of(DNS_TYPES), "A"),
        expect=section.read("expect", values.word, ""),
        over_tcp=section.read("over_tcp", values.boolean, default=False),
        source=_source(section),
        timing=timing,
    )


def _process(section: Section, kind: str, timing: Timing) -> Check:
    del kind
    return ProcessCheck(
        executable=section.read("process", values.absolute_path, None),
        pid_file=section.read("pid_file", values.absolute_path, None),
        timing=timing,
    )


_KINDS: Final[dict[str, Callable[[Section, str, Timing], Check]]] = {
    "unit": _unit,
    "tcp": _tcp,
    "http": _http,
    **{protocol.value: _talk for protocol in Protocol},
    "dns": _dns,
    "process": _process,
    "pid_file": _process,
    "plugin": _plugin,
    "command": _command,
}


# --- values ---------------------------------------------------------------------------------------


def _endpoint(port: int, *, path: bool = False) -> Callable[[str], Endpoint]:
    """`192.0.2.10`, `192.0.2.10:143`, `[2001:db8::1]:143`; with `path` a socket's path, too."""

    def parse(text: str) -> Endpoint:
        if path and text.startswith("/"):
            return Endpoint(path=values.absolute_path(text))
        address, number = _split(text)
        if not number and not port:
            raise ValueError("has no port: write for instance 127.0.0.1:8080")
        try:
            return Endpoint(
                address=values.address(address), port=values.port(number) if number else port
            )
        except ValueError as error:
            raise ValueError(f"is no place to ask: {address!r} {error}") from None

    return parse


def _split(text: str) -> tuple[str, str]:
    if text.startswith("["):
        address, _, rest = text[1:].partition("]")
        if rest and not rest.startswith(":"):
            raise ValueError("is no place to ask: write for instance [::1]:143")
        return address, rest[1:]
    try:
        ip_address(text)
    except ValueError:
        address, _, port = text.rpartition(":")
        return (address, port) if address else (text, "")
    return text, ""


def _url(text: str) -> SplitResult:
    """A URL whose host is an address."""
    example = "write for instance http://127.0.0.1/ or https://192.0.2.10:8443/health"
    if not text.isascii() or " " in text or not text.isprintable():
        raise ValueError(f"is not a URL: {example}")
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise ValueError(f"is not a URL: {example}") from None
    if url.scheme not in {"http", "https"} or not url.hostname or url.username or port == 0:
        raise ValueError(f"is not a URL that can be checked: {example}")
    try:
        values.address(url.hostname)
    except ValueError:
        raise ValueError(
            f"has a name, which would have to be looked up: {example}, and the name as 'host'"
        ) from None
    return url


def _host_name(text: str) -> str:
    """The name of a host, or a name in DNS."""
    name = text.rstrip(".")
    try:
        labels = name.encode("idna").split(b".") if name else []
    except UnicodeError:
        raise ValueError("is not a name that can be in DNS") from None
    usable = all(label.replace(b"-", b"a").replace(b"_", b"a").isalnum() for label in labels)
    if not text or len(text) > MAX_NAME or not (usable or _is_address(text)):
        raise ValueError("is not a name that can be in DNS")
    return text


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


__all__ = ["flapping", "service"]
