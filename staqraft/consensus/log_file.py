"""The file of the Raft log, with a mark beside it: transactions, appended and synced one by one.

A transaction is on disk when `write` returns. What is read at opening is either exactly what the
last transaction left, or `StoreCorrupt`: each transaction has a checksum and its number, entries
have no gap (`log_records`), and the mark says how many transactions there were (`log_mark`).
Nothing is repaired.

When the log was shortened, or the file has become long, it is replaced by one that begins anew: a
scratch file, synced, renamed, and the directory synced. So it is when a sync has failed, after
which nobody knows what of the file is on disk.

Nothing is kept in memory for it but a descriptor, and nothing is mapped: a witness has hundreds of
these open, and a full volume is an error of a call and never a signal.

Not found: all files put back together from an old copy. A node's log is never restored.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

from staqraft.consensus import log_records
from staqraft.consensus.codec import Entry, check_entry_command
from staqraft.consensus.durable import make_directory, sync_directory
from staqraft.consensus.errors import BadMessage, StoreCorrupt
from staqraft.consensus.log_mark import LogMark
from staqraft.consensus.log_records import Damaged, NewerLayout, Stored
from staqraft.errors import ConsensusError, Outdated, StoreFull
from staqraft.model import NodeId

_LONG_BYTES: Final = 1 << 20  # and four times what it began with: then it begins anew
_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})


class LogFile:
    """The file, open. One thread at a time, and one process."""

    def __init__(self, mark: LogMark, path: Path, cluster: str, node: NodeId) -> None:
        self._mark = mark
        self._path = path
        self._cluster = cluster
        self._node = node
        self._descriptor: int | None = None
        self._end = 0  # where the next transaction goes
        self._began_with = 0  # bytes, if it was begun by this process
        self._number = 0
        self._anew = True  # the next transaction begins a new file

    @classmethod
    def open(cls, path: Path, cluster: str, node: NodeId) -> tuple[LogFile, Stored]:
        """Opens or makes it. StoreCorrupt, StoreFull, or ConsensusError with what to do."""
        try:
            make_directory(path.parent)
            file = cls(_open_mark(path), path, cluster, node)
        except OSError as error:
            raise _os_failure(path, error) from error
        try:
            stored = file._load()
        except OSError as error:
            file.close()
            raise _os_failure(path, error) from error
        except BaseException:
            file.close()
            raise
        return file, stored

    @property
    def size_bytes(self) -> int:
        """How much of it is written."""
        return self._end

    def write(self, stored: Stored, *, replace_from: int | None, forget_before: int | None) -> None:
        """Makes the file hold what is in `stored`, in one transaction, synced.

        Entries differ from `replace_from` on and are gone before `forget_before`; None: they are
        not touched. StoreFull or ConsensusError: call again; the file has all of it or nothing.
        """
        number = self._number + 1
        long = self._end > _LONG_BYTES + 4 * self._began_with
        try:
            if self._anew or long or forget_before is not None:
                self._begin_anew(stored, number)
            else:
                self._append(stored, number, replace_from)
            self._number = stored.number = number
            self._mark.advance(number)
        except OSError as error:
            raise _os_failure(self._path, error) from error

    def close(self) -> None:
        """Closes the files."""
        self._mark.close()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    # --- writing --------------------------------------------------------------------------------

    def _append(self, stored: Stored, number: int, replace_from: int | None) -> None:
        assert self._descriptor is not None, "there is a file to append to"
        data = log_records.transaction(
            self._cluster, self._node, stored, number=number, replace_from=replace_from
        )
        try:
            _write(self._descriptor, data, self._end)
        except OSError:
            os.ftruncate(self._descriptor, self._end)  # what was written of it is nothing
            raise
        try:
            os.fdatasync(self._descriptor)
        except OSError:
            self._anew = True
            raise
        self._end += len(data)

    def _begin_anew(self, stored: Stored, number: int) -> None:
        self._anew = True  # until it is done
        data = log_records.whole_file(self._cluster, self._node, stored, number=number)
        scratch = self._path.with_name(self._path.name + ".new")
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write(descriptor, data, 0)
            os.fsync(descriptor)
            scratch.replace(self._path)
        except BaseException:
            os.close(descriptor)
            scratch.unlink(missing_ok=True)
            raise
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = descriptor
        sync_directory(self._path.parent)
        self._end = self._began_with = len(data)
        self._anew = False

    # --- opening --------------------------------------------------------------------------------

    def _load(self) -> Stored:
        marked = self._mark.number
        assert marked is not None, "a spoiled mark was let in"
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return Stored()  # never written to, says the mark
        found = self._read(content)
        if found.stored.number < marked:
            raise corrupt(
                self._path,
                f"{marked} transactions were written to it, but it ends with number"
                f" {found.stored.number}: what the others were told in between is forgotten",
            )
        if (found.cluster, found.node) != (self._cluster, self._node):
            raise ConsensusError(
                f"the Raft log {self._path} belongs to node {found.node} of cluster"
                f" {found.cluster}, not to {self._node} of {self._cluster}: a log is never copied"
                " to another node; move the directory away and this node learns everything from"
                " the others"
            )
        for entry in found.stored.entries:
            self._check_command(entry)
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        if found.good_bytes < len(content):
            os.ftruncate(self._descriptor, found.good_bytes)
        # A process that was killed may have left what is whole, and not on disk yet. Written again:
        # if its sync had failed, the kernel takes its pages for clean, and a sync does nothing.
        _write(self._descriptor, content[: found.good_bytes], 0)
        os.fdatasync(self._descriptor)
        sync_directory(self._path.parent)
        self._end = found.good_bytes
        self._number = found.stored.number
        self._anew = False
        return found.stored

    def _read(self, content: bytes) -> log_records.Found:
        try:
            return log_records.read(content)
        except NewerLayout as error:
            raise Outdated(
                f"the Raft log {self._path} was written by a newer version of this software (layout"
                f" {error}, known here: {log_records.LAYOUT!r}). It is not touched: install that"
                f" version on {self._node} again"
            ) from error
        except Damaged as error:
            raise corrupt(self._path, str(error)) from error

    def _check_command(self, entry: Entry) -> None:
        command, index, _ = entry
        try:
            check_entry_command(command)
        except Outdated as error:
            raise Outdated(
                f"the Raft log {self._path} is not touched: entry {index} is {error}"
            ) from error
        except BadMessage as error:
            raise ConsensusError(
                f"entry {index} of the Raft log {self._path} cannot be read: {error}"
            ) from error


def _write(descriptor: int, data: bytes, at: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, at)
        data, at = data[written:], at + written


def corrupt(path: Path, what: str) -> StoreCorrupt:
    """The log at `path` is not what was written: what was found, and what to do."""
    return StoreCorrupt(f"the Raft log {path} is damaged: {what}. {advice(path)}")


def advice(path: Path) -> str:
    """The way out for a node that has lost its log."""
    return (
        "Check the disk. While the other members run, stop this node, wait until they agree on"
        f" who is active, move {path.parent} away and start it again: it learns"
        " everything from them. Do that on one node at a time only"
    )


def _open_mark(path: Path) -> LogMark:
    """The log's mark, locked. It is durable before the log is made: one without it has lost it."""
    at = path.with_name("log.mark")
    mark = LogMark.open(at)
    if mark is not None and mark.number is not None:
        if mark.number and not path.exists():
            mark.close()
            raise corrupt(path, f"the file is gone, although {at} says that it was in use")
        return mark
    if mark is not None:
        mark.close()
    if path.exists():
        what = "gone" if mark is None else "spoiled"
        raise corrupt(path, f"{at}, which says how far it had come, is {what}")
    return LogMark.make(at)


def _os_failure(path: Path, error: OSError) -> ConsensusError:
    if isinstance(error, BlockingIOError):
        return ConsensusError(
            f"the Raft log {path} is in use: is another staqraftd running with this configuration?"
        )
    if error.errno in _NO_SPACE:
        return StoreFull(
            f"the Raft log {path} cannot be written ({error.strerror}): this node neither votes"
            " nor acknowledges until its volume has space, and works, again"
        )
    return ConsensusError(f"cannot use the Raft log {path}: {error}")
