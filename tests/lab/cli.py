"""scripts/lab."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from typing import Any

from lab import requirements
from lab.errors import LabError
from lab.lab import Lab
from lab.layout import PROFILES
from lab.network import __doc__ as links
from lab.state import State, default_directory


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lab", description="Four hosts on this machine: a, b (replicas), w (witness), client."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="build the lab and power all hosts on")
    up.add_argument(
        "--profile", choices=[*PROFILES], default="default", help="the timing of its cluster"
    )
    up.add_argument(
        "--no-witness",
        action="store_true",
        help="two replicas only; each can turn the other off (fence agent tests/lab/fence_lab)",
    )
    commands.add_parser("down", help="end everything that the lab started")
    status = commands.add_parser("status", help="hosts, their units, cut links")
    status.add_argument("--json", action="store_true")
    execute = commands.add_parser("exec", help="run a command in a host, or in the switch")
    execute.add_argument("host")
    execute.add_argument("argv", nargs=argparse.REMAINDER, metavar="COMMAND...")
    for name in ("cut", "heal"):
        command = commands.add_parser(
            name,
            help=f"{name} a link",
            description=links,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_argument("link")
        command.add_argument(
            "--from", dest="sender", metavar="HOST", help="only what this host sends"
        )
        command.add_argument("--port", type=int, help="only TCP packets to this port")
    power = commands.add_parser("power", help="cut a host's power, or give it back")
    power.add_argument("state", choices=("on", "off"))
    power.add_argument("host")
    return parser


def _become_root_of_a_namespace() -> None:
    """Without root: `up` makes a user namespace, all else enters that of the lab's switch."""
    state = State.load(default_directory().absolute())
    if state is not None and state.switch.alive:
        enter = [
            "nsenter",
            f"--target={state.switch.pid}",
            "--user",
            "--preserve-credentials",
            "--",
        ]
    else:
        requirements.check(may_use_user_namespace=True)
        enter = ["unshare", "--user", "--map-root-user", "--"]
    os.environ["STAQRAFT_LAB_DIR"] = str(default_directory())
    os.execvp(enter[0], [*enter, sys.executable, "-P", "-m", "lab.cli", *sys.argv[1:]])


def _print_status(status: dict[str, Any]) -> None:
    print(f"lab in {status['directory']}, disks: {status['disks']}")
    for name, host in status["hosts"].items():
        power = f"on, init is pid {host['init']}" if host["power"] else "off"
        units = [
            f"{unit} {how['state']} (pid {how['pid']}, starts: {how['starts']})"
            for unit, how in host.get("units", {}).items()
        ]
        print(f"  {name:8}{'; '.join([power, *units])}")
    for port in status["unplugged"]:
        print(f"  cable {port} is out")
    for direction in status["dropped"]:
        print(f"  dropped: {direction}")


def _execute(arguments: argparse.Namespace) -> int:
    match arguments.command:
        case "up":
            lab = Lab.create(profile=arguments.profile, witness=not arguments.no_witness)
            print(f"the lab is up in {lab.directory}")
        case "down":
            Lab.open().down()
        case "status":
            status = Lab.open().status()
            if arguments.json:
                print(json.dumps(status, indent=1))
            else:
                _print_status(status)
        case "exec":
            lab = Lab.open()
            argv = arguments.argv or ["/bin/bash"]
            terminal = {key: os.environ[key] for key in ("TERM",) if key in os.environ}
            return subprocess.run(
                [*lab.enter(arguments.host), *argv], env=lab.environment(terminal), check=False
            ).returncode
        case "cut":
            Lab.open().cut(arguments.link, arguments.sender, arguments.port)
        case "heal":
            Lab.open().heal(arguments.link, arguments.sender, arguments.port)
        case "power" if arguments.state == "on":
            Lab.open().power_on(arguments.host)
        case _:
            Lab.open().power_off(arguments.host)
    return 0


def main() -> int:
    """Exit 0, or 1 with a sentence; `exec` has the command's own exit code."""
    arguments = _parser().parse_args()
    try:
        if os.geteuid() != 0:
            _become_root_of_a_namespace()
        return _execute(arguments)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
