"""The error tree. Each class says whether a retry helps, the exit code and the gRPC status.

A message says what happened, to which node and path, and what to do next. Expected outcomes
(a refused command, a standby that needs a reconcile) are returned values, not errors.
"""

from __future__ import annotations

from typing import ClassVar


class StaqraftError(Exception):
    """Base of all errors that StaqRaft raises on purpose."""

    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1
    grpc_status: ClassVar[str] = "INTERNAL"


class ConfigError(StaqraftError):
    """The configuration cannot be used. `problems` has every finding, one sentence each."""

    exit_code = 2
    grpc_status = "INVALID_ARGUMENT"

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class ConsensusError(StaqraftError):
    """Raft cannot do what was asked, or its store is not usable."""

    exit_code = 3
    grpc_status = "UNAVAILABLE"


class OutcomeUnknown(ConsensusError):
    """A proposal timed out or lost its leader: it may or may not take effect. Re-read first."""

    retryable = True


class StoreFull(ConsensusError):
    """The Raft volume has no space: the node does not vote or acknowledge until there is some."""

    retryable = True


class Outdated(ConsensusError):
    """The cluster speaks a newer format than this software knows: upgrade this node."""

    exit_code = 12
    grpc_status = "FAILED_PRECONDITION"


class JournalError(StaqraftError):
    """The journal cannot be read or written as asked."""

    exit_code = 4


class JournalBusy(JournalError):
    """Another process writes the journal; at a change of role it lets go within moments."""

    retryable = True
    grpc_status = "UNAVAILABLE"


class JournalFull(JournalError):
    """The journal volume or its bound is full; capture goes on as dirty, nothing is blocked."""

    retryable = True
    grpc_status = "RESOURCE_EXHAUSTED"


class JournalCorrupt(JournalError):
    """A record in the middle of the journal does not match its checksum: a reconcile is needed."""

    grpc_status = "DATA_LOSS"


class ReplicationError(StaqraftError):
    """The stream to or from the peer failed."""

    exit_code = 5
    retryable = True
    grpc_status = "UNAVAILABLE"


class StaleEpoch(ReplicationError):
    """A message of an older epoch was refused: its sender is no longer active."""

    retryable = False
    grpc_status = "FAILED_PRECONDITION"


class ApplyError(StaqraftError):
    """A record could not be applied to the standby's tree."""

    exit_code = 6


class PathEscape(ApplyError):
    """A record's path would leave its tree; it is refused and its sender is not to be trusted."""

    grpc_status = "INVALID_ARGUMENT"


class ActionError(StaqraftError):
    """A VIP, service or fence action failed."""

    exit_code = 7
    grpc_status = "ABORTED"


class NotActive(StaqraftError):
    """Asked of a node that is not the group's active; the message names who is."""

    exit_code = 8
    retryable = True
    grpc_status = "FAILED_PRECONDITION"


class BarrierTimeout(StaqraftError):
    """What was written before the call is not known to be durable on every in-sync replica yet."""

    exit_code = 9
    retryable = True
    grpc_status = "DEADLINE_EXCEEDED"


class Unreachable(StaqraftError):
    """The daemon that was asked does not answer."""

    exit_code = 10
    retryable = True
    grpc_status = "UNAVAILABLE"


class CertificateError(StaqraftError):
    """A certificate or its authority cannot be made or read; nothing was overwritten."""

    exit_code = 11
    grpc_status = "FAILED_PRECONDITION"
