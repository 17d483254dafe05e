"""What is wrong now, by a short stable name, with a sentence for people; logged when it changes."""

from __future__ import annotations

import logging
import re

logger = logging.getLogger(__name__)

_DIGITS = re.compile(r"\d+")


class Problems:
    """The current findings. The same one again, but for its figures, is not logged again."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def set(self, code: str, text: str) -> None:
        """`text` says what happened, where, and what to do."""
        if _DIGITS.sub("", self._texts.get(code, "")) != _DIGITS.sub("", text):
            logger.warning("%s", text, extra={"code": code})
        self._texts[code] = text

    def clear(self, code: str) -> None:
        """It is over."""
        if self._texts.pop(code, None) is not None:
            logger.info("over: %s", code)

    def now(self) -> list[tuple[str, str]]:
        """Code and text of each, sorted by code."""
        return sorted(self._texts.items())
