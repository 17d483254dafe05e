"""Services and their checks as frozen values: what runs on the active only, and how it is seen.

`service_sections` reads them from the file. All durations are milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path


class Protocol(Enum):
    """A protocol in which the server speaks first."""

    SMTP = "smtp"
    LMTP = "lmtp"
    IMAP = "imap"
    POP3 = "pop3"
    FTP = "ftp"


PORTS = {"smtp": 25, "lmtp": 24, "imap": 143, "pop3": 110, "ftp": 21, "dns": 53}


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a server listens: an address and a port, or the path of a unix socket."""

    address: str = ""
    port: int = 0
    path: Path | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return str(self.path)
        return f"[{self.address}]:{self.port}" if ":" in self.address else self._plain()

    def _plain(self) -> str:
        return f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsUse:
    """What a check asks of a TLS server: a certificate for `host`, unless not to `verify`."""

    host: str
    verify: bool = True
    ca: Path | None = None  # None: what this machine trusts


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How often a check is made, how long it may take, and how often in a row it fails first."""

    interval_ms: int = 2_000
    timeout_ms: int = 5_000
    failures: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Check:
    timing: Timing = field(default_factory=Timing)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Network(_Check):
    endpoint: Endpoint
    source: str = ""  # connect from this address of ours


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitCheck(_Check):
    """The systemd unit is active."""

    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandCheck(_Check):
    """A program ends with 0. No shell."""

    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginCheck(_Check):
    """A plugin with the Nagios API: 0 is well, 1 is a warning, 2 and 3 are not. No shell."""

    argv: tuple[str, ...]
    warning_fails: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpCheck(_Network):
    """Somebody accepts connections."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCheck(_Network):
    """A page is answered with one of these statuses (none given: 200 to 399) and this text."""

    host: str
    path: str = "/"
    tls: TlsUse | None = None
    statuses: tuple[int, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TalkCheck(_Network):
    """The server greets, and answers the protocol's first question."""

    protocol: Protocol
    starttls: bool = False
    tls: TlsUse | None = None  # from the first byte, unless `starttls`


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsCheck(_Network):
    """A name is resolved; `expect` is among the answers (empty: any answer will do)."""

    name: str
    type: str = "A"
    expect: str = ""
    over_tcp: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessCheck(_Check):
    """A process runs: the one in `pid_file`, or any of `executable`; both: the one of it."""

    pid_file: Path | None = None
    executable: Path | None = None


Check = (
    UnitCheck
    | CommandCheck
    | PluginCheck
    | TcpCheck
    | HttpCheck
    | TalkCheck
    | DnsCheck
    | ProcessCheck
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service that runs on the active only, in the configured order.

    Started and stopped by its systemd `unit`, or by the commands `start` and `stop` (argv, no
    shell). It runs when all `checks` say so; without any, when it was started.
    """

    name: str
    unit: str = ""
    start: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    start_timeout_ms: int = 30_000
    stop_timeout_ms: int = 30_000
    restarts: int = 3  # so often it is restarted where it is, within the window
    restart_window_ms: int = 600_000
    failover: bool = True  # when that does not help, the group moves to a standby in sync


@dataclass(frozen=True, slots=True, kw_only=True)
class Flapping:
    """A group that failed services moved so often within the window stays where it is."""

    moves: int = 3
    window_ms: int = 3_600_000
