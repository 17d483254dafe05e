"""StaqraftErrors as gRPC statuses: there and back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import grpc
import grpc.aio

from staqraft.errors import StaqraftError, Unreachable
from staqraft.wire import tls

ERROR_KEY = "staqraft-error"
EXIT_CODE_KEY = "staqraft-exit-code"
LONGEST = 3000  # bytes of a message: metadata is limited to 8 KiB, percent-encoding may double it


@asynccontextmanager
async def told(context: tls.Context) -> AsyncIterator[None]:
    """Ends the call with the status of a StaqraftError raised inside, or of a peer's answer."""
    try:
        yield
    except StaqraftError as error:
        await context.abort(
            grpc.StatusCode[error.grpc_status],
            _cut(str(error)),
            described(error),
        )
    except grpc.aio.AioRpcError as error:
        said = _trailing(error)
        details = error.details() or error.code().name
        if EXIT_CODE_KEY in said:
            kept = tuple((key, said[key]) for key in (ERROR_KEY, EXIT_CODE_KEY) if key in said)
            await context.abort(error.code(), details, kept)
        await context.abort(
            grpc.StatusCode[Unreachable.grpc_status],
            f"the node to which this was passed on did not answer to the end ({details}):"
            " whether it was done is not known; 'staqctl status' and 'staqctl events' say",
            ((ERROR_KEY, Unreachable.__name__), (EXIT_CODE_KEY, str(Unreachable.exit_code))),
        )


def described(error: StaqraftError) -> tuple[tuple[str, str], ...]:
    """What a program wants to know of it, for the call's trailing metadata."""
    return ((ERROR_KEY, type(error).__name__), (EXIT_CODE_KEY, str(error.exit_code)))


def exit_code_of(error: grpc.aio.AioRpcError) -> int | None:
    """The exit code that the other side attached, if it did."""
    code = _trailing(error).get(EXIT_CODE_KEY, "")
    return int(code) if code.isdigit() else None


def _trailing(error: grpc.aio.AioRpcError) -> dict[str, str]:
    # The stub takes the items for something that is no pair.
    pairs: Iterable[tuple[str, str | bytes]] = error.trailing_metadata() or ()  # type: ignore[assignment]
    return {key: value for key, value in pairs if isinstance(value, str)}


def _cut(text: str) -> str:
    data = text.encode()
    return text if len(data) <= LONGEST else data[:LONGEST].decode(errors="ignore") + " ..."
