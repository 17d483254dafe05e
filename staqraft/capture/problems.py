"""What is wrong at present, in sentences for people; said in the log when it comes and goes."""

from __future__ import annotations

import logging
import threading

logger = logging.getLogger(__name__)


class Problems:
    """Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._texts: dict[str, str] = {}

    def report(self, key: str, text: str) -> None:
        """Keeps a problem under its key; "" clears it."""
        with self._lock:
            known = self._texts.pop(key, "")
            if text:
                self._texts[key] = text
        if text and text != known:
            logger.warning("Capture: %s.", text)
        elif known and not text:
            logger.info("Capture: it is over: %s.", known)

    def text(self, key: str) -> str:
        """One of them, or ""."""
        with self._lock:
            return self._texts.get(key, "")

    def texts(self) -> tuple[str, ...]:
        """All of them."""
        with self._lock:
            return tuple(self._texts.values())
