"""What is wrong with this node, its networks and its clock, and with the other replica's.

**Looks and judgements are apart.** `disk_probe`, `ping`, `host` and `exchange` look; `disks`,
`uplink`, `vips`, `links`, `box` and `configs` judge what was seen, and are pure. A judgement is a
`Finding`: one sentence that names the cause, and one that says what to do. `monitor` looks once a
second and keeps the findings; `staqraft.decision.health` decides what follows from those that are
defects.

**Disks** are written to by a program of its own, since what waits for a disk that hangs can be
ended by nothing. It is never waited for and never doubled: a thread that hangs holds a lock, in
memory, that its successor's waits for. What it writes has no
name, so that nothing of it is ever seen in a tree.

**A full disk** on the active is nearly always as full on the standby, since all that filled it was
replicated; handing over would move the outage and add one. So the active hands over only to a
replica that has room to spare (more than `warn`), which it has when the volumes differ in size or
something else than the trees filled the active's. It is told of long before, at `warn` and
`critical`. A full standby still takes over from an active that is gone: reading works.

**Rings** are pinged one by one. What each sees goes to the other over whatever ring is left, so
each knows of the four: my end, its end, there, back. `links` says the nearest cause.

**The uplink** is lost when too few of the ping targets answer that have answered before. That the
other replica reaches them or not says whether it helps to hand over, and whose cable it is.

**Virtual addresses** need the link of their interface, whatever pings and rings say: those may go
another way. One without a link is worse off than one that has it, and nothing more: the cable may
come back sooner than a takeover. One without the interface cannot take over.

**The clock** of the other replica is compared by the calls that they make anyway. It bars nothing:
no decision compares the clocks of two hosts.

**Coming and going** is damped by `findings.Latch`: what was wrong counts against a replica until it
has been well for `steady`, and twice as long each time that it comes back soon.
"""
