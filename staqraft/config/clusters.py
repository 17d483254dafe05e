"""The clusters that one witness process serves: a directory with each one's own configuration.

`<directory>/<anything>/staqraft.yaml` or `<directory>/<anything>.yaml`, one a cluster, read with
the same strictness as a node's only one. A cluster that cannot be used is left out and does not
keep the others from being served; what must be common to all (one port, one admin socket) is what
most of them say, or what the running process has already.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from staqraft.config.loader import read
from staqraft.config.schema import Config
from staqraft.config.tls import Clock, utc_now
from staqraft.errors import ConfigError
from staqraft.model import NodeId, NodeRole

FILE_NAME: Final = "staqraft.yaml"
SUFFIX: Final = ".yaml"
CALM_ELECTION_MS: Final = 1000  # shorter ones leave a shared process too little room
MANY: Final = 20  # with so many clusters that begins to matter


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all clusters of one process must have in common."""

    control_port: int
    metrics_port: int
    admin_socket: Path
    run_dir: Path

    @classmethod
    def of(cls, config: Config) -> Shared:
        """What this cluster's configuration says."""
        return cls(
            control_port=config.ports.control,
            metrics_port=config.ports.metrics,
            admin_socket=config.admin_socket,
            run_dir=config.run_dir,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Clusters:
    """The usable clusters by name, and why each of the other files is left out."""

    usable: Mapping[str, Config]
    left_out: Mapping[Path, tuple[str, ...]]
    warnings: tuple[str, ...]
    shared: Shared | None


def read_clusters(
    directory: Path,
    *,
    shared: Shared | None = None,
    clock: Clock = utc_now,
    starting: bool = True,
) -> Clusters:
    """What is in `directory` now. ConfigError when it cannot be listed.

    `shared`: what a running process has already, from which no cluster can differ.
    """
    configs: list[Config] = []
    left_out: dict[Path, tuple[str, ...]] = {}
    warnings: list[str] = []
    for path in cluster_files(directory):
        try:
            loaded = read(path, clock=clock, starting=starting)
        except ConfigError as error:
            left_out[path] = tuple(error.problems)
            continue
        configs.append(loaded.config)
        warnings += loaded.warnings
    if shared is None and configs:
        shared = _usual(configs)
    usable: dict[str, Config] = {}
    for config in configs:
        assert shared is not None, "there is a configuration, so there is what most of them say"
        if problems := [*_misfits(config, shared), *_taken(config, usable)]:
            left_out[config.source] = tuple(f"{config.source}: {text}" for text in problems)
        else:
            usable[config.cluster] = config
    warnings += (f"{c.source}: {w}" for c in usable.values() for w in _concerns(c, len(usable)))
    return Clusters(usable=usable, left_out=left_out, warnings=tuple(warnings), shared=shared)


def check_clusters(directory: Path, *, clock: Clock = utc_now) -> tuple[int, list[str]]:
    """What `--check` says of the whole directory: the exit code and the lines to print."""
    try:
        clusters = read_clusters(directory, clock=clock, starting=False)
    except ConfigError as error:
        return error.exit_code, error.problems
    problems = [line for lines in clusters.left_out.values() for line in lines]
    if not clusters.usable and not problems:
        problems = [nothing_in(directory)]
    if problems:
        return ConfigError.exit_code, problems
    names = ", ".join(clusters.usable)
    summary = f"{directory}: good as the witness of {len(clusters.usable)} clusters: {names}"
    return 0, [*clusters.warnings, summary]


def nothing_in(directory: Path) -> str:
    """What to do about a directory without any cluster."""
    return (
        f"{directory}: there is no cluster in it: make a directory for each, with its {FILE_NAME}"
        " (the one of its replicas, but for 'node' and 'tls')"
    )


def cluster_files(directory: Path) -> list[Path]:
    """The configurations in `directory`, sorted. ConfigError when it cannot be listed."""
    try:
        entries = sorted(directory.iterdir())
    except OSError as error:
        raise ConfigError([f"{directory}: cannot be listed ({error.strerror})"]) from error
    shown = [entry for entry in entries if not entry.name.startswith(".")]
    directories = [entry / FILE_NAME for entry in shown if entry.is_dir()]
    return [*directories, *(e for e in shown if not e.is_dir() and e.suffix == SUFFIX)]


def own_state(config: Config) -> Config:
    """The configuration with a state directory of its own below the one that all name."""
    return replace(config, state_dir=config.state_dir / "clusters" / config.cluster)


def _usual(configs: Iterable[Config]) -> Shared:
    """What most of them say; of equally many, the first in order of names."""
    counted = Counter(Shared.of(config) for config in configs)
    return max(counted, key=lambda shared: counted[shared])


def _misfits(config: Config, shared: Shared) -> Iterable[str]:
    if config.me.role is not NodeRole.WITNESS:
        yield (
            f"node: {config.node} is a replica of cluster {config.cluster}: one process for many"
            " clusters can only be their witness. Set 'node' to the witness's name"
        )
    own = Shared.of(config)
    for key, mine, theirs in (
        ("ports.control", own.control_port, shared.control_port),
        ("ports.metrics", own.metrics_port, shared.metrics_port),
        ("admin_socket", own.admin_socket, shared.admin_socket),
        ("run_dir", own.run_dir, shared.run_dir),
    ):
        if mine != theirs:
            yield (
                f"{key}: {mine} differs from the other clusters' {theirs}: one process has one."
                " Set it to theirs (a port on the replicas, too), or run a staqraftd of its own"
            )


def _taken(config: Config, usable: Mapping[str, Config]) -> Iterable[str]:
    if (other := usable.get(config.cluster)) is not None:
        yield (
            f"cluster: {config.cluster!r} is served from {other.source} already: leave one of the"
            " two, or rename a cluster (and make its certificates again)"
        )


def _concerns(config: Config, served: int) -> Iterable[str]:
    if diallers := [name for name in config.replicas if name > NodeId(config.node)]:
        yield (
            f"node: {', '.join(diallers)} of cluster {config.cluster} sort behind {config.node}, so"
            " they connect to it and not it to them, which costs a shared witness more: a witness"
            " named 'w' or 'z' is better"
        )
    raft = config.consensus
    if served >= MANY and raft.election_min_ms < CALM_ELECTION_MS:
        yield (
            f"consensus.election_min: {raft.election_min_ms} ms of {config.cluster} is short for a"
            f" witness that {served} clusters share: a moment's overload there may cost it an"
            f" election. {CALM_ELECTION_MS} ms or more is better (see 'A witness for many pairs')"
        )
