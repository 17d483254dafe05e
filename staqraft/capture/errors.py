"""What can go wrong when changes are captured."""

from __future__ import annotations

from staqraft.errors import StaqraftError


class CaptureError(StaqraftError):
    """The trees cannot be watched or read as asked."""

    exit_code = 6


class WatchUnavailable(CaptureError):
    """A back end cannot watch here; the message is the reason, for status and for people."""

    grpc_status = "UNAVAILABLE"


class CookieUnavailable(WatchUnavailable):
    """Not in this directory: another may do for the cookies of the same back end."""


class Uncaptured(CaptureError):
    """Something was written before, perhaps, that could not be read: a barrier cannot say so."""

    retryable = True
    grpc_status = "FAILED_PRECONDITION"


class ObjectUnstable(CaptureError):
    """The object changed its type or place each time that it was read."""

    retryable = True
    grpc_status = "ABORTED"
