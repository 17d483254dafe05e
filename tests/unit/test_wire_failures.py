"""What an administrator reads of a call that failed."""

from __future__ import annotations

import grpc
import grpc.aio
import pytest

from fakes.ports import free_port
from staqraft.wire.failures import in_words, plain

ALL = "failed to connect to all addresses; last error: "


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            f"{ALL}UNKNOWN: ipv4:10.7.1.2:74: Failed to connect to remote host: Connection refused",
            "nobody listens there (connection refused)",
        ),
        (
            f"{ALL}UNAVAILABLE: ipv6:%5Bfd77::1%5D:7410: connect: No route to host (113)",
            "no route to host",
        ),
        (f"{ALL}UNKNOWN: ipv4:10.0.0.1:7410: Network is unreachable", "network is unreachable"),
        (f"{ALL}UNKNOWN: TLS handshake failed", "TLS handshake failed"),
        ("b is not a standby at the moment", "b is not a standby at the moment"),
        ("", ""),
    ],
)
def test_grpcs_layers_and_addresses_are_left_out(said: str, told: str) -> None:
    assert plain(said) == told


async def test_that_is_how_this_grpc_says_it() -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{free_port()}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await channel.unary_unary("/any/method", bytes, bytes)(b"")
    assert in_words(raised.value) == "nobody listens there (connection refused)"
