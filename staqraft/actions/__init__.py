"""What StaqRaft does to the world when the core says so: fence, hold the VIPs, run services.

Nothing here decides. An action is told what to do and by when, does it, makes sure by the kernel's
or the peer's word that it was done, and raises an ActionError that a person can act upon when it
was not. The order of actions, and what their failure means, are the core's business.

**The kernel enforces the lease** (vip). Each address is added with a lifetime and refreshed at
every committed renewal, so a process that is killed, stopped or stuck loses its addresses without
doing anything. Lifetimes are whole seconds and the kernel looks up to 250 ms plus an eighth of the
lifetime late (measured on 6.18: 2 s gone after 2.13 s, 3 s after 3.24 s, 6 s after 6.39 s;
net/ipv4/devinet.c check_lifetime and the coarse timer wheel). So the lifetime that is set is the
longest whole second whose latest end lies before the lease's end. `hold` takes that end as a
deadline, not as a duration, because the time until the call reaches the kernel counts too; it looks
at the clock again afterwards and takes the address back when the call was held up (a stopped
process that goes on must not bring its addresses back).

**The gate closes to the millisecond** (gate, gate_rules, nft). Sets of live addresses, whose
elements end by themselves, in nftables of our own: what is to, from or about an address that is not
live is dropped, packets and ARP and neighbour discovery alike. A refresh replaces the elements in
one transaction through libnftables (0.12 ms of CPU; no program is run for it), between two packets.

**Own addresses are marked** (IFA_PROTO, kernel 5.18; before that, a lifetime is the mark).
What an administrator configured permanently is never changed and never removed: it is an error that
says what to do, because an address that stays behind answers beside the new active.

**Nothing that can wait in the kernel runs on the event loop.** A netlink call waits for the
routing lock inside the system call, asynchronous library or not, and exec waits for the disk that
the program is on: both have named threads of their own. Sending on a packet socket does not wait,
closing one does (8 to 27 ms measured), so it is kept open.

**Announcements ask twice** (announce): a gratuitous ARP from a node that no longer holds the
address would steal the traffic, so each one is preceded by a look at the lease and at the kernel.

**Who has it** (whohas): before an address is taken the network is asked for it, by ARP probes and
duplicate address detection through packet sockets, which see answers that the gate would drop.

**Services** (services, process, systemd) are units, over systemd's D-Bus API with the job's end
waited for, or commands without a shell in a process group of their own. What these print is drained
for as long as somebody holds the other end, and its tail is quoted in the failure. A stop that
fails is an error of its own kind, because it means "fence me". `checks` says whether one is well.

**Fencing by request** (fence): ask the loser on every ring and through every other node at once.
No answer is an ordinary outcome, not an error: the next rung of the ladder follows.
"""
