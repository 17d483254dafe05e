"""What administrators and the other nodes may ask of a staqraftd over gRPC.

**Two doors.** The unix socket is root's: it lies in a directory of mode 0700 and has mode 0600
itself, so that the kernel has decided before a byte is read; whoever connects is trusted. On TCP,
each ring address has a server of its own behind mutual TLS (staqraft.wire.tls), and
`authorisation` decides by the identity in the certificate: administrators may use the admin
service, only nodes may fence and speak Raft, and what the policy does not name is for nodes only.
A ring whose address is missing at boot (a dead card, a late DHCP) is reported and tried again in
the background: it must not keep the node from running on the other.

**The servicer is thin.** It resolves what was left out (the group, the target), refuses what makes
no sense, sends `Barrier` and `SwitchOver` on to the active when this node is not it, and leaves the
rest to `node.Node`, which the daemon implements. A call is passed on once: two nodes that take each
other for the active must not play ball with it. Among the active's rings the first that
connects wins, and only then is the request sent, so it is never sent twice.

**Errors** travel as a gRPC status with the sentence as its details, and the class and exit code of
the StaqraftError in the trailing metadata, so that staqctl ends as if it had happened there.
"""
