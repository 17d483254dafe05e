"""A network of four hosts on one machine: the ground of the demo and of the lab tests.

**Hosts.** `a` and `b` are replicas, `w` is the witness, `client` asks for pages. A host is one
small init process (`init.py`, pid 1 of its own PID namespace) that holds the host's network, mount,
UTS and IPC namespaces. To cut its power is to take its links down and to SIGKILL that init: the
kernel then kills everything that runs in the host at once. Nothing can say goodbye to the network,
as with a real power cut.

**Without a witness** there is no `w`, but a power strip (`strip.py`): either replica turns the
other off through it, by a fence agent (`fence_lab`) that real daemons run as any other.

**The switch** is one more init, the ancestor of all hosts, whose network namespace holds the
bridges of the two networks. So nothing touches the machine's own network, and killing the switch
ends the whole lab, whatever state it is in.

**Disks.** With root they are ext4 images on loop devices, and a power cut shuts the filesystem down
without writing its log (EXT4_IOC_SHUTDOWN), so that what was not fsynced is really lost. Loop
devices are attached with autoclear: they vanish with the last mount. Without root (or without loop
devices) they are tmpfs directories that the switch holds; then a power cut forgets nothing, and
`status` says so. Every boot has a boot id of its own, mounted over /proc/sys/kernel/random/boot_id.

**Mounts.** The hosts see the machine's filesystem with private overlays over /etc, /var/lib and
/var/log, a /run of their own, and their disks at the same paths on both replicas. They write
nothing to the machine outside of the lab's directory.

**Truth.** `arpwatch.py` asks the bridge itself who has the VIP, fifty times a second, with a sender
address per question: two MACs that answer the same question are two holders at one instant.
`prober.py` is the client's view. Both stamp with CLOCK_BOOTTIME, which all namespaces share, so
their records can be laid side by side; the cluster itself never compares clocks.

`views.py` asks every member for its status some twenty times a second: conditions to wait for, and
a history to check.

Only the standard library is used here, so that the lab works before anything is installed; except
in `views.py` and what stands on it, which speak to the daemons over gRPC as `staqctl` does.
"""
