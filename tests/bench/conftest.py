"""The lab's fixtures are the bench's too."""

from __future__ import annotations

from lab.conftest import lab

__all__ = ["lab"]
