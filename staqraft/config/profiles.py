"""What is known of a kind of tree: what in it is of this host and this moment only.

Left out is only what the program makes anew by itself, or what means nothing on another host
(sockets, process ids, locks). `exclude` and `include` of a tree come after these, so whoever knows
better can say so.
"""

from __future__ import annotations

from typing import Final

_DOVECOT: Final = ("dovecot.index*", "dovecot.list.index*", "dovecot-uidlist.lock")
"""Dovecot's caches over Maildir and mbox: it writes to them through mappings and makes them anew
from the mails. dovecot-uidlist, dovecot-keywords and subscriptions are data, and are replicated."""

PROFILES: Final[dict[str, tuple[str, ...]]] = {
    "plain": (),
    "web": ("/lost+found/", ".nfs*", "*.pid", "*.sock", ".*.sw[op]"),
    # What is in tmp/ is left out as well: files only, which no pattern can say (see `Excludes`).
    "maildir": ("/lost+found/", *_DOVECOT),
    "mbox": ("/lost+found/", "*.lock", *_DOVECOT),
    "postfix-queue": (
        # Sockets, FIFOs and locks of the running Postfix, and the copies that Debian's start script
        # puts into the chroot. The queues themselves are replicated.
        "/private/", "/public/", "/pid/",
        "/dev/", "/etc/", "/lib/", "/lib64/", "/usr/",
    ),
    # Journals of dynamic zones (.jnl) are data: named replays them as after a power cut.
    "bind": ("*.pid", "*.sock", "session.key", "named.lock", "tmp-??????????", "*.jbk"),
}  # fmt: skip
