"""The quarantine as the trees process manages it: listed, restored, dropped, retired by age."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from staqraft.apply.quarantine import Kept, QuarantineError
from staqraft.apply.restore import Restorer, Target
from staqraft.config.schema import Tree
from staqraft.daemon.trees_common import Common
from staqraft.errors import ApplyError, NotActive
from staqraft.model import Epoch
from staqraft.wire.v1 import data_worker_pb2 as pb

logger = logging.getLogger(__name__)

_SOME: Final = 20  # objects that are named in the history
_RETIRE_S: Final = 3600.0


class QuarantineKeeper:
    """Manages a group's quarantine. `epoch_if_active` raises NotActive, and says who is."""

    def __init__(self, common: Common, epoch_if_active: Callable[[], Epoch]) -> None:
        self._common = common
        self._epoch_if_active = epoch_if_active
        self._changing = asyncio.Lock()

    async def list(self) -> pb.ListQuarantineResponse:
        """What is there, oldest first."""
        kept = await self._common.read(self._common.quarantine.list)
        return pb.ListQuarantineResponse(entries=map(entry_of, kept))

    async def retire_for_ever(self) -> None:
        """Drops what is older than the configuration wants to keep, now and every hour."""
        age_ms = self._common.group.quarantine.max_age_ms
        while age_ms:
            gone = await self.drop(pb.DropQuarantinedRequest(all=True, older_than_ms=age_ms))
            if gone.objects:
                logger.warning(
                    "%d objects were in quarantine for longer than the configuration keeps them"
                    " ('quarantine: max_age') and were removed, the first is %r in tree %s",
                    gone.objects,
                    gone.some[0].path,
                    gone.some[0].tree,
                )
            if gone.problem:
                logger.warning("quarantine: %s", gone.problem)
            await asyncio.sleep(_RETIRE_S)

    # --- drop --------------------------------------------------------------------------------

    async def drop(self, wish: pb.DropQuarantinedRequest) -> pb.DropQuarantinedResponse:
        """Removes for good. QuarantineError for a wrong id: nothing was removed."""
        async with self._changing:
            return await self._common.read(partial(self._drop, wish))

    def _drop(self, wish: pb.DropQuarantinedRequest) -> pb.DropQuarantinedResponse:
        quarantine = self._common.quarantine
        wanted = self._wanted(wish.ids, everything=wish.all, older_than_ms=wish.older_than_ms)
        answer = pb.DropQuarantinedResponse()
        for kept in wanted:
            try:
                quarantine.drop(kept)
            except QuarantineError as error:
                answer.problem = str(error)
                break
            answer.objects += 1
            answer.bytes += kept.size
            if len(answer.some) < _SOME:
                answer.some.append(entry_of(kept))
        return answer

    def _wanted(
        self, ids: Sequence[str], *, everything: bool, older_than_ms: int = 0
    ) -> Sequence[Kept]:
        quarantine = self._common.quarantine
        if older_than_ms:
            return quarantine.older_than(older_than_ms)
        if everything:
            return quarantine.list()
        if not ids:
            raise QuarantineError("it was not said which objects: name their ids, or all")
        return quarantine.find(ids)

    # --- restore -----------------------------------------------------------------------------

    async def restore(
        self, wish: pb.RestoreQuarantinedRequest
    ) -> AsyncGenerator[pb.RestoreQuarantinedResponse, None]:
        """Brings back, one after the other; an object that cannot be does not stop the others.

        Raises QuarantineError for a wrong id or target, NotActive where a tree is the target and
        this node is not the active: nothing was done then.
        """
        async with self._changing:
            wanted = await self._common.read(partial(self._wanted, wish.ids, everything=wish.all))
            places = _Places(self._common, wish, several=wish.all or len(wanted) > 1)
            if places.meant(wanted):
                epoch = self._epoch_if_active()
            else:
                epoch = self._common.index.position.epoch
            restorer = Restorer(
                self._common.quarantine, places.trees, epoch=epoch, force=wish.force
            )
            try:
                for kept in wanted:
                    text, restored = await self._common.read(
                        partial(self._one, restorer, places, kept)
                    )
                    yield pb.RestoreQuarantinedResponse(
                        entry=entry_of(kept), restored=restored, text=text
                    )
            finally:
                restorer.close()

    def _one(self, restorer: Restorer, places: _Places, kept: Kept) -> tuple[str, bool]:
        try:
            tree, path, shown = places.of(kept)
            if tree:
                self._epoch_if_active()  # the role may have changed meanwhile
            root = restorer.root(tree) if tree else None
            return restorer.restore(kept, Target(root=root, path=path, shown=shown)), True
        except (ApplyError, NotActive) as error:
            return str(error), False


class _Places:
    """Where objects are to be restored: in a tree (its name, a path in it), or elsewhere."""

    def __init__(
        self, common: Common, wish: pb.RestoreQuarantinedRequest, *, several: bool
    ) -> None:
        self._common = common
        self._target = Path(os.fsdecode(wish.target)) if wish.target else None
        self._several = several
        self.trees = {tree.name: tree.path for tree in common.group.trees}
        if self._target is None:
            return
        if not self._target.is_absolute():
            raise QuarantineError(f"{self._target} is not an absolute path: write /root/rescued")
        if several and not self._target.is_dir():
            raise QuarantineError(
                f"{self._target} is to be a directory that exists, for several objects: make it"
                " first"
            )

    def meant(self, wanted: Sequence[Kept]) -> bool:
        """Whether any object would come into a tree that is replicated."""
        return any(tree for tree, _, _ in self._all(wanted))

    def _all(self, wanted: Sequence[Kept]) -> Iterator[tuple[str, bytes, str]]:
        for kept in wanted:
            try:
                yield self.of(kept, make=False)
            except QuarantineError:
                continue  # said when its turn comes

    def of(self, kept: Kept, *, make: bool = True) -> tuple[str, bytes, str]:
        """Tree (empty: none), path (absolute without one), and what people read.

        With `make` directories of a target for several are made.
        """
        if self._target is None:
            if kept.tree not in self.trees:
                raise QuarantineError(
                    f"{kept.tree}:{_text(kept.path)}: tree {kept.tree!r} is not in the"
                    " configuration any more: restore it elsewhere with --to PATH"
                )
            shown = f"{self.trees[kept.tree]}/{_text(kept.path)}"
            return kept.tree, kept.path, shown
        target = self._target
        if self._several:
            target = target / kept.tree / os.fsdecode(kept.path)
            if make:
                target.parent.mkdir(parents=True, exist_ok=True)
        elif target.is_dir():
            target = target / os.fsdecode(kept.path.rpartition(b"/")[2])
        real = Path(os.path.realpath(target.parent)) / target.name
        if real.is_relative_to(self._common.config.state_dir):
            raise QuarantineError(f"{real} is StaqRaft's own: name another place")
        tree = self._tree_of(real)
        shown = _text(os.fsencode(real))
        if tree is None:
            return "", os.fsencode(real), shown
        inside = real.relative_to(os.path.realpath(tree.path))
        return tree.name, os.fsencode(inside), shown

    def _tree_of(self, real: Path) -> Tree | None:
        for group in self._common.config.groups.values():
            for tree in group.trees:
                if real.is_relative_to(os.path.realpath(tree.path)):
                    if group.id != self._common.group.id:
                        raise QuarantineError(
                            f"{real} is in a tree of group {group.id}: restore it outside of all"
                            " trees, and copy it there on that group's active"
                        )
                    return tree
        return None


def entry_of(kept: Kept) -> pb.QuarantineEntry:
    """As a message, which holds no text that is not UTF-8."""
    return pb.QuarantineEntry(
        id=kept.id,
        tree=kept.tree.encode(errors="replace").decode(),
        path=kept.path,
        reason=kept.reason.encode(errors="replace").decode(),
        epoch=kept.epoch,
        wall_ms=kept.wall_ms,
        size=kept.size,
        kept_at=_text(os.fsencode(kept.kept_at)),
        kept_path=os.fsencode(kept.kept_at),
    )


def _text(path: bytes) -> str:
    return path.decode(errors="backslashreplace")
