"""The journal: the ordered record of a group's changes, where all data meets.

**On disk.** A directory of append-only segments (`segment`), each with a header (cluster, group,
generation, the position before its first record, CRC) and frames (`frames`): length, CRC, protobuf
record (`record`, `record_codec`). `writer.lock` is flocked by the one writer: the trees process on
the active, the stream process on a standby. `writer.state` (`state`) is its note of what is
durable.

**Appending is all or nothing for readers.** A batch is written behind its own first eight bytes,
which come last. Until then a reader meets zeros, which are never a frame. When the volume is full,
the batch is cut off again and nobody has seen any of it; JournalFull says so and nothing else
happens: capture keeps the objects dirty, a standby refuses the batch and is sent it again.

**Room** (`room`). Where little comes at a time, zeros are written ahead of the end while nobody
waits, so that a sync writes blocks that the file has already, and the file system need not commit
that it grew. Only the segment that is written has room: it is cut off before the next one begins,
and when the journal is closed or opened.

**Reading** (`cursor`) takes no lock, checks every frame, and answers with values: frames, nothing
new, trimmed (also: reset, or the histories parted), corrupt. Damage behind the last sync is a torn
tail to be cut by the next writer; damage before it needs a reconcile. Positions are found by
walking from trusted places only, since a user may store bytes that look like a frame.

**Opening** (`recovery`) cuts a torn tail and says so. After a power cut the tail that was not
synced is lost: a standby may have it, so the same epoch must not go on with other records of the
same number. `lost_tail` says that; a new epoch clears it.

**Bounds.** Whole old segments go, by size and age, at most up to what is held (a standby holds what
it has not applied). A standby that was away for too long reconciles. A segment is at most a quarter
of the bound, so that there always is one to give up; when the volume is full, the oldest go first.

**A reset** begins a new generation of segments with one rename; older generations are leftovers.
"""
