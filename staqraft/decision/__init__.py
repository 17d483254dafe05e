"""The failover decision: a pure function `(state, event) -> (state, commands)`.

There is one `GroupState` per group and replica. Whatever happens (a Raft record was applied, an
action ended, time passed, an operator asked) arrives as an event that carries the instant at which
it is decided upon; whatever is to be done leaves as commands. Nothing here has a clock, a random
number, IO or a log, so every failover can be replayed from its events, and the simulator runs this
very code by the million.

The rules that keep two actives apart, and where they stand:

* A lease runs from the instant *before* its proposal (`lease`); a challenger waits from the instant
  at which it *observed* the last renewal, longer by drift and margin. Clocks of two hosts are
  never compared (Gray and Cheriton 1989; Patroni and etcd measure alike).
* Nobody is believed to be active because of Raft leadership. The only proof is our own record in
  the replicated state, and each change of it is a compare-and-set on our epoch (`takeover`).
* The loser is fenced before the VIP is taken: it released, or confirmed, or its lease, which its
  kernel enforces on the addresses, has run out (`takeover`).
* Promotion only out of the in-sync set; a replica joins the set only after a barrier that began
  when barriers already waited for it, and leaves it only by a committed command (`insync`).
* Nothing is taken over in maintenance, and a daemon that stops in it leaves its addresses to the
  kernel by a longer lease, which a challenger waits for like any other (`rest`).
* A service that fails is restarted, then the group moves, then it stays; moves are counted through
  Raft, so that a service that fails everywhere does not send it to and fro (`services`).
* A mismatch is immediate demotion, in the order VIPs, services, role (`standdown`).

`phases` is the table of phases with a sentence for people; `step` dispatches; each of the other
modules knows one part. `invariants` holds what must be true of a state at any time.
"""
