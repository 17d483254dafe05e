"""The stream: the active's journal becomes the standby's, in order, durably, exactly once.

    journal -> sender ==gRPC, lz4, mutual TLS==> receiver -> journal

**Who decides.** The active dials the standby (`sender`) and says Hello: its epoch, the epochs of
the shared history from Raft, and what its journal can still send. The standby (`receiver`) answers
by `plan`, which is pure: resume behind my last durable record; let me compare my trees first; or
no. The bookkeeping of a session, at both ends, is `session`, pure too. A record is identified by
epoch and number alone, so resuming on another ring, after a crash or after a reset needs no other
state.

**Sending.** The journal is the send buffer: what gathers while a write is pending goes out as one
batch, 256 KiB, or 1 MiB when the standby is behind; at most a window is on its way. Nothing here
ever makes the writer of the journal wait. lz4 a batch, after a probe (`frame`).

**Receiving** (`receive_session`, `store`). Reading, disk and acknowledging overlap; a sync is
shared by all that came while the one before ran. A batch is acknowledged when it is durable, and
acknowledgements are repeated every 200 ms: silence means that the peer, or the way to it, is dead.
A full disk refuses the batch, keeps the process, and is tried again.

**Ends of a session.** Finish is on purpose. Everything else (EOF, silence, a refusal) is a lost
session: the sender says why in its status and comes again within half a second, over the preferred
ring, else the next. While it uses another one it looks each second whether the preferred is back,
and opens the new session there before the old one is missed.

**Fencing.** A Hello of an older epoch than any that the standby knows of, a heartbeat of another, a
record of a history that was given up: refused as stale. The journal refuses them once more.

**Comparing** (`trees`). When histories parted, or the journal no longer reaches back, the standby's
trees process compares the trees with the active's. Before that the journal is emptied and a marker
is made durable, so that neither a crash nor a takeover in between can mistake half-compared trees
for followed ones; after it the journal begins behind the position of the comparison. Until all that
was written meanwhile is applied and settled, each acknowledgement says `settling`: records flow,
and nobody who waits for this standby is answered.
"""
