"""Consensus: what all members of a cluster agree on, and the only package that knows pysyncobj.

`Group` is all that the daemon sees: `propose` a command of `staqraft.model`, make a `barrier`, read
`state`, `subscribe` to it. Behind it:

    Group (asyncio) --queue--> RaftTicker thread: RaftMember.step --> Ready --> Group, RaftTransport
                                 ElectionRules   PreVote, loyalty, the witness hands over   (PURE)
                                 Engine          the Raft library with its hazards removed
                                 Membership      which generation, and whom of it is reached
                                 LogStore        a file, synced before anything is promised
                                 SnapshotStore   protobuf, checksum, replaced as a whole
                                 statemachine    what a command does to the record          (PURE)
    RaftTransport (asyncio)     one ordered gRPC stream per pair of members, mutual TLS; dialled
                                with `wire.stream`, served by `RaftEndpoint`

How sessions are kept alive, and what a witness of many clusters may put off, is in `manners`.

`RaftMember.step` is deterministic: what happened goes in, what is to be sent comes out, and the log
is synced in between. It does no network input or output and has clock and randomness injected, so
that a simulator can run the real library in virtual time.

The Raft library, PySyncObj 0.3.17, has a right core (log replication, election restriction, commit
rule) in surroundings that can lose data, elect twice or run a stranger's code. The hazards, and
where each guard is:

 1. Snapshot pieces advance the commit index without comparing logs: `RaftMember._guard`.
 2. Nothing is synced, a full disk kills: `LogStore`, and the order of `RaftMember.step`. A log that
    lost anything is refused (`LogFile`), also one that lost its end (`LogMark`). Without
    space a member neither votes nor acknowledges, says so, and goes on when there is some.
 3. A snapshot empties a shorter or older log: `LogStore.adopt_snapshot`, `clear`, `settle`.
 4. Pickle on the wire, on disk, in entries: `codec`, `message_codec`; `syncobj` disables it.
    Commands that change members or versions are refused; the members are configuration.
 5. A cut link makes leadership wander: `ElectionRules`. They also let leadership follow the active,
    so that such a link does not keep its renewals from the leader.
 6. Stale leadership: the leader steps down before another can be elected; nothing is decided by who
    leads; a read is a committed barrier; what is not confirmed in time is `OutcomeUnknown`.
 7. An exception while applying blocks all members for ever: `statemachine` is total,
    `RaftMember.apply` cannot raise, and outcomes travel through a queue, not through callbacks.
 8. Reordered or repeated messages cut off acknowledged entries: one stream per session, the older
    purged; entries cut off without being contradicted come back (`LogStore.settle`); an entry that
    was applied is never replaced (`_check_committed`); an acknowledgement names its term.
 9. Batching delays commits by 100 ms: `_configuration`, and the ticker is woken by messages.
10. Its clock is no lease: leases are counted by their holder on CLOCK_BOOTTIME, not here.
11. Its sockets listen everywhere: there are none; the daemon's server listens on the rings only.
12. A witness that cannot lead can block the survivors: it leads as a last resort and hands over.
13. Its code versions lie after a restart: every command carries the version of its format, and
    `versions` says how two releases get along.
14. Importing it replaces `socket.inet_ntop` for the whole process: put back in `syncobj`.

A library of another version, or without the private names that the guards use, is refused at import
(`syncobj.check_library`).

Two replicas without a witness: one of them may go on alone once it has proof that the other is
off, and takes it in again later. `generations` says how, and why that is safe.

The state machine decides by our epoch and renewal counter only; its rules against two actives and
silent loss are in `statemachine`. Every member applies the same commands in the same order, and an
outcome is taken where it is applied on the proposing node, recognised by its random identity.
"""

from staqraft.consensus import library  # before whatever imports the Raft library
from staqraft.consensus.endpoint import RaftEndpoint
from staqraft.consensus.group import Group, RaftView
from staqraft.consensus.manners import SERVER_OPTIONS
from staqraft.consensus.ticker import RaftTicker

__all__ = ["SERVER_OPTIONS", "Group", "RaftEndpoint", "RaftTicker", "RaftView", "library"]
