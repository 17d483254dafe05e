"""How fast changes of files reach the standby, beside the tools that people use today.

Six workloads, each on fresh hosts (`hosts.py`: namespaces, one cable, new ext4 images), by StaqRaft
and its peers in turn, several times; medians, and ratios between them, are what counts. StaqRaft
runs as on real replicas: both processes of a data worker, TLS, and the standby's journal synced
before it acknowledges. Peers are given their best: no encryption, no delay, nanosecond times.

What is measured is what a user on the standby sees (`watch.py`): names, sizes and contents. A run
counts only if both trees are equal at its end, StaqRaft's in all metadata, a peer's in content.
Bytes are counted on the cable, processor time by the hosts' cgroups, kernel threads excluded.
"""
