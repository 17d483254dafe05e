"""Apply: the standby's side of the data flow, from journal records to trees.

`applier` executes records one after the other, runs of new files together (`newfiles`); `writer`
has the file system calls; `safety` keeps them inside the tree; `reconcile` makes whole trees equal;
`quarantine` keeps what only this node had, and `restore` brings it back; `inspect` looks at the
disk whatever the index says, for `verify` and `scrub`. All of it is synchronous and belongs to one
thread, but for the reconcile's conversation.

What is mounted inside of a standby's tree, and a btrfs subvolume in it, is not the tree's: nothing
is compared or applied until it is gone or excluded (`safety.MountedInside`).

Rules of the applier
- A record is state: each sets the whole state that it speaks of, so executing one twice in a row
  ends in the same tree. A run of records is not executed again from an earlier point, because moves
  lead elsewhere then: `watermark` keeps, through a kill, which record was executed last, and
  `replay` brings the index there without touching the trees. After a power cut the disk may be
  anywhere between: `rollback` brings the names back to the index's last commit, from which the
  journal is applied again, and digests are compared at its end. No active is needed for that.
- New content is built in the tree's own `.staqraft-staging` directory and renamed into place;
  changed pieces are written in place. The directory is also the mark of the tree's root: a root
  without it is an empty mount point or was emptied, and nothing is written or removed there.
- What `chattr +i` or `+a` protects is no obstacle: the flags are taken off, and the log says so.
- Metadata is set entirely: owner, attributes and ACLs (exactly the record's), mode, time. A
  directory's time is set again when its batch ends, because changing its entries changed it.
- A batch is durable by syncfs (most is written `ahead` of it), then the index's commit, then the
  index's sync. Nothing that the commit before speaks of is destroyed until then: it goes to
  staging.
- An object fetched whole from the active at position P is newer than the records up to P: its
  entry's origin is P and those records pass it over.

Unsettled objects. A record may meet something else than it expects: pieces for another base, a
source of a move that is not there, a parent that is gone. The reason may be a crash, an object that
was fetched in a later state, or another hand. All are treated alike: do what can be done without
destroying anything unknown (unknown objects that are in the way are parked in staging by inode
number, where a later move finds them), remember the expected state, and look again when the records
have caught up (`settle`). What then is as expected is settled; the rest is fetched whole from the
active and counted as healed. Pieces are written even onto a base that is not right, if the file is
the one that is meant: if it was ahead, writing all pieces again in order ends in the right content.

Rules of the reconcile
- The local index is made true by a scan first, unless this standby followed until now: then what is
  on its disk is in its index, and a comparison costs what differs and no more. Objects that changed
  without a record (origin UNRECORDED) are this node's own versions if it may have any
  (`Notes.has_own`), like those whose record is not of the shared history. A standby that was
  nothing else since it was equal has none: what its index does not know was applied, and forgotten
  by a crash.
- The active goes on changing. A fetched object has the position of the record that its active's
  index knows of, so that older records of the journal pass it over. What is gone when it is asked
  for was removed, or moved to a place that may be done already: it is kept as unsettled, which
  moves along; when a whole directory went, the comparison is repeated. A directory that comes from
  where it was not is hollow: nothing less than another comparison fills it.
- A directory that was moved, and made anew, while it was compared: what records put into the former
  is fetched anew in the latter (`Doubtful.suspect_relics`), and what was moved is compared again
  if it may have what the latter has (`note_if_mixed`).
- An entry that says what an object should be, and not what it was found to be, has no change time
  (NOT_SURE_NS), so that no scan and no comparison believes it.
- Of a file with several names the first is fetched with its content, and the others after it as
  links: each by itself would become a file of its own.
- Directory digests are compared from the root down; only what differs is listed and fetched. What
  is here is said when it is asked for, so that a file of the same content comes without it: the
  active does not even read it, and a copy that its disk has spoilt replaces no good one.
- What is fetched is read where its path leads by then, and records may move that place before they
  are applied here. So the active gives nothing of a directory of which it has not told yet; of what
  it has nothing is removed only when all that it told before was applied and nothing was said of it
  (`Unsettled.gone`); and what moves after something newer was fetched into it is compared again.
- What the active cannot read is left for another attempt, which this one then ends with; the rest
  of the trees is made equal.
- What the active lists as unread (its state is empty) is fetched if it is not here; what is here is
  first asked for its digest, so that a standby that was filled by hand fetches only differences.
- An own version goes to quarantine before it is replaced or removed, unless its content equals the
  active's. Versions of the shared history are merely old and are replaced.
- Nothing is remembered between attempts but the trees and the index: what was made equal compares
  equal next time, and what the scan read is in the index, so an interrupted reconcile goes on where
  it was.
"""
