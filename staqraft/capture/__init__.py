"""Capture: what changed in the active's trees, into the journal.

Why: an application must not notice that it is replicated, so changes are watched and not
intercepted; and a standby must be told every change, although the kernel merges, reorders and may
even lose the events that tell of them. So **events only say where to look**. A dirty place is a
directory's key and a name in it; when its turn comes, what stands there now is compared with the
index, and the difference is journalled. An event too many costs a comparison, two events in the
wrong order cost nothing, lost events cost a scan.

The way of a change::

    kernel -> Drain (a thread that only reads events) -> DirtySet
           -> Watcher.take: keys become paths by the DirectoryMap, moved directories are found
           -> Differences: moves, then what is new or changed, then what is gone, then times
           -> Folders, Files, LargeFiles (by Links and Ledger) -> journal, then index

- `handles`, `fanotify`: the kernel's interfaces, by ctypes. `fanotify_source`, `inotify_source`:
  the two back ends. fanotify marks whole filesystems and names directories by handle; where it is
  not to be had, inotify watches each directory, and the log says why.
- `source`: the thread that reads events. It rests 2 ms after each look, so that whoever writes does
  not pay for waking it.
- `dirty`: what is held, for how long. Complete changes are due at once; a file that is still open
  is held for 10 ms; one that changes for ever is cooled in proportion to what it costs.
- `directories`, `structure`: the map key -> place, changed only together with the index, so that an
  event in a directory that was renamed meanwhile still finds the path that the index knows. A
  directory is added to the map **before** it is listed: a change in between is in the listing or is
  an event. inotify's directories are opened by path: one that cannot be opened is **not** therefore
  gone, since something above it may have been renamed; it is asked for again. Moved directories are
  one record; circles go by way of a parking name.
- `renames`: an inode that is no longer where the index knows it. The rename itself changed its
  change time, which is entered only if nothing else can have happened to the file: else the event
  that tells of it, which may be read later, would find the time known. `untold` keeps what was told
  of places that went before they were looked at.
- `scanner`: compares directories with the index, by slices: at the start, after lost events, in
  directories that came in. It marks what differs; everything takes the same way.
- `objects`, `content`, `reader`: reading, by open directories and never through a symlink.
- `files`, `large`, `transfer`, `signatures`: the least that has to travel. An append to a large
  file goes at once, on the word of the blocks before it; the rest of the file is read when it is
  quiet, or when a barrier wants to know (`LargeFiles.thorough`). A large file is read a slice at a
  time, and what is journalled is what was read.
- `links`, `names`: several names of one file. `elsewhere`: names that tell nothing. `mailbox`: what
  a change means to mail users (PURE). `locks`: mbox files are read while nobody holds them; a lock
  that stays is said, and waited for no longer.
- `roots`: a root that is gone or suddenly empty is not believed. `removals` (PURE): more gone than
  a tree's `removals` allow stays on the standby until somebody says so. `mounts`: what is mounted
  inside of a tree, bind mounts of the same filesystem too, is not of it; what it hides is not gone.
- `adoption`: what was there before StaqRaft is entered as it is found, unread and not journalled.
- `capture`: the thread that does all this, and barriers.

**The barrier.** A uniquely named cookie file is made in a watched directory of ours. One queue
orders the events of all marks (or watches), so when the drain has read the cookie's event, it has
marked everything that happened before. Then all that is dirty is worked off: scans, transfers,
what was put off, and the parts of large files that had been taken on trust; the journal is synced
and the index committed. Files that go on changing do not hold it up: what is read after the cookie
has everything that was before it.

**Rules that the other side relies on.** Parents come before children, a directory is removed before
it is replaced by something else (and the other way round), a file is replaced without a moment
without it. What was renamed has one of its names there at every moment: a name that is gone is told
when it is known why (`Differences`), when nothing is held back that may be its new name, and by a
scan when all was looked at. `before` is the state of the record's own path. A change of more than 1
MiB in place is a chain of deltas of which only the last has a digest. After a change of a file with
several names, each other name is told again as a link to it.

**What may fail.** JournalFull and IndexFull put everything back as dirty and are tried again each
second; nothing blocks, nothing is lost, status says so. The dirty set is bounded: beyond it,
everything is compared. An object that cannot be read, or a directory that cannot be listed, is
reported and tried again (`unread`); nothing else waits for it, but a barrier by which somebody is
told that everything is safe is refused meanwhile, as it is while a root is gone.

**What is not seen at once.** Writes through a shared mapping make no event until it is taken down:
files that are mapped so are looked for every 30 s (`mapped`) and compared then, and at each barrier
since they are known. chattr flags are not replicated, and are taken off on a standby where they
forbid what a record says. inotify tells of a name and not of a file, so a write under a name that
is gone has all trees compared at the next barrier, and files that were seen with several names are
looked at by each (`elsewhere`). What it cannot show is a write under a name outside of the trees
that was made since the file was last looked at, one under an excluded name that came and went, and
one under a name that came and went with its directory. Times are believed
unless they are younger than 2 s at the last commit, or 12 s when events were lost (see `scanner`).
What is mounted inside of a tree is left out, and reported.

Threads: one drain thread a group, one capture thread (owner of journal and index while active).
`Capture.ask_barrier`, `allow_removals`, `end` and `status` are for any thread.
"""

from staqraft.capture.capture import Capture
from staqraft.capture.errors import CaptureError, ObjectUnstable, WatchUnavailable
from staqraft.capture.ports import CaptureStatus
from staqraft.capture.reader import ObjectReader, Reading
from staqraft.capture.watcher import Watcher

__all__ = [
    "Capture",
    "CaptureError",
    "CaptureStatus",
    "ObjectReader",
    "ObjectUnstable",
    "Reading",
    "WatchUnavailable",
    "Watcher",
]
