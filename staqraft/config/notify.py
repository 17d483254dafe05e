"""Who is told of what happens in the cluster, and how: the section `notify`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from staqraft.config import values
from staqraft.config.document import Section

SEVERITIES = ("info", "warning", "critical")
ENCRYPTIONS = ("starttls", "tls", "none")

_SMTP_PORTS = {"starttls": 587, "tls": 465, "none": 25}
_timeout_ms = values.duration_to("5m")
_MOST_PER_HOUR = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Email:
    """A message by SMTP. `server` should not run on the pair that it reports on."""

    to: tuple[str, ...]
    sender: str
    server: str
    port: int
    encryption: str  # one of ENCRYPTIONS
    username: str = ""
    password_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A POST of JSON."""

    url: str = field(repr=False)  # chat services put their secret into it
    token_file: Path | None = None  # sent as `Authorization: Bearer`


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program, which gets the message in its environment and on its standard input."""

    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """One place where messages go."""

    name: str
    by: Email | Webhook | Program
    severity: str = "warning"  # this and what is worse
    timeout_ms: int = 15_000  # for one try
    most_per_hour: int = 60  # what is more is counted, and told in one message
    retry_for_ms: int = 24 * 3600 * 1000


_longest_ms = values.duration_to("7d")


def receivers(root: Section) -> Iterator[Receiver]:
    """What is configured under `notify`."""
    for name, section in root.named("notify", values.name):
        with section:
            by = _by(section)
            default = Receiver(name=name, by=by)
            yield Receiver(
                name=name,
                by=by,
                severity=section.read("severity", values.one_of(SEVERITIES), default.severity),
                timeout_ms=section.read("timeout", _timeout_ms, default.timeout_ms),
                most_per_hour=section.read(
                    "most_per_hour", values.integer(1, _MOST_PER_HOUR), default.most_per_hour
                ),
                retry_for_ms=section.read("retry_for", _longest_ms, default.retry_for_ms),
            )


def _by(section: Section) -> Email | Webhook | Program:
    ways = [way for way in ("email", "webhook", "program") if way in section]
    if len(ways) > 1:
        section.problem(f"stands beside '{ways[0]}': give each a name of its own", ways[1])
    if "email" in section:
        by: Email | Webhook | Program = _email(section.section("email"))
    elif "webhook" in section:
        by = _webhook(section.section("webhook"))
    else:
        by = Program(argv=section.values("program", values.word))
        if not by.argv:
            section.missing("program", "say how: 'email', 'webhook' or 'program'")
        elif not by.argv[0].startswith("/"):
            section.problem(f"'{by.argv[0]}' is no absolute path: no PATH is searched", "program")
    for way in ways[1:]:  # asked for, so that it is not unknown as well
        section.skip(way)
    return by


def _email(section: Section) -> Email:
    with section:
        to = section.values("to", _mail_address)
        if not to:
            section.missing("to", "list who is to be told, for instance [admin@example.org]")
        encryption = section.read("tls", values.one_of(ENCRYPTIONS), "starttls")
        username = section.read("username", values.word, "")
        password_file = section.read("password_file", values.absolute_path, None)
        if username and password_file is None and "password_file" not in section:
            section.missing("password_file", "name the file with the password of 'username'")
        if username and encryption == "none":
            section.problem("is 'none': the password would be sent in the clear", "tls")
        return Email(
            to=to,
            sender=section.require("from", _mail_address, "x@x.invalid", "who it comes from"),
            server=section.require(
                "server", _host, "", "name a mail server that does not run on this pair"
            ),
            port=section.read("port", values.port, _SMTP_PORTS[encryption]),
            encryption=encryption,
            username=username,
            password_file=password_file,
        )


def _webhook(section: Section) -> Webhook:
    with section:
        return Webhook(
            url=section.require("url", _url, "", "for instance https://chat.example.org/hook"),
            token_file=section.read("token_file", values.absolute_path, None),
        )


def _mail_address(text: str) -> str:
    local, at, domain = text.rpartition("@")
    plain = text.isascii() and text.isprintable() and not set(text) & set(" ,;<>()[]\"'")
    if not (local and at and domain and plain):
        raise ValueError("is not a mail address: write for instance admin@example.org")
    return text


def _host(text: str) -> str:
    if not text.isascii() or not text.replace("-", "").replace(".", "").replace(":", "").isalnum():
        raise ValueError("is not a host name or address: a port goes under 'port'")
    return text


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not text.isprintable():
        raise ValueError("is not an http or https address")
    if parts.username or parts.password:
        raise ValueError("has a user in it: use 'token_file', or a path that is secret")
    return text
