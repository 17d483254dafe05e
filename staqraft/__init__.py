"""StaqRaft: two ordinary Linux servers that act as one which does not go down.

The package docstrings are the design notes of their packages; ARCHITECTURE.md is the map.
"""

import os

# gRPC's C core writes a line to stderr for each failed TLS handshake, so that any stranger could
# fill the log. It reads this when it is first imported, hence here. The operator's word wins.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

__version__ = "0.1.0"
