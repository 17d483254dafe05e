"""Names that belong to StaqRaft inside a tree and are never replicated."""

from __future__ import annotations

from typing import Final

RESERVED_PREFIX: Final = b".staqraft-"
STAGING_NAME: Final = b".staqraft-staging"  # directory at a tree's root, on the tree's filesystem


def is_reserved(path: bytes) -> bool:
    """Whether a path (relative to its tree) has a component that begins with `.staqraft-`."""
    if RESERVED_PREFIX not in path:
        return False
    return any(part.startswith(RESERVED_PREFIX) for part in path.split(b"/"))
