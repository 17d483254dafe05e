"""Connections that are passed on to a server of this process through a unix socket of their own.

The socket's name tells the server on whose behalf, and the server tells who wants to know when it
turns out to be somebody's.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final
from urllib.parse import unquote

_RELAYED: Final = "staqraft-relay/"

# By name: who wants to know when a connection that was passed on turns out to be somebody's.
relays: dict[str, Callable[[], None]] = {}


def name_for(address: str, number: int) -> str:
    """The abstract name of the unix socket through which a connection of `address` is passed on.

    `number` makes it unique.
    """
    return f"{_RELAYED}{address}/{os.getpid()}/{number}"


def name_in(peer: str) -> str:
    """That name, in gRPC's words for a peer; "" for one that was not passed on."""
    kind, _, name = unquote(peer).partition(":")
    return name if kind == "unix-abstract" and name.startswith(_RELAYED) else ""


def address_in(name: str) -> str:
    """Where the connection came from."""
    return name.removeprefix(_RELAYED).partition("/")[0]
