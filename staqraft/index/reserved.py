"""What is in a tree and never replicated: StaqRaft's own names, and attributes of a machine."""

from __future__ import annotations

from typing import Final

RESERVED_PREFIX: Final = b".staqraft-"
STAGING_NAME: Final = b".staqraft-staging"  # directory at a tree's root, on the tree's filesystem

LOCAL_XATTRS: Final = (
    "trusted.overlay.",  # the layers of an overlayfs
    "trusted.SGI_ACL_",  # how XFS stores the ACLs that it shows as system.posix_acl_* as well
    "btrfs.",  # compression and the like: of the filesystem, as chattr's flags are
    "security.ima",
    "security.evm",  # keyed to the machine
    "system.nfs4_acl",
)
"""Extended attributes that say something of this machine or filesystem, not of the data: they are
not read, and left alone on the other side."""


def is_reserved(path: bytes) -> bool:
    """Whether a path (relative to its tree) has a component that begins with `.staqraft-`."""
    if RESERVED_PREFIX not in path:
        return False
    return any(part.startswith(RESERVED_PREFIX) for part in path.split(b"/"))
