"""staqraftd: the daemon of a node."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from staqraft import __version__
from staqraft.cli.connection import DEFAULT_CONFIG
from staqraft.config.agents import Metadata
from staqraft.config.clusters import check_clusters
from staqraft.config.loader import check, load
from staqraft.config.schema import Config
from staqraft.errors import ActionError, StaqraftError
from staqraft.logs import setup
from staqraft.model import NodeId

Daemon = Callable[[Config], int]
Witness = Callable[[Path], int]

_ASK_MS = 3_000


def main(
    arguments: Sequence[str] | None = None,
    *,
    daemon: Daemon | None = None,
    witness: Witness | None = None,
) -> int:
    """Checks the configuration, or runs the node until told to stop; returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.clusters is not None:
        return _many(options.clusters, witness or _real_witness, only_check=options.check)
    node = None if options.node is None else NodeId(options.node)
    if options.check:
        return _checked(*check(options.config, node, ask_agent=_ask_agent, ask_unit=_ask_unit))
    setup()
    try:
        config = load(options.config, node)
        setup(config.log_level)
        return (daemon or _real_daemon)(config)
    except StaqraftError as error:
        print(f"staqraftd: {error}", file=sys.stderr)
        return error.exit_code


def _many(directory: Path, witness: Witness, *, only_check: bool) -> int:
    if only_check:
        return _checked(*check_clusters(directory))
    setup()
    return witness(directory)


def _checked(exit_code: int, lines: Sequence[str]) -> int:
    print("\n".join(lines), file=sys.stderr if exit_code else sys.stdout)
    if exit_code == 0:
        print("OK")
    return exit_code


def _ask_agent(agent: Path) -> Metadata:
    # Not before a device is configured: --check is to work where the daemon's libraries do not.
    from staqraft.actions.fence_agent import ask_metadata  # noqa: PLC0415

    return asyncio.run(ask_metadata(agent))


def _ask_unit(unit: str) -> str:
    from staqraft.actions.systemd import Systemd  # noqa: PLC0415 - as above

    try:
        return asyncio.run(Systemd().file_state(unit, _ASK_MS))
    except (ActionError, TimeoutError):
        return ""  # systemd does not run here, which is for others to find


def _real_witness(directory: Path) -> int:
    from staqraft.daemon.witness import main as run_witness  # noqa: PLC0415 - as below

    return run_witness(directory)


def _real_daemon(config: Config) -> int:
    # Not before it is needed: --check is to work where the daemon's libraries do not.
    from staqraft.daemon.node import main as run_node  # noqa: PLC0415

    return run_node(config)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="staqraftd",
        description="A node of a StaqRaft cluster. Runs in the foreground; use systemd.",
        epilog="exit codes: 0 stopped as asked, or the configuration is good; 2 the configuration"
        " is not usable; others as in 'staqctl --help'",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--clusters",
        type=Path,
        metavar="DIR",
        help="be the witness of many clusters: DIR/NAME/staqraft.yaml or DIR/NAME.yaml for each."
        " One that cannot be used is left out; SIGHUP reads all again",
    )
    which.add_argument(
        "--config",
        type=Path,
        default=DEFAULT_CONFIG,
        metavar="FILE",
        help=f"the configuration (default: {DEFAULT_CONFIG})",
    )
    parser.add_argument(
        "--node", metavar="NAME", help="which node this is, if the configuration leaves it"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="check the configuration, print OK or every problem as file:line, and end",
    )
    parser.add_argument("--version", action="version", version=f"staqraftd {__version__}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
