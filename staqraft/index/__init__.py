"""The index: what a replica last knew of each object in its trees, on disk.

Why: a standby must tell its own versions from replicated ones, capture must journal differences
and not events, and a comparison of two replicas must cost about the depth of the differences.
The index answers all three. It is a cache of facts with one promise: an entry says what the
object was, and which journal record (`origin`) made it so, as of `position`.

Shape: one SQLite database in WAL mode for each group. Objects are rows (parent id, name), not
paths, so that moving a directory is one update whatever is below it and a path is stored once. A
directory's id is its row's id; a bounded cache maps directory paths to ids. `put` needs the parent
directory to be there first: trees are written from the root down.

Subtree digests: each directory can have a cached digest of everything below it (names, states,
subtree digests of its directories). A change deletes the cached digests from its directory up to
the root and stops at the first that is missing already, because a cached digest implies cached
digests in all directories below it. Asking for one recomputes exactly what was deleted. The
number of names of a hard-linked file is folded into the states that are compared, so that a tree
that lost only its links compares different; it is not part of `state_digest`, which describes one
object and is what `Record.before` holds.

A file can be in the index unread (`Entry.is_unread`): it is there, what it holds was never looked
at, or is only half told. Its state equals no other replica's, nor does a digest above it.

Crash rules. All writes since the last `commit(position)` are one transaction: after kill -9 the
index opens as of that position. After a power cut SQLite (synchronous=NORMAL) comes back as of the
last `sync` or a later commit, never torn. Therefore:

- a standby commits after syncfs and then syncs the index, so that the position and the trees behind
  it are durable together; what else may be on the disk is the applier's business;
- the active commits only positions that `Journal.sync` made durable, else an index could know of
  a removal that its journal lost, and nobody would ever be told.

A database that is not readable is moved aside (`index.sqlite.damaged-N`), `rebuilt` says so in a
sentence, and a fresh one is filled by a scan. A damage found later is marked on disk, so that
the restarted process finds it so.

Threads: every method is atomic under `lock` (re-entrant); hold it for read-modify-write.

Reserved names: a path with a component that begins with `.staqraft-` is StaqRaft's own (staging,
temporary files) and is never captured, scanned, compared or applied: `is_reserved`.
"""

from staqraft.index.digest import content_digest, content_hasher, state_digest
from staqraft.index.entry import UNRECORDED, Entry, FileIdentity, Listed, Totals, TreeSummary
from staqraft.index.errors import IndexDamaged, IndexFull, IndexProblem, MissingParent
from staqraft.index.history import SharedHistory
from staqraft.index.reserved import LOCAL_XATTRS, RESERVED_PREFIX, STAGING_NAME, is_reserved
from staqraft.index.store import Index
from staqraft.index.told import relearn

__all__ = [
    "LOCAL_XATTRS",
    "RESERVED_PREFIX",
    "STAGING_NAME",
    "UNRECORDED",
    "Entry",
    "FileIdentity",
    "Index",
    "IndexDamaged",
    "IndexFull",
    "IndexProblem",
    "Listed",
    "MissingParent",
    "SharedHistory",
    "Totals",
    "TreeSummary",
    "content_digest",
    "content_hasher",
    "is_reserved",
    "relearn",
    "state_digest",
]
