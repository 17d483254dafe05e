"""Random faults on real processes, and what may never happen meanwhile.

`scripts/chaos --count 50 --seed S` builds a lab and draws faults from a seed, one after the other:
`nemeses.py` are objects with a name, `inject` and `heal`, that can be put together. After each,
the pair has a bounded time to be well again: one active, both in sync, all members of one mind.

Meanwhile a client asks for a page through the VIP, mails are delivered that count as acknowledged
when a barrier says so (`postman.py`), the watcher on the bridge asks who has the VIP, and every
member is asked what it thinks (`lab.views`). At the end:

- nobody saw two hosts answer for the VIP;
- every acknowledged mail is on the active, as it was written;
- the trees of both replicas are equal;
- the history of epochs, over real-time intervals, could have been that of one thing that is passed
  on from hand to hand (`history.py`, PURE).

What does not hold is printed with what happened around it, host by host, and ends the run with 1.
Workload, faults and checks know nothing of each other. A seed draws the same faults again; what
they meet is up to the machine's timing, so a failed run keeps its logs.
"""
