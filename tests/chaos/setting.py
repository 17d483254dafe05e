"""What the cluster of a chaos run has besides that of the lab: a nginx that takes files, a mailer,
a service that may not stop, fence devices if wanted, and wall clocks that can jump.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from chaos import clocks
from lab import nginx
from lab.cluster import CONFIGURATION as DAEMON_CONFIGURATION
from lab.cluster import DAEMON, STAQRAFTD, Cluster, fence_device
from lab.lab import Lab
from lab.layout import REPLICAS

PAGES = "/srv/www/chaos"
MAILER_PORT = 2424
MAILER_PID = "/run/mailer.pid"
PROCESSES = {"nginx": "nginx: ", "mailer": "chaos.mailer"}  # words of their command lines
STOP = str(Path(__file__).with_name("stop_service"))

_SERVER = """
        root /srv/www;
        location /chaos/ {
            dav_methods PUT;
            add_header X-Host $hostname always;
        }
"""
_MAILER = ["start-stop-daemon", "--quiet", "--pidfile", MAILER_PID]


def install(cluster: Cluster, *, devices: bool, steady_s: float) -> dict[str, dict[str, str]]:
    """Changes what `Cluster.install` has written; the environment of each member's daemon."""
    lab = cluster.lab
    environments: dict[str, dict[str, str]] = {
        node: clocks.install(lab, node) for node in lab.members
    }
    for node in lab.members:
        path = lab.host_directory(node) / "etc" / "staqraft.yaml"
        text = json.loads(path.read_text(encoding="utf-8"))
        _change(text, devices=devices)
        text["health"] = {"steady": f"{steady_s:g}s"}
        path.write_text(json.dumps(text, indent=2) + "\n", encoding="utf-8")
        set_stubborn(lab, node, "")
    for node in REPLICAS:
        text = nginx.TEXT.replace("\n        root /srv/www;\n", _SERVER)
        (lab.host_directory(node) / "etc" / "nginx.conf").write_text(text, encoding="utf-8")
    return environments


def _change(text: dict[str, Any], *, devices: bool) -> None:
    services = text["groups"]["default"]["services"]
    services["nginx"]["stop"] = [
        STOP, "--pidfile", nginx.PIDFILE, "--retry", "QUIT/1/TERM/2/KILL/2", "--name", "nginx",
    ]  # fmt: skip
    text["groups"]["default"]["services"] = {
        "mailer": {
            "start": [
                *_MAILER, "--start", "--oknodo", "--background", "--make-pidfile", "--exec",
                sys.executable, "--", "-P", "-m", "chaos.mailer",
            ],
            "stop": [
                *_MAILER, "--stop", "--oknodo", "--retry", "TERM/1/KILL/2", "--remove-pidfile",
            ],
            "check": [*_MAILER, "--status"],
            "start_timeout": "5s",
            "stop_timeout": "5s",
        },
        **services,
    }  # fmt: skip
    if devices:
        text["fencing"] = {name: fence_device(name) for name in REPLICAS}


def start(cluster: Cluster, environments: dict[str, dict[str, str]]) -> None:
    """Starts the daemons, now and at every boot."""
    argv = [*STAQRAFTD, "--config", DAEMON_CONFIGURATION]
    for node in cluster.lab.members:
        cluster.lab.enable(node, DAEMON, argv, environment=environments[node])


def set_stubborn(lab: Lab, host: str, mood: str) -> None:
    """What the stop command of a host's nginx does: "" (it stops), "refusing" or "hanging"."""
    (lab.host_directory(host) / "etc" / "stubborn").write_text(mood, encoding="ascii")
