"""Faults on real processes, and what may never happen meanwhile.

`scripts/chaos --faults 50 --seed S` (or `--minutes M`) builds a lab and draws a plan from a seed
(`plan.py`): steps of one fault, or of two or three that overlap. `--plan` prints it; the same seed
is the same plan. Faults are objects with a name, `inject` and `heal`: processes that are killed or
stopped (`processes.py`), cut and flapping links (`links.py`), power (`power.py`), disks that are
full or hang (`volumes.py`; journal and Raft have volumes of their own), wall clocks that jump
(`clocks.py`), services that do not stop, fence devices that refuse, hang and lie (`--devices`), and
operators (`deeds.py`). A fault that finds nothing to strike, because another of its step was there
before, is told and does not count. After each step the pair has a bounded time to be well again:
one active, both in sync, all members of one mind, the client served, and what it sends
acknowledged. Steps are minutes where failures in life are months apart, so before each one failed
services are forgotten as by `staqctl service clear`: else a run would meet the limits for services
that fail again and again, and the group would stay with a dead one, as documented.

Meanwhile the client's host asks for a page fifty times a second, has a small mailer deliver mails
and append lines to spools, and fetches pages from nginx and puts them back with a line more, all
through the VIP (`courier.py`); what ever was written to a page or a spool is to be seen in it
(`versions.py`). What arrived counts as acknowledged when a barrier says so (`promises.py`). Now and
then users are busy on the active itself (`users.py`). The watcher on the bridge asks who has the
VIP, and every member is asked what it thinks (`lab.views`). At the end:

- nobody saw two hosts answer for the VIP;
- the history of epochs, over real-time intervals, could have been that of one thing that is passed
  on from hand to hand (`history.py`, PURE);
- no host took a write in the reign of the other (`writes.py`, PURE);
- every acknowledged mail is on the active, as it was written, and every acknowledged line in its
  page or spool; no client was served a page that nobody wrote;
- every mail, and every change of a page or a spool, that a host had on its disk and that is not on
  the active is in that host's quarantine, but for pages that nginx had not synced when the power
  went; files that nobody touched are as they were before (`account.py`);
- the trees of both replicas are equal, no status says that anything is wrong (after each step), and
  no log has an exception that nobody handled.

`test_checkers.py` plants a violation for each, and in `test_sabotage.py` (long) somebody breaks
things behind the back of a whole run. What does not hold is printed with what happened
around it, host by host and on one clock (`trace.py`), with the command that does the same faults
again, and ends the run with 1. What they meet is up to the machine's timing, so a failed run keeps
its logs. Workload, faults and checks know nothing of each other.
"""
