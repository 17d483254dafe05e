"""scripts/bench."""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys

from command_line import run_command
from lab.errors import LabError, MissingError

COMMANDS = {
    "data": "bench.data.command",
    "scale": "bench.scale",
    "witness": "bench.witness",
    "failover": "bench.failover",
    "availability": "bench.availability",
    "readme": "bench.readme",
}

USUAL = "data"


def main() -> int:
    """Exit 0: measured, and every target met; 1: not; 2: the machine lacks something."""
    parser = argparse.ArgumentParser(prog="bench", description="Measures what StaqRaft promises.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, place in COMMANDS.items():
        module = importlib.import_module(place)
        command = commands.add_parser(name, help=module.HELP, description=module.__doc__)
        command.add_argument("--json", action="store_true", help="one JSON object a line")
        if getattr(module, "RECORDS", True):
            command.add_argument(
                "--no-record", action="store_true", help="add no line to tests/bench/history.jsonl"
            )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    words = sys.argv[1:]
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help")):
        words = [USUAL, *words]
    arguments = parser.parse_args(words)
    try:
        code: int = arguments.run(arguments)
    except MissingError as missing:
        print(f"bench: {missing}", file=sys.stderr)
        return 2
    except (LabError, subprocess.SubprocessError) as failure:
        print(f"bench: FAILED: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted; nothing is recorded", file=sys.stderr)
        return 130
    return code


if __name__ == "__main__":
    sys.exit(run_command(main))
