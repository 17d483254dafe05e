"""What goes between nodes and processes: the generated messages (`v1`), and TLS around them.

`tls` is for gRPC's own servers and channels. `stream` is a client of one gRPC call that takes a
fraction of a channel's memory, for Raft's sessions: a witness of 200 pairs has 400 of them.
"""
