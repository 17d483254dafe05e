"""What the lab raises on purpose."""

from __future__ import annotations


class LabError(Exception):
    """The lab cannot do what was asked; the message says why and what to do."""


class MissingError(LabError):
    """Something that the lab needs is not on this machine or not allowed here."""
