"""staqraft-data: a process of a group's data worker, started and watched by staqraftd."""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from staqraft.cli.connection import DEFAULT_CONFIG
from staqraft.config.loader import load
from staqraft.config.schema import Config
from staqraft.errors import ConfigError, StaqraftError
from staqraft.logs import setup
from staqraft.model import GroupId, NodeId
from staqraft.wire import tls

_PR_SET_PDEATHSIG = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the process until it is told to stop; returns the exit code."""
    options = _parser().parse_args(arguments)
    node = None if options.node is None else NodeId(options.node)
    setup()
    if options.parent is not None and not end_with(options.parent):
        return 0  # the daemon that wanted this process is gone already
    try:
        config = load(options.config, node)
        setup(config.log_level)
        group = GroupId(options.group)
        if group not in config.groups:
            raise ConfigError([f"there is no group {group!r} in {options.config}"])
        return _run(options.process, config, group)
    except StaqraftError as error:
        print(f"staqraft-data {options.process}: {error}", file=sys.stderr)
        return error.exit_code


def _run(process: str, config: Config, group: GroupId) -> int:
    tls.expect_members(config.addresses)
    # Each process loads only what it needs: the stream's is to stay small and quick to start.
    if process == "trees":
        from staqraft.daemon.trees_worker import main as run_trees  # noqa: PLC0415

        return run_trees(config, group)
    from staqraft.daemon.stream_worker import main as run_stream  # noqa: PLC0415

    return run_stream(config, group)


def end_with(parent: int) -> bool:
    """Lets the kernel send SIGTERM when the daemon dies, however it dies; False if it has.

    A process that outlives its daemon would hold the journal and the sockets of its successor.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    return os.getppid() == parent


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="staqraft-data",
        description="A process of a group's data worker. staqraftd starts it; you need not.",
    )
    parser.add_argument(
        "process", choices=("trees", "stream"), help="capture and apply, or send and receive"
    )
    parser.add_argument(
        "--config",
        type=Path,
        default=DEFAULT_CONFIG,
        metavar="FILE",
        help=f"the configuration (default: {DEFAULT_CONFIG})",
    )
    parser.add_argument("--group", required=True, help="the group")
    parser.add_argument("--node", help="this node, if the configuration does not say it")
    parser.add_argument("--parent", type=int, metavar="PID", help="the daemon to end with")
    return parser


if __name__ == "__main__":
    sys.exit(main())
