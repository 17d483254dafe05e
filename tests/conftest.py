"""For all tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Before any test imports grpc: it sets how much gRPC's core writes to stderr, as in the daemons.
import staqraft  # noqa: F401

# No example has a time limit: a machine that stands still for a moment refutes nothing. And what is
# tried is the same each time, so that a change is judged by what it changed. To look for more:
# `scripts/test --hypothesis-profile=search`.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", PATIENT, max_examples=1000)
settings.register_profile("same", PATIENT, derandomize=True)
settings.load_profile("same")
