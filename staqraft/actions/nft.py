"""libnftables: commands for the kernel's packet filter, in this process. Blocks.

The library's text language is used, not its JSON: JSON knows whole seconds only (1.0.6). A buffer
of commands is one transaction, over all tables, of which the kernel does everything or nothing.
"""

from __future__ import annotations

import ctypes
import os
import threading
from typing import Protocol

from staqraft.errors import ActionError

LIBRARY = "libnftables.so.1"

# Contexts share state inside the library, and groups have threads of their own.
_one_at_a_time = threading.Lock()


class NftRefused(ActionError):
    """The kernel, or the library before it, refused a transaction: nothing of it took effect."""


class Filter(Protocol):
    """What a gate needs of the packet filter."""

    def run(self, commands: str) -> str:
        """One transaction; returns what the commands print. NftRefused when nothing was done."""

    def close(self) -> None:
        """Gives the library's memory and socket back."""


class Nft:
    """The packet filter of this network namespace."""

    def __init__(self) -> None:
        """ActionError when the library is not installed."""
        try:
            self._library = ctypes.CDLL(LIBRARY, use_errno=True)
        except OSError as error:
            raise ActionError(
                f"{LIBRARY} cannot be loaded ({error}): install the package libnftables1"
            ) from error
        self._declare()
        self._context: int | None = self._library.nft_ctx_new(0)
        if not self._context:
            raise ActionError(f"{LIBRARY} cannot begin: {os.strerror(ctypes.get_errno())}")
        self._library.nft_ctx_buffer_output(self._context)
        self._library.nft_ctx_buffer_error(self._context)

    def _declare(self) -> None:
        library, context = self._library, ctypes.c_void_p
        library.nft_ctx_new.restype = context
        library.nft_ctx_new.argtypes = [ctypes.c_uint32]
        library.nft_ctx_free.argtypes = [context]
        library.nft_ctx_free.restype = None
        library.nft_ctx_buffer_output.argtypes = [context]
        library.nft_ctx_buffer_error.argtypes = [context]
        for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
            getattr(library, name).argtypes = [context]
            getattr(library, name).restype = ctypes.c_char_p
        library.nft_run_cmd_from_buffer.argtypes = [context, ctypes.c_char_p]

    def run(self, commands: str) -> str:
        """One transaction; returns what the commands print. NftRefused when nothing was done."""
        library, context = self._library, self._context
        assert context is not None, "used after close"
        with _one_at_a_time:
            failed = library.nft_run_cmd_from_buffer(context, commands.encode("ascii"))
            said: bytes = library.nft_ctx_get_error_buffer(context) or b""
            printed: bytes = library.nft_ctx_get_output_buffer(context) or b""
        if failed:
            lines = said.decode(errors="replace").split("\n")
            # "Error: Could not process rule: Operation not permitted", then the text it is about
            reason = lines[0].removeprefix("Error: ") or "it gives no reason"
            raise NftRefused(f"the packet filter refused: {reason}{_advice(reason)}")
        return printed.decode(errors="replace")

    def close(self) -> None:
        """Gives the library's memory and socket back."""
        if self._context is not None:
            with _one_at_a_time:
                self._library.nft_ctx_free(self._context)
            self._context = None


def _advice(reason: str) -> str:
    if "not permitted" in reason or "Permission denied" in reason:
        return ": staqraftd needs root or CAP_NET_ADMIN"
    if "not supported" in reason:
        return ": the kernel lacks nf_tables, its inet or arp family, or fib: 'modprobe nf_tables'"
    return ""
