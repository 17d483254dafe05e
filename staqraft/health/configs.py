"""In what two nodes' configurations differ, without either telling the other what stands in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, Final

from staqraft.config import agents
from staqraft.config.loader import OWN_TO_EACH_NODE
from staqraft.config.schema import Config
from staqraft.decision.defects import CONFIG
from staqraft.health.findings import Finding, Severity
from staqraft.model import NodeId

_DEEP: Final = 3  # groups.default.trees, lease.ttl_ms: deeper than that nobody needs to be sent
_NAMED: Final = 6

# Who takes over with others of these serves something else, or counts its lease otherwise.
_VITAL: Final = ("nodes", "lease", "ports", "pair")
_VITAL_OF_GROUP: Final = ("trees", "vips", "services", "fenced_by")


def digests(config: Config) -> dict[str, str]:
    """A short digest of every setting that is to be the same on all nodes, by its name."""
    shared = asdict(config)
    for name in OWN_TO_EACH_NODE:
        del shared[name]
    for fencing in shared["fencing"].values():
        for device in fencing["devices"]:
            device["options"] = agents.redacted(device["options"])
    return {".".join(key): _digest(value) for key, value in _settings(shared, ())}


def _settings(value: Any, key: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict) and len(key) < _DEEP:
        for name in sorted(value):
            yield from _settings(value[name], (*key, str(name)))
    else:
        yield key, value


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def judge(
    mine: Mapping[str, str], theirs: Mapping[str, str], node: NodeId, peer: NodeId
) -> Iterator[Finding]:
    """Nothing where only names differ that this release does not know."""
    differing = sorted(
        key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key)
    )
    if not differing:
        return
    more = f" and {len(differing) - _NAMED} more" if len(differing) > _NAMED else ""
    vital = [key for key in differing if _is_vital(key)]
    # What matters most is named first.
    named = [*vital, *(key for key in differing if key not in vital)][:_NAMED]
    consequence = (
        f", so neither of them takes over from the other by itself ({vital[0]} has to be the same)"
        if vital
        else ""
    )
    yield Finding(
        code="config",
        subject=peer,
        severity=Severity.CRITICAL if vital else Severity.WARNING,
        text=f"the configurations of {node} and {peer} differ in {', '.join(named)}{more}"
        f"{consequence}",
        remedy="make the files the same but for node, tls, paths, health, notify and log_level,"
        " then restart the daemon whose file was changed",
        defect=CONFIG if vital else "",
        bars=bool(vital),
    )


def _is_vital(key: str) -> bool:
    first, *rest = key.split(".")
    if first == "groups":
        return len(rest) < _DEEP - 1 or rest[1] in _VITAL_OF_GROUP
    return first in _VITAL
