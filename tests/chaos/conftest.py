"""The lab's fixtures are those of chaos too."""

from __future__ import annotations

from lab.conftest import lab

__all__ = ["lab"]
