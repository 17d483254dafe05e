"""Two real data planes on real file systems, tortured from a seed; at each barrier they are equal.

`scripts/torture --seed N` runs rounds. A round is a fresh pair: trees and stream processes of two
replicas, file systems of their own for trees and state, two links through relays. In each phase
several writers do whatever programs do to files (`deeds.py`) while things go wrong (`troubles.py`);
`plan.py` (PURE) draws both. A phase ends with a barrier, a switchover or a failover. `--inotify b`:
that replica watches by inotify.

Checked (`checks.py`):

- at a barrier the standby's tree equals the active's in content and metadata;
- what the postman had acknowledged is on whoever is active, and as it was written;
- each version that only a lost active had is in quarantine when it has come back;
- nothing else is in quarantine: a standby has nothing of its own.

The test is the control process: it starts what ends and gives the roles (`ground.py`). A seed draws
the same deeds and troubles again; what they meet is up to the machine's timing. `--shrink` leaves
out whatever a violation does not need.
"""
