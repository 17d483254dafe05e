"""Ports for servers of tests."""

from __future__ import annotations

import random
import socket

FIRST, LAST = 20_000, 31_999  # the kernel gives those above to whoever connects to somebody


def free_port() -> int:
    """A TCP port that nobody has at any address of this host now, and nobody gets by chance."""
    dice = random.SystemRandom()
    while True:
        port = dice.randint(FIRST, LAST)
        with socket.socket() as probe:
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                continue
            return port
