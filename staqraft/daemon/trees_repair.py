"""Objects of a standby that are not as they should be, taken from the active: verify and scrub."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Final, Protocol

from staqraft.apply.reconcile import PartlyUnreadable
from staqraft.apply.verify import Finding
from staqraft.daemon.trees_client import RemoteTrees
from staqraft.daemon.trees_common import Common, close_roots
from staqraft.journal.record import ObjectType

logger = logging.getLogger(__name__)

_A_CALL: Final = 200
OTHER_HAND: Final = "it was changed on the standby by another hand"


class Repairer(Protocol):
    """Who can fetch objects instead of what is here: the standby role."""

    async def repair(
        self, remote: RemoteTrees, tree: str, paths: Sequence[bytes], have: Sequence[bytes]
    ) -> None:
        """`have`: as for `ActiveTrees.fetch`.

        Raises PartlyUnreadable when all others are here; ReplicationError, and what applying
        raises.
        """
        ...


async def repair_all(
    common: Common, standby: Repairer, remote: RemoteTrees, findings: Sequence[Finding]
) -> None:
    """Takes these objects from the active; what another hand wrote here goes to quarantine.

    Raises PartlyUnreadable, naming what the active cannot read, when it has all others.
    """
    unreadable: list[str] = []
    for tree in sorted({finding.tree for finding in findings}):
        mine = [finding for finding in findings if finding.tree == tree]
        own = [finding for finding in mine if _written_by_another(finding)]
        if own:
            await common.on_disk(partial(_keep, common, tree, own))
        for at in range(0, len(mine), _A_CALL):
            some = mine[at : at + _A_CALL]
            have = [_has(finding) for finding in some]
            try:
                await standby.repair(remote, tree, [finding.path for finding in some], have)
            except PartlyUnreadable as error:
                unreadable.append(str(error))
    if unreadable:
        raise PartlyUnreadable("; ".join(unreadable))


def _keep(common: Common, tree: str, findings: Sequence[Finding]) -> None:
    roots = common.open_roots()
    try:
        for finding in findings:
            kept = common.quarantine.keep(
                roots[tree],
                finding.path,
                reason=OTHER_HAND,
                epoch=common.index.position.epoch,
            )
            if kept is not None:
                text = "tree %s: %r: %s; it is kept in quarantine as %s"
                logger.warning(text, tree, finding.path, OTHER_HAND, kept.id)
    finally:
        close_roots(roots)
        common.quarantine.close_batch()


def _has(finding: Finding) -> bytes:
    """The content that is here and right, so that it need not be fetched."""
    mine = finding.mine
    if mine is None or mine.corrupt or mine.names > 1:
        return b""
    return b"" if {"content", "type", "links"} & set(finding.aspects) else mine.digest


def _written_by_another(finding: Finding) -> bool:
    mine = finding.mine
    if mine is None or mine.corrupt or mine.metadata.type is ObjectType.DIRECTORY:
        return False
    return bool({"extra", "content", "type"} & set(finding.aspects))
