"""For all tests."""

from __future__ import annotations

# Before any test imports grpc: it sets how much gRPC's core writes to stderr, as in the daemons.
import staqraft  # noqa: F401
