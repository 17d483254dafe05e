"""The problems that keep a standby from applying what it has. Each ends by itself."""

from __future__ import annotations

from typing import Final

TROUBLES: Final = ("root-missing", "apply-paused", "index-full")
