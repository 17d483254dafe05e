"""Capture: what changed in the active's trees, into the journal."""

from staqraft.capture.capture import Capture
from staqraft.capture.errors import CaptureError, ObjectUnstable, WatchUnavailable
from staqraft.capture.ports import CaptureStatus
from staqraft.capture.reader import ObjectReader
from staqraft.capture.watcher import Watcher

__all__ = [
    "Capture",
    "CaptureError",
    "CaptureStatus",
    "ObjectReader",
    "ObjectUnstable",
    "WatchUnavailable",
    "Watcher",
]
