"""staqctl: what administrators ask of a cluster."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import traceback
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from staqraft import __version__
from staqraft.cli import commands, journal, quarantine, verify
from staqraft.cli.connection import DEFAULT_CONFIG, Refusal
from staqraft.cli.times import moment_ms
from staqraft.config.values import duration_ms
from staqraft.errors import StaqraftError

OWN_FAULT = 70  # EX_SOFTWARE of sysexits.h; never 1, which is an answer of 'status'
INTERRUPTED = 130

EXIT_CODES = """\
exit codes:
  0    done; for status: all is well
  1    status: the daemon answered, and something needs attention; verify: something differs;
       others: any other error
  2    wrong usage, request or configuration
  3    Raft cannot do it, or the outcome is unknown
  4    the journal cannot be read or written
  5    the replication stream failed
  6    a change could not be applied
  7    an address, service or fence action failed; the switchover was not done
  8    nobody is active, or the node asked is not
  9    the barrier was not reached in time
  10   the daemon does not answer
  11   a certificate cannot be made or used
  12   this software is too old for its cluster: upgrade this node
  70   staqctl itself failed, and says where
  130  interrupted
"""

Command = Callable[[argparse.Namespace], int | Coroutine[Any, Any, int]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options.run, options)
    except Refusal as error:
        exit_code = error.ends_with
        commands.report(str(error), exit_code, as_json=options.json)
    except StaqraftError as error:
        exit_code = error.exit_code
        commands.report(str(error), exit_code, as_json=options.json)
    except KeyboardInterrupt:
        exit_code = INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe has enough; Python would complain once more while it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        exit_code = commands.OK
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - told, not swallowed
        exit_code = OWN_FAULT
        traceback.print_exception(error)
        what = f"{type(error).__name__}: {error}".rstrip(": ")
        said = f"a fault of staqctl itself ({what}): please report it with the lines above"
        commands.report(said, exit_code, as_json=options.json)
    return exit_code


def _run(command: Command, options: argparse.Namespace) -> int:
    result = command(options)
    return result if isinstance(result, int) else asyncio.run(result)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="staqctl",
        description="Looks into and operates a StaqRaft cluster.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[_common()],
    )
    # The common options may stand before or after the command: only here do they have defaults
    # (argparse keeps them in the actions, so these are not shared with the commands').
    parser.set_defaults(
        config=None,
        node=None,
        socket=None,
        address=None,
        ca=None,
        cert=None,
        key=None,
        json=False,
        of_cluster="",
    )
    common = _common()
    parser.add_argument("--version", action="version", version=f"staqctl {__version__}")
    add = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run: Command, text: str) -> argparse.ArgumentParser:
        made = add.add_parser(name, help=text, description=text, parents=[common])
        made.set_defaults(run=run)
        return made

    command("status", commands.status, "Show the cluster as the daemon sees it.")
    command("clusters", commands.clusters, "Show the clusters of a witness for many.")
    _add_barrier(command)
    _add_switchover(command)
    _add_maintenance(add)
    _add_powers(command)
    _add_service(command)
    notify = command(
        "notify", commands.notify_test, "Send a test message to everybody under 'notify'."
    )
    notify.add_argument("what", choices=("test",), help="what to send")
    events = command("events", commands.events, "Show the history, oldest first.")
    events.add_argument("--follow", "-f", action="store_true", help="wait for new events")
    events.add_argument(
        "--after", type=_count, default=0, metavar="INDEX", help="only events behind this one"
    )
    _add_certs(add.add_parser("certs", help="Make the cluster's certificates."), common)
    _add_quarantine(command, common)
    _add_verify(command)
    _add_resync(command)
    _add_removals(add.add_parser("removals", help="Answer what a tree's 'removals' ask."), common)
    _add_journal(add.add_parser("journal", help="Look into the journal of changes."), common)
    return parser


def _add_barrier(command: Callable[[str, Command, str], argparse.ArgumentParser]) -> None:
    barrier = command(
        "barrier",
        commands.barrier,
        "Wait until everything written before now is durable on every in-sync replica.",
    )
    _group(barrier)
    _timeout(barrier, "10s")
    barrier.add_argument(
        "--min-replicas",
        type=_count,
        default=0,
        metavar="N",
        help="fail unless so many replicas, the active included, have it (default: 1)",
    )
    barrier.add_argument(
        "--anywhere",
        action="store_true",
        help="ask the active, wherever it is, about what was written there (default: fail unless"
        " this node is active, since a barrier elsewhere says nothing of what was written here)",
    )


def _add_switchover(command: Callable[[str, Command, str], argparse.ArgumentParser]) -> None:
    parser = command("switchover", commands.switchover, "Hand a group over to the other replica.")
    _group(parser)
    _timeout(parser, "60s")
    parser.add_argument("--to", default="", metavar="NODE", help="the replica to become active")
    parser.add_argument("--reason", default="", help="for the history")
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--at",
        type=_moment,
        default=0,
        metavar="TIME",
        help="not now but then: +2h, 03:00, or '2026-11-24 03:00' (this host's time zone); what is"
        " in its way for a minute by then drops it, with an event",
    )
    how.add_argument(
        "--cancel", action="store_true", help="give up what is scheduled, or still pending"
    )
    how.add_argument(
        "--dry-run",
        action="store_true",
        help="do nothing: show what would be done, step by step, and what is in its way",
    )


def _add_quarantine(
    command: Callable[[str, Command, str], argparse.ArgumentParser],
    common: argparse.ArgumentParser,
) -> None:
    parser = command(
        "quarantine", quarantine.listing, "Show what a returning node had to itself, on this host."
    )
    _group(parser)
    add = parser.add_subparsers(metavar="COMMAND")

    def below(name: str, run: Command, text: str) -> argparse.ArgumentParser:
        made = add.add_parser(name, help=text, description=text, parents=[common])
        made.set_defaults(run=run)
        _group(made, argparse.SUPPRESS)  # what was given before the command stays
        return made

    below("list", quarantine.listing, "List what is in quarantine on this host (the default).")
    restore = below(
        "restore",
        quarantine.restore,
        "Bring objects back: to where they were (on the active only), or elsewhere.",
    )
    restore.add_argument("--all", action="store_true", help="everything in quarantine here")
    restore.add_argument(
        "--to",
        type=Path,
        metavar="PATH",
        help="to this file, or below this directory; outside of the trees also on a standby",
    )
    restore.add_argument(
        "--force",
        action="store_true",
        help="put what stands there now into quarantine instead of leaving it alone",
    )
    drop = below("drop", quarantine.drop, "Remove objects from quarantine for good.")
    drop.add_argument("--all", action="store_true", help="everything in quarantine here")
    drop.add_argument(
        "--older-than",
        type=_duration,
        metavar="TIME",
        help="everything that is there for longer than this, for instance 30d",
    )
    for made in (restore, drop):
        made.add_argument(
            "ids", nargs="*", metavar="ID", help="as listed; its beginning will do if it is enough"
        )


def _add_verify(command: Callable[[str, Command, str], argparse.ArgumentParser]) -> None:
    parser = command(
        "verify", verify.verify, "Compare what is on the disks of both replicas, object by object."
    )
    _group(parser)
    parser.add_argument(
        "--tree",
        action="append",
        default=[],
        dest="trees",
        metavar="NAME",
        help="only this tree; may be given several times",
    )
    parser.add_argument(
        "--deep",
        action="store_true",
        help="read every file on both sides (default: those only that are not as recorded)",
    )
    parser.add_argument(
        "--repair", action="store_true", help="fetch what differs from the active, whole"
    )


def _add_resync(command: Callable[[str, Command, str], argparse.ArgumentParser]) -> None:
    parser = command(
        "resync",
        commands.resync,
        "Have a standby leave the in-sync set, compare its trees with the active's, and take over"
        " what differs.",
    )
    _group(parser)
    parser.add_argument("target", metavar="NODE", help="the standby")
    parser.add_argument(
        "--tree",
        action="append",
        default=[],
        dest="trees",
        metavar="NAME",
        help="look at the files of this tree only; the others are compared by what is recorded of"
        " them; may be given several times",
    )
    parser.add_argument(
        "--from-scratch",
        action="store_true",
        help="believe nothing that is recorded: read every file; what is not as on the active goes"
        " to quarantine before it is replaced",
    )


def _add_removals(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    text = (
        "What vanished from a tree was meant to: the standby removes it, too. Also said before a"
        " large clean-up, so that nobody is asked."
    )
    allow = parser.add_subparsers(metavar="COMMAND", required=True).add_parser(
        "allow", help=text, description=text, parents=[common]
    )
    allow.set_defaults(run=commands.allow_removals)
    allow.add_argument("tree", metavar="TREE", help="the tree, as 'staqctl status' names it")


def _add_journal(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    text = "Show the newest records of this host's journal, on either replica."
    tail = parser.add_subparsers(metavar="COMMAND", required=True).add_parser(
        "tail", help=text, description=text, parents=[common]
    )
    tail.set_defaults(run=journal.tail)
    _group(tail)
    tail.add_argument(
        "-n",
        "--lines",
        dest="count",
        type=_count,
        default=journal.LAST,
        metavar="N",
        help=f"how many (default: {journal.LAST})",
    )
    tail.add_argument("--follow", "-f", action="store_true", help="wait for new ones")
    tail.add_argument("--tree", default="", metavar="NAME", help="only of this tree")
    tail.add_argument(
        "--path",
        default="",
        metavar="GLOB",
        help="only of paths like this, below the tree's root, for instance 'shop/*.php' (a * also"
        " stands for slashes); a record that moves or links such a path counts, too",
    )


def _add_service(command: Callable[[str, Command, str], argparse.ArgumentParser]) -> None:
    service = command(
        "service",
        commands.service_clear,
        "What failed is mended: forget how often services were restarted, and the group moved.",
    )
    service.add_argument("what", choices=("clear",), help="what to do")
    _group(service)


def _add_maintenance(add: Any) -> None:
    """Here --node is the one that is worked on; before the command it is what it is everywhere."""
    text = "While something is worked on, nobody is turned off and nothing is taken over."
    parser: argparse.ArgumentParser = add.add_parser(
        "maintenance", help=text, description=text, parents=[_common()], conflict_handler="resolve"
    )
    parser.set_defaults(run=commands.maintenance)
    parser.add_argument("setting", choices=("on", "off"), help="begin, or end")
    parser.add_argument(
        "--node",
        dest="maintained",
        default="",
        metavar="NODE",
        help="the replica that is worked on (default: the cluster; 'off' ends all then)",
    )
    parser.add_argument("--reason", default="", help="for status and history")


def _add_powers(command: Callable[[str, Command, str], argparse.ArgumentParser]) -> None:
    """What concerns a replica's power, and being active in spite of what is not known of it."""
    fence = command(
        "fence", commands.fence, "Have the other replica turn a replica off by its fence devices."
    )
    fence.add_argument("target", metavar="NODE", help="the replica to be turned off")
    fence.add_argument(
        "--confirm-off",
        action="store_true",
        help="turn nothing off: you made sure that it is off, and a takeover that waits goes on",
    )
    unfence = command("unfence", commands.unfence, "Have a replica turned on by its fence devices.")
    unfence.add_argument("target", metavar="NODE", help="the replica to be turned on")
    force = command(
        "force-active",
        commands.force_active,
        "Make this host's replica active although it may lack acknowledged changes.",
    )
    _group(force)
    force.add_argument("target", metavar="NODE", help="the replica of this host")
    force.add_argument(
        "--accept-data-loss",
        action="store_true",
        help="you made sure that the other replica is off, and give up what only it has",
    )


def _common() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    where = common.add_argument_group("which daemon")
    where.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help=f"its configuration (default: {DEFAULT_CONFIG}); names the socket and certificates",
    )
    where.add_argument(
        "--cluster",
        dest="of_cluster",
        metavar="NAME",
        help="of a witness for many clusters: which one ('staqctl clusters' lists them)",
    )
    where.add_argument("--node", metavar="NAME", help="this node, if the configuration leaves it")
    where.add_argument("--socket", type=Path, metavar="PATH", help="its admin socket on this host")
    where.add_argument(
        "--address", metavar="HOST:PORT", help="a node over the network, with --ca, --cert, --key"
    )
    where.add_argument("--ca", type=Path, metavar="FILE", help="the cluster's authority")
    where.add_argument("--cert", type=Path, metavar="FILE", help="an administrator's certificate")
    where.add_argument("--key", type=Path, metavar="FILE", help="its key")
    common.add_argument("--json", action="store_true", help="for programs: one object a line")
    return common


def _add_certs(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    add = parser.add_subparsers(metavar="COMMAND", required=True)
    init = add.add_parser("init", help="Make the certificate authority.", parents=[common])
    init.add_argument("cluster", help="the cluster's name")
    init.set_defaults(run=commands.certs_init)
    issue = add.add_parser("issue", help="Make certificates of nodes.", parents=[common])
    issue.add_argument("names", nargs="+", metavar="NAME", help="the node's name")
    issue.add_argument(
        "--admin", action="store_true", help="the names are administrators, for use over TCP"
    )
    issue.set_defaults(run=commands.certs_issue)
    for made in (init, issue):
        made.add_argument(
            "--directory",
            "-d",
            type=Path,
            default=Path(),
            metavar="DIR",
            help="where the authority is kept (default: the current directory)",
        )
        made.add_argument("--days", type=_count, help="validity")
        made.add_argument("--force", action="store_true", help="replace what exists")


def _group(parser: argparse.ArgumentParser, default: str = "") -> None:
    parser.add_argument("--group", "-g", default=default, help="the group, if there are several")


def _timeout(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--timeout",
        type=_duration,
        default=None,
        metavar="TIME",
        help=f"give up after this time, for instance 500ms or 30s (default: {default})",
    )


def _duration(text: str) -> int:
    try:
        return duration_ms(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from error


def _moment(text: str) -> int:
    try:
        return moment_ms(text, datetime.now())  # noqa: DTZ005 - this host's zone is meant
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from error


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
