"""The processes: the only place that wires the parts together.

`node` is the control process of a replica or a witness. For each group a replica has a `GroupLoop`
(`loop`): one queue of events, one pure `decision.step` at a time, and an `Executor` that carries
the commands out in lanes (Raft, data, addresses, services), so that a service that takes thirty
seconds to stop never delays the removal of an address. Nothing in the control process touches a
data disk: that is done by the group's data worker, two processes that `workers` starts, watches,
restarts and tells their role again.

`trees_worker` and `stream_worker` are those processes. They meet at the journal; each can be killed
at any moment and goes on where the journal and the index say.

A witness is the same control process without groups to be active in.
"""
