"""Six workloads by StaqRaft and its peers in turn, as users of the standby see them.

A figure is a median. "to best" compares with the best peer whose copies are as durable, "to
fastest" with the fastest of all: below 1 is better, and differences under 1.5 are ties.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench import record
from bench.data import content, figures, history, measure, packages, pays, plots, stream, table
from bench.data.hosts import alone
from bench.data.ours import StaqRaft
from bench.data.peers import Csync2, Syncthing, Unison
from bench.data.results import Run
from bench.data.systems import Lsyncd, LsyncdFsync, Rsync, RsyncFsync, RsyncSync, System, Tar
from bench.data.workloads import WORKLOADS
from command_line import positive

HELP = "live replication beside rsync, lsyncd and others: times, bytes, processor time"
PEERS: Final[dict[str, type[System]]] = {
    kind.name: kind
    for kind in (
        Rsync,
        RsyncFsync,
        Tar,
        Lsyncd,
        RsyncSync,
        LsyncdFsync,
        Unison,
        Csync2,
        Syncthing,
    )
}
PARTS: Final = {
    **{key: kind.what for key, kind in WORKLOADS.items()},
    stream.KEY: stream.WHAT,
    "pays": "what a writer pays on W1 and W3, with and without StaqRaft",
}
USUAL: Final = ("rsync", "rsync-fsync", "tar", "lsyncd")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `bench data`."""
    parser.add_argument(
        "--only", type=_names(PARTS), default=list(PARTS), help=f"of {','.join(PARTS)}"
    )
    parser.add_argument(
        "--peers",
        type=_names({**PEERS, "none": None, "all": None}),
        default=list(USUAL),
        help=f"of {','.join(PEERS)}; all, none (default: {','.join(USUAL)})",
    )
    parser.add_argument(
        "--plot",
        type=Path,
        nargs="?",
        const=Path("bench-plots"),
        metavar="DIRECTORY",
        help="draw a PNG of each workload there (bench-plots); needs matplotlib",
    )
    parser.add_argument("--repeat", type=positive, default=3, help="runs of each, in turn (3)")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="of the workloads; but 1 is not recorded"
    )


def _names(known: Any) -> Any:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
        return names

    return parse


def chosen(peers: list[str]) -> list[type[System]]:
    """StaqRaft and those of its peers."""
    names = [] if "none" in peers else list(PEERS) if "all" in peers else peers
    return [StaqRaft, *(PEERS[name] for name in names)]


def run(arguments: argparse.Namespace) -> int:
    """Exit code 1 if a target was missed, or a figure became worse than it was."""
    circumstances = record.circumstances()
    kinds = chosen(arguments.peers)
    if arguments.plot:
        plots.check()
    packages.install(kind.package for kind in kinds)
    alone()
    with tempfile.TemporaryDirectory(prefix="sr-bench-") as directory:
        pool = content.make_pool(Path(directory) / "pool", arguments.scale)
        runs = _all_runs(arguments, kinds, pool)
    found = figures.lines(runs)
    _say(found, arguments)
    if arguments.plot:
        for path in plots.draw(runs, {**PARTS, **pays.KEYS}, arguments.plot):
            print(f"bench: drawn: {path}", file=sys.stderr)
    if arguments.scale != 1:
        return 0
    missed = figures.misses(found)
    worse = history.regressions(found, history.last(record.HISTORY))
    if not arguments.no_record:
        record.append({**circumstances, **history.entry(found, arguments.repeat)})
    for sentence in missed:
        print(f"bench: missed: {sentence}", file=sys.stderr)
    for sentence in worse:
        print(f"bench: worse than before: {sentence}", file=sys.stderr)
    return 1 if missed or worse else 0


def _all_runs(arguments: argparse.Namespace, kinds: list[type[System]], pool: Path) -> list[Run]:
    runs = []
    for part in arguments.only:
        for number in range(1, arguments.repeat + 1):
            for one in _in_turn(part, kinds, pool, arguments.scale):
                done = one()
                runs.append(done)
                shown = done.problem or ", ".join(
                    f"{f.measure} {f.value:.4g} {f.unit}" for f in done.figures
                )
                line = f"bench: {done.workload} {number}: {done.system}: {shown}"
                print(line, file=sys.stderr, flush=True)
    return runs


def _in_turn(
    part: str, kinds: list[type[System]], pool: Path, scale: float
) -> Iterator[Callable[[], Run]]:
    """What is to be run once for one repetition."""
    if part == stream.KEY:
        yield partial(stream.run, pool, scale)
    elif part == "pays":
        for key in pays.KEYS:
            for who in pays.WITH:
                yield partial(pays.run, key, who, pool, scale)
    else:
        workload = WORKLOADS[part](scale)
        for kind in kinds:
            if kind.follows or not workload.live:
                yield partial(measure.run, workload, kind, pool)


def _say(found: list[figures.Line], arguments: argparse.Namespace) -> None:
    if arguments.json:
        for line in found:
            scaled = {} if arguments.scale == 1 else {"scale": arguments.scale}
            print(json.dumps({**line.to_json(), **scaled}))
        return
    if arguments.scale != 1:
        print(f"At {arguments.scale:g} of the workloads' size: not comparable, not recorded.\n")
    print(table.render(found, {**PARTS, **pays.KEYS}))
