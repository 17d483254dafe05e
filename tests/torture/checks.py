"""What must be true at a barrier, and after a role change."""

from __future__ import annotations

import os
from pathlib import Path

from fakes.data_pair import DataNode
from lab.compare import Item, Manifest, differences, manifest
from staqraft.apply.quarantine import Kept
from staqraft.wire.v1 import data_worker_pb2 as pb
from torture.deeds import ACKNOWLEDGED
from torture.ground import Violation, group_dir

_STAGING = b".staqraft-"
_SHOWN = 12
_SLACK_BYTES = 1 << 19


def tree_of(node: DataNode) -> Manifest:
    """What the node's tree holds, without what is StaqRaft's own."""
    found = manifest(node.tree)
    return {path: item for path, item in found.items() if not path.startswith(_STAGING)}


def equal(left: DataNode, right: DataNode) -> list[str]:
    """Content and metadata of both trees are equal. Returns which holes the right one has not."""
    mine, theirs = tree_of(left), tree_of(right)
    found = [str(difference) for difference in differences(mine, theirs)]
    if found:
        raise Violation(
            f"the trees of {left.node} (here) and {right.node} (there) differ in {len(found)}:\n  "
            + "\n  ".join(found[:_SHOWN])
        )
    return _holes(left.tree, right.tree, mine)


def _holes(left: Path, right: Path, items: Manifest) -> list[str]:
    found = []
    for path, item in items.items():
        if item.kind != "file" or (item.size or 0) < _SLACK_BYTES:
            continue
        mine, theirs = (
            os.stat(os.path.join(os.fsencode(tree), path)).st_blocks * 512 for tree in (left, right)
        )
        if theirs > mine + _SLACK_BYTES:
            found.append(f"{path!r}: takes {mine} bytes here and {theirs} there")
    return found


def same_totals(left: pb.GetTreesStatusResponse, right: pb.GetTreesStatusResponse) -> None:
    """Both indexes tell of as many objects and bytes."""
    for mine, theirs in zip(left.trees, right.trees, strict=True):
        if (mine.objects, mine.bytes) != (theirs.objects, theirs.bytes):
            raise Violation(f"the indexes differ in their totals: {mine} and {theirs}")


def acknowledged(node: DataNode, written: dict[bytes, bytes]) -> None:
    """Everything that was acknowledged is there, as it was written."""
    for name, content in written.items():
        path = os.path.join(os.fsencode(node.tree), ACKNOWLEDGED, name)
        try:
            with open(path, "rb") as file:
                found = file.read()
        except OSError as error:
            raise Violation(f"{node.node} lost an acknowledged file: {error}") from error
        if found != content:
            raise Violation(f"{node.node} has {path!r}, but not as it was acknowledged")


def accounted(
    *, old: Manifest, promoted: Manifest, now: Manifest, node: DataNode, kept: list[Kept]
) -> None:
    """Each version that only the old active had is in quarantine.

    `old`: its tree when it was lost; `promoted`: the new active's when it began, and `now`. What
    the new one has under another name was renamed, and what it has by now is not lost either.
    """
    quarantine = group_dir(node) / "quarantine"
    items = manifest(quarantine) if kept else {}
    have = {
        (one.path, _version(items[os.fsencode(one.kept_at.relative_to(quarantine))]))
        for one in kept
    }
    anywhere = {_version(item) for item in (*promoted.values(), *now.values())}
    lost = [
        f"{path!r}, a {item.kind}"
        for path, item in old.items()
        if item.kind != "directory"
        and _version(item) not in anywhere
        and (path, _version(item)) not in have
    ]
    if lost:
        raise Violation(
            f"{len(lost)} versions that only {node.node} had are not in quarantine:\n  "
            + "\n  ".join(lost[:_SHOWN])
        )


def excess(old: Manifest, promoted: Manifest, kept: list[Kept]) -> list[bytes]:
    """What is in quarantine although the new active began with it."""
    return [
        one.path
        for one in kept
        if one.path not in old or _version(promoted.get(one.path)) == _version(old[one.path])
    ]


def _version(item: Item | None) -> tuple[object, ...] | None:
    return None if item is None else (item.kind, item.content)
