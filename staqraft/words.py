"""Pieces of sentences that several packages say."""

from __future__ import annotations


def because(reason: str) -> str:
    """The end of a sentence: why, if that was said."""
    return f": {reason}" if reason else ""
