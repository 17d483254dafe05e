"""What went wrong with a call, for a person: gRPC's own texts repeat addresses and its layers."""

from __future__ import annotations

import re
from typing import Final

import grpc.aio

_CONNECTING: Final = re.compile(
    r"failed to connect to all addresses; last error: \w+: (?:ipv[46]:\S+: )?"
    r"(?:Failed to connect to remote host: )?(?:connect: )?(?P<why>.*)",
    re.DOTALL,
)
_NUMBER: Final = re.compile(r" \(\d+\)$")
_NOBODY: Final = "connection refused"


def in_words(error: grpc.aio.AioRpcError) -> str:
    """Why a call failed. The caller says who was called, and by which way."""
    return plain(error.details() or error.code().name)


def plain(details: str) -> str:
    """A text of gRPC, without what only its authors want to know."""
    found = _CONNECTING.fullmatch(details)
    if found is None:
        return details
    why = _NUMBER.sub("", found["why"])
    if why.lower() == _NOBODY:
        return f"nobody listens there ({_NOBODY})"
    return why[:1].lower() + why[1:] if why[1:2].islower() else why
