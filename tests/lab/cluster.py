"""StaqRaft in the lab: its configuration, certificates, daemons and `staqctl`, as an administrator
has them.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import nginx, second
from lab.errors import LabError
from lab.lab import Lab
from lab.layout import (
    HOSTS,
    MEMBERS,
    NETWORKS,
    PAIR,
    PROFILES,
    REPLICAS,
    TREES,
    VIP,
    VIP_INTERFACE,
)
from lab.processes import TESTS, wait_until

NAME = "lab"
GROUP = "default"
CONFIGURATION = "/etc/staqraft/staqraft.yaml"
DAEMON = "staqraftd"
FENCE_AGENT = TESTS / "lab" / "fence_lab"
ASK_EVERY_S = 0.25  # each staqctl is a Python of its own: not to load what is measured
ALL_IS_WELL, NEEDS_ATTENTION = 0, 1  # exit codes of `staqctl status`
Status = dict[str, Any]


def program(name: str, module: str) -> list[str]:
    """An installed program of ours, else its module in this checkout."""
    installed = Path(sys.executable).parent / name
    return [str(installed)] if installed.exists() else [sys.executable, "-m", module]


STAQCTL = program("staqctl", "staqraft.cli.staqctl")
STAQRAFTD = program("staqraftd", "staqraft.cli.staqraftd")


def configuration(
    node: str,
    initial_active: str = "a",
    profile: str = "default",
    *,
    members: Iterable[str] = MEMBERS,
    devices: bool = False,
    more: dict[str, Any] | None = None,
) -> str:
    """staqraft.yaml of a node. JSON is YAML, so nothing else is needed to write it.

    With `devices` either replica can turn the other off. `more`: what the group says besides, or,
    under the key of a second group, that group.
    """
    nodes = {
        name: {
            "role": HOSTS[name].role,
            "rings": {n: HOSTS[name].address(n) for n in NETWORKS if n in HOSTS[name].networks},
        }
        for name in members
    }
    group = {
        "initial_active": initial_active,
        "trees": {name: {"path": path, "profile": kind} for name, (path, kind) in TREES.items()},
        "vips": [{"address": f"{VIP}/24", "interface": VIP_INTERFACE}],
        "services": {
            "nginx": {
                "start": nginx.START,
                "stop": nginx.STOP,
                "check": nginx.CHECK,
                "start_timeout": "5s",
                "stop_timeout": "5s",
            }
        },
    }
    more = dict(more or {})
    groups = {GROUP: group}
    if (other := more.pop(second.GROUP, None)) is not None:
        groups[second.GROUP] = other
    group.update(more)
    tls = {
        "ca": "/etc/staqraft/tls/ca.pem",
        "certificate": f"/etc/staqraft/tls/{node}.pem",
        "key": f"/etc/staqraft/tls/{node}.key",
    }
    text = {
        "cluster": NAME,
        "node": node,
        "nodes": nodes,
        "tls": tls,
        "groups": groups,
        **PROFILES[profile],
        **({} if "w" in nodes else {"pair": PAIR}),
        **({"fencing": {name: fence_device(name) for name in REPLICAS}} if devices else {}),
    }
    return json.dumps(text, indent=2) + "\n"


def fence_device(node: str) -> dict[str, Any]:
    """How a replica is turned off, for `fencing`."""
    strip = {"agent": str(FENCE_AGENT), "plug": node, "timeout": "15s"}
    return {"delay": "1s", "monitor": "2s", "devices": {"strip": strip}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An object in quarantine."""

    tree: str
    path: bytes
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Barrier:
    """What `staqctl barrier` said."""

    seq: int
    replicas: tuple[str, ...]
    degraded: bool
    elapsed_ms: float


class Cluster:
    """Two replicas, and a witness where there is one, on the hosts of a lab."""

    def __init__(self, lab: Lab, more: dict[str, Any] | None = None) -> None:
        """`more`: see `configuration`."""
        self.lab = lab
        self.more = more or {}

    # --- setting up ---------------------------------------------------------------------------

    def install(self) -> None:
        """Certificates, configuration and empty trees on every member."""
        authority = self.lab.directory / "ca"
        self._certs("init", NAME, "--directory", str(authority))
        self._certs("issue", *self.lab.members, "--directory", str(authority))
        for node in self.lab.members:
            etc = self.lab.host_directory(node) / "etc"
            (etc / "tls").mkdir()
            for file in ("ca.pem", f"{node}.pem", f"{node}.key"):
                shutil.copy2(authority / file, etc / "tls" / file)
            self.configure(node)
        for node in REPLICAS:
            (self.lab.host_directory(node) / "etc" / "nginx.conf").write_text(nginx.TEXT)
            if second.GROUP in self.more:
                sites = self.lab.host_directory(node) / "etc" / Path(second.CONFIGURATION).name
                sites.write_text(second.NGINX)
                self.lab.run(node, ["mkdir", "-p", second.TREE])
            self.lab.run(node, self.lab.module("workload", "prepare"))

    def configure(self, node: str, *, devices: bool = True) -> None:
        """Writes a node's staqraft.yaml; fence devices are for replicas without a witness only."""
        text = configuration(
            node,
            profile=self.lab.profile,
            members=self.lab.members,
            devices=devices and not self.lab.has_witness,
            more=self.more,
        )
        path = self.lab.host_directory(node) / "etc" / "staqraft.yaml"
        path.write_text(text, encoding="utf-8")

    def _certs(self, *words: str) -> None:
        argv = [*STAQCTL, "certs", *words]
        done = subprocess.run(
            argv,
            env={**os.environ, **self.lab.environment()},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise LabError(
                f"{' '.join(argv)} ended with {done.returncode}\n{done.stdout}{done.stderr}"
            )

    def start(self) -> None:
        """Starts the daemons, now and at every boot."""
        argv = [*STAQRAFTD, "--config", CONFIGURATION]
        for node in self.lab.members:
            self.lab.enable(node, DAEMON, argv)

    # --- staqctl ------------------------------------------------------------------------------

    def ctl(self, node: str, *words: str, timeout_s: float = 60.0) -> str:
        """Runs staqctl on a node; LabError with what it said when it fails."""
        argv = [*STAQCTL, "--config", CONFIGURATION, *words]
        return self.lab.run(node, argv, timeout_s=timeout_s).stdout

    def status(self, node: str) -> Status | None:
        """`staqctl status --json`; None when the node's daemon does not answer."""
        if not self.lab.has_power(node):
            return None
        argv = [*STAQCTL, "--config", CONFIGURATION, "status", "--json"]
        done = self.lab.run(node, argv, check=False, timeout_s=60)
        if done.returncode not in (ALL_IS_WELL, NEEDS_ATTENTION):
            return None
        if not done.stdout:
            raise LabError(f"'staqctl status' on {node} failed: {done.stderr}")
        answer: Status = json.loads(done.stdout)
        return answer

    def quarantine(self, node: str) -> list[Kept]:
        """`staqctl quarantine list --json`."""
        entries = json.loads(self.ctl(node, "quarantine", "list", "--json"))["entries"]
        return [
            Kept(
                tree=entry["tree"],
                path=base64.b64decode(entry["path"]),
                content=self._read(node, base64.b64decode(entry["kept_path"])),
            )
            for entry in entries
        ]

    def _read(self, node: str, path: bytes) -> bytes:
        """The content of a file on a host's disk; b"" of anything else."""
        there = Path(f"{self.lab.root(node)}{os.fsdecode(path)}")
        return there.read_bytes() if stat.S_ISREG(there.lstat().st_mode) else b""

    def group(self, node: str, name: str = GROUP) -> Status:
        """A group as this node sees it; {} when it does not answer."""
        status = self.status(node) or {}
        groups: list[Status] = status.get("groups", [])
        return next((group for group in groups if group["group"] == name), {})

    def events(self, node: str) -> list[Status]:
        """The history as this node has it, oldest first."""
        return [json.loads(line) for line in self.ctl(node, "events", "--json").splitlines()]

    def barrier(self, node: str) -> Barrier:
        """`staqctl barrier`."""
        answer = json.loads(self.ctl(node, "barrier", "--json"))
        return Barrier(
            seq=int(answer["position"].get("seq", 0)),
            replicas=tuple(sorted(answer.get("replicas", []))),
            degraded=bool(answer.get("degraded", False)),
            elapsed_ms=int(answer.get("elapsed_us", 0)) / 1000,
        )

    # --- conditions ---------------------------------------------------------------------------

    def wait_active(self, node: str, timeout_s: float = 60.0) -> Status:
        """Until `node` says that it is active and holds the VIP; its group."""
        return self.wait_group(
            node, lambda g: is_serving(g, node), timeout_s, f"{node} is active with the VIP"
        )

    def wait_protected(self, active: str, timeout_s: float = 60.0) -> Status:
        """Until both replicas are in the in-sync set and the standby follows; the active's group.

        The set alone would not do: who has just left stays in it until a barrier or the time-out
        for silent members takes it out.
        """
        return self.wait_group(
            active,
            lambda g: is_serving(g, active) and is_followed(g),
            timeout_s,
            f"{active} is active, and the other replica is in sync and follows",
        )

    def wait_applied(self, standby: str, seq: int, timeout_s: float = 60.0) -> None:
        """Until the standby has applied the journal up to `seq` to its trees."""

        def applied(group: Status) -> bool:
            position = group.get("trees", {}).get("applied", {})
            return int(position.get("seq", 0)) >= seq

        self.wait_group(
            standby, applied, timeout_s, f"{standby} has applied everything up to {seq}"
        )

    def wait_well(self, node: str, timeout_s: float = 60.0) -> str:
        """What `staqctl status` prints, once it says that all is well.

        The replicas tell each other a moment after they are in sync that they could take over.
        """
        said = ""

        def well() -> bool:
            nonlocal said
            argv = [*STAQCTL, "--config", CONFIGURATION, "status"]
            done = self.lab.run(node, argv, check=False)
            said = done.stdout + done.stderr
            return done.returncode == ALL_IS_WELL

        try:
            wait_until(well, timeout_s, f"all is well on {node}", every_s=ASK_EVERY_S)
        except LabError as error:
            raise LabError(f"{error}\n{said}") from None
        return said

    def wait_group(
        self, node: str, holds: Callable[[Status], bool], timeout_s: float, what: str
    ) -> Status:
        """Until the node's group is as wished; LabError shows its last status."""
        last: Status = {}

        def asked() -> bool:
            nonlocal last
            last = self.group(node)
            return bool(last) and holds(last)

        try:
            wait_until(asked, timeout_s, what, every_s=ASK_EVERY_S)
        except LabError as error:
            raise LabError(
                f"{error}\nthe last status of {node}: {json.dumps(last, indent=1)}"
            ) from None
        return last


def is_followed(group: Status) -> bool:
    """By the active's word the standby is in sync, and its session is alive."""
    sessions = [peer.get("state") for peer in group.get("stream", {}).get("peers", [])]
    return sorted(group.get("in_sync", [])) == list(REPLICAS) and sessions == [
        "SESSION_STATE_STREAMING"
    ]


def is_serving(group: Status, node: str) -> bool:
    """By the node's own word it is active, its kernel holds the VIP, and lets clients through."""
    return (
        group.get("active") == node
        and group.get("phase") == "active"
        and group.get("gate", "") in ("", "open")  # "": there is none
        and all(vip.get("held") for vip in group.get("vips", []))
    )
