"""Runs an async test in a network of its own: a thread with a network namespace, and `ip` in it.

Threads and programs that the test starts are in the same namespace; the rest of the run is not.
"""

from __future__ import annotations

import asyncio
import ctypes
import functools
import os
import subprocess
import threading
from collections.abc import Awaitable, Callable
from typing import ParamSpec

import pytest

P = ParamSpec("P")

CLONE_NEWNET = 0x40000000
INSIDE, OUTSIDE = "inside0", "outside0"  # the two ends of a cable

_libc = ctypes.CDLL(None, use_errno=True)


def ip(*words: str) -> str:
    """Runs `ip` in the namespace of the calling thread."""
    done = subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
    return done.stdout


def _enter() -> None:
    if _libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _plug_cable() -> None:
    ip("link", "add", INSIDE, "type", "veth", "peer", "name", OUTSIDE)
    for interface in ("lo", INSIDE, OUTSIDE):
        ip("link", "set", interface, "up")


def in_private_network(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Decorates an async test; skips it where namespaces are not permitted."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        outcome: list[BaseException | None] = []

        def body() -> None:
            try:
                _enter()
            except PermissionError as error:
                outcome.append(error)
                return
            try:
                _plug_cable()
                asyncio.run(_await(test(*args, **kwargs)))
            except BaseException as error:  # noqa: BLE001 - handed to the test's thread
                outcome.append(error)

        thread = threading.Thread(target=body, name=test.__name__)
        thread.start()
        thread.join()
        match outcome:
            case [PermissionError()]:
                pytest.skip("network namespaces need root")
            case [BaseException() as error]:
                raise error

    return run


async def _await(awaitable: Awaitable[None]) -> None:
    await awaitable
