"""What can go wrong with the index."""

from __future__ import annotations

from staqraft.errors import StaqraftError


class IndexProblem(StaqraftError):
    """The index cannot do what was asked."""

    exit_code = 6


class IndexDamaged(IndexProblem):
    """The database is not readable. It is marked; the next start moves it aside and rebuilds it."""

    grpc_status = "DATA_LOSS"


class IndexFull(IndexProblem):
    """The volume of the index has no space. What was put since the last commit is forgotten."""

    retryable = True
    grpc_status = "RESOURCE_EXHAUSTED"


class MissingParent(IndexProblem):
    """An entry was put whose directory is not in the index: parents come first."""
