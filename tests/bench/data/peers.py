"""Peers that are compared on request: they take long, and are set up with more ado."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from bench.data.hosts import PATH, Host, wait
from bench.data.systems import System
from lab.errors import LabError

UNISON_PORT: Final = 7001
CSYNC2_PORT: Final = 30865
SYNCTHING_PORT: Final = 22000
NOTHING_FAILED: Final = (0, 1)  # unison: 1 says that something was skipped, say a file that changed


class Unison(System):
    """Again and again, one way, between its own client and server."""

    name = "unison"
    durable = False
    package = "unison"

    def prepare(self) -> None:
        b = self.hosts.b
        b.start(["unison", "-socket", str(UNISON_PORT)], env=self._home(b))
        b.wait_listening(UNISON_PORT)

    def _home(self, host: Host) -> dict[str, str]:
        """Where it keeps its archives: on the host's disk."""
        home = host.disk / "unison"
        home.mkdir(exist_ok=True)
        return {"UNISON": str(home), "HOME": str(home), "UNISONLOCALHOSTNAME": host.name}

    def _command(self) -> list[str]:
        a, b = self.hosts.a, self.hosts.b
        roots = [str(a.tree), f"socket://{b.address}:{UNISON_PORT}/{b.tree}"]
        options = ["-batch", "-silent", "-times", "-owner", "-group", "-confirmbigdel=false"]
        ignored = ["-ignore", "Path */tmp/*"] if self.job.profile == "maildir" else []
        return ["unison", *roots, *options, "-force", str(a.tree), "-log=false", *ignored]

    def copy(self) -> None:
        self.hosts.a.run(self._command(), good=NOTHING_FAILED, env=self._home(self.hosts.a))

    def follow(self) -> None:
        loop = 'while "$@" || [ $? = 1 ]; do :; done'
        words = ["sh", "-c", loop, "sh", *self._command()]
        self.hosts.a.start(words, env=self._home(self.hosts.a))


class Csync2(System):
    """Again and again, from a to a daemon on b."""

    name = "csync2"
    durable = True  # it syncs every file
    package = "csync2"

    def prepare(self) -> None:
        both = self.hosts
        places = both.directory / "csync2"
        places.mkdir()
        a, b = both.a.address, both.b.address  # its names have to be known to the resolver
        (places / "key").write_text("a" * 64 + "\n")
        excluded = "exclude %tree%/*/tmp/*;" if self.job.profile == "maildir" else ""
        (places / "csync2.cfg").write_text(
            f"nossl * *;\n"
            f"prefix tree {{ on {a}: {both.a.tree}; on {b}: {both.b.tree}; }}\n"
            f"group bench {{\n"
            f"    host {a} {b};\n"
            f"    key {places}/key;\n    include %tree%;\n    {excluded}\n    auto first;\n}}\n"
        )
        for host in (both.a, both.b):
            (host.disk / "csync2").mkdir()
        both.b.start(self._command(both.b, "-ii"), env=self._place())
        both.b.wait_listening(CSYNC2_PORT)

    def _place(self) -> dict[str, str]:
        return {"CSYNC2_SYSTEM_DIR": str(self.hosts.directory / "csync2")}

    def _command(self, host: Host, *words: str) -> list[str]:
        return ["csync2", "-N", host.address, "-D", str(host.disk / "csync2"), *words]

    def copy(self) -> None:
        self.hosts.a.run(self._command(self.hosts.a, "-x"), env=self._place())

    def follow(self) -> None:
        # A file that vanishes while it looks makes it fail; the next round is right.
        words = ["sh", "-c", 'while :; do "$@"; done', "sh", *self._command(self.hosts.a, "-x")]
        self.hosts.a.start(words, env=self._place())


class Syncthing(System):
    """With its shortest delay, one second; without discovery, relays and other ways out."""

    name = "syncthing"
    durable = True  # it syncs every file
    package = "syncthing"

    def prepare(self) -> None:
        both = self.hosts
        self._devices = {host.name: self._generate(host) for host in (both.a, both.b)}
        for host in (both.a, both.b):
            (self._home(host) / "config.xml").write_text(self._configuration(host))
            (host.tree / ".stfolder").mkdir()
            if self.job.profile == "maildir":
                (host.tree / ".stignore").write_text("/*/tmp/*\n")
        for host in (both.b, both.a):
            home = str(self._home(host))
            host.start(
                ["syncthing", "serve", "--no-browser", "--no-restart", "--home", home],
                env={"HOME": home, "STNOUPGRADE": "1"},
            )
            host.wait((self._home(host) / "gui.sock").exists, "syncthing runs")
        wait(self._connected, "both syncthings are connected")

    def _home(self, host: Host) -> Path:
        return self.hosts.directory / f"syncthing-{host.name}"

    def _generate(self, host: Host) -> str:
        """Makes its keys; what its device is called then."""
        self._once(host, "generate", "--no-default-folder", "--skip-port-probing")
        return self._once(host, "--device-id").strip()

    def _once(self, host: Host, *words: str) -> str:
        home = str(self._home(host))
        done = subprocess.run(
            ["syncthing", *words, "--home", home],
            env={"PATH": PATH, "HOME": home},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise LabError(f"syncthing {words[0]}: {done.stderr.strip() or done.stdout}")
        return done.stdout

    def _configuration(self, host: Host) -> str:
        devices = "".join(
            f'<device id="{self._devices[each.name]}" name="{each.name}" compression="metadata">'
            f"<address>tcp://{each.address}:{SYNCTHING_PORT}</address></device>"
            for each in (self.hosts.a, self.hosts.b)
        )
        members = "".join(f'<device id="{device}"/>' for device in self._devices.values())
        kind = "sendonly" if host.name == "a" else "receiveonly"
        return (
            '<configuration version="36">'
            f'<folder id="tree" path="{host.tree}" type="{kind}" rescanIntervalS="3600"'
            ' fsWatcherEnabled="true" fsWatcherDelayS="1">'
            f"<filesystemType>basic</filesystemType>{members}<markerName>.stfolder</markerName>"
            f'</folder>{devices}<gui enabled="true"><address>{self._home(host)}/gui.sock'
            f"</address><apikey>{KEY}</apikey></gui><options>"
            f"<listenAddress>tcp://{host.address}:{SYNCTHING_PORT}</listenAddress>"
            "<globalAnnounceEnabled>false</globalAnnounceEnabled>"
            "<localAnnounceEnabled>false</localAnnounceEnabled><relaysEnabled>false</relaysEnabled>"
            "<natEnabled>false</natEnabled><urAccepted>-1</urAccepted><startBrowser>false"
            "</startBrowser><crashReportingEnabled>false</crashReportingEnabled>"
            "<autoUpgradeIntervalH>0</autoUpgradeIntervalH><setLowPriority>false</setLowPriority>"
            "<reconnectionIntervalS>1</reconnectionIntervalS></options></configuration>"
        )

    def _ask(self, host: Host, path: str, *, method: str = "GET", **words: str) -> Any:
        connection = _OverSocket(str(self._home(host) / "gui.sock"))
        try:
            target = f"/rest/{path}?{urlencode(words)}"
            connection.request(method, target, headers={"X-API-Key": KEY})
            said = connection.getresponse().read()
        except OSError:
            return {}
        finally:
            connection.close()
        return json.loads(said) if said.strip() else {}

    def _connected(self) -> bool:
        found = self._ask(self.hosts.a, "system/connections").get("connections", {})
        return bool(found.get(self._devices["b"], {}).get("connected"))

    def copy(self) -> None:
        self._ask(self.hosts.a, "db/scan", method="POST", folder="tree")
        wait(self._complete, "syncthing has copied", self.job.limit_s, every_s=0.05)

    def _complete(self) -> bool:
        a, b = self.hosts.a, self.hosts.b
        if self._ask(a, "db/status", folder="tree").get("state") != "idle":
            return False
        here, there = (self._ask(host, "db/status", folder="tree") for host in (a, b))
        return bool(
            there.get("state") == "idle"
            and there.get("needTotalItems") == 0
            and there.get("globalFiles") == here.get("localFiles")
            and there.get("globalBytes") == here.get("localBytes")
        )


KEY: Final = "bench"


class _OverSocket(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("syncthing", timeout=5)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(5)
        self.sock.connect(self._path)
