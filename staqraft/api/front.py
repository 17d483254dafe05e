"""One port for many clusters: each connection goes to the cluster whose node it asks for.

Every cluster has its own authority, and none may vouch for another's members. So each cluster has
its own TLS server, that knows no other authority, on a unix socket; here the host name in the
client's greeting (`<node>.<cluster>.staqraft`) is read, and the connection is passed on to that
server byte by byte. Nothing is decrypted here and nobody is trusted here: who asks for a cluster
that it has no certificate of is refused by that cluster's server in its handshake.

All of it is bounded: how long a greeting may take, how many connections wait for theirs, how many
a cluster has, and how often one address may connect, so that one misbehaving pair costs the others
nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from staqraft.api.sockets import BUFFER_BYTES, dial_unix, pump
from staqraft.errors import StaqraftError
from staqraft.logs import Once, log_once
from staqraft.wire import relay
from staqraft.wire.client_hello import MAX_HELLO_BYTES, NotTls, server_name

logger = logging.getLogger(__name__)

GREETING_S: Final = 5.0
MAX_WAITING: Final = 128  # connections whose greeting is not complete
MAX_OF_A_CLUSTER: Final = 64
RETRY_S: Final = 2.0
SUSPECT_S: Final = 3.0
_TOO_OFTEN: Final = "it connects too often; some of its connections are ended"
_REMEMBERED: Final = 4096

Route = Callable[[str], Awaitable[Path | None]]
"""The unix socket of the server for this host name, started if it did not run; None: no such."""


@dataclass(slots=True)
class _Allowance:
    left: float
    at: float


class Rates:
    """How often each may come; bounded memory. `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float], burst: int, per_s: float) -> None:
        """`burst` times at once, and `per_s` times a second in the long run."""
        self._clock = clock
        self._burst = burst
        self._per_s = per_s
        self._known: OrderedDict[str, _Allowance] = OrderedDict()

    def allow(self, who: str) -> bool:
        """Whether `who` may come once more now."""
        now = self._clock()
        known = self._known.setdefault(who, _Allowance(self._burst, now))
        self._known.move_to_end(who)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        known.left = min(self._burst, known.left + (now - known.at) * self._per_s)
        known.at = now
        if known.left < 1:
            return False
        known.left -= 1
        return True


class Front:
    """Listens on some addresses and passes connections on. In the asyncio loop."""

    def __init__(self, port: int, route: Route) -> None:
        self._port = port
        self._route = route
        clock = asyncio.get_running_loop().time
        self._callers = Rates(clock, burst=120, per_s=20)  # addresses; many pairs may share one
        self._visitors = Rates(clock, burst=30, per_s=5)  # of one cluster at one address
        self._wanted: frozenset[str] = frozenset()
        self._listening: dict[str, asyncio.Server] = {}
        self._problems: dict[str, str] = {}
        self._changed = asyncio.Event()
        self._waiting = 0
        self._of_cluster: Counter[str] = Counter()
        self._open: set[asyncio.StreamWriter] = set()
        self._said = Once()
        self._known = Once(capacity=1024)
        self._number = itertools.count()

    @property
    def problems(self) -> tuple[str, ...]:
        """The addresses on which it does not listen yet, a sentence each."""
        return tuple(self._problems.values())

    @property
    def listening(self) -> bool:
        """Whether it listens wherever it is to."""
        return bool(self._wanted) and self._wanted == self._listening.keys()

    def listen_on(self, addresses: Iterable[str]) -> None:
        """Listens on these from now on, and no more on others; open connections stay."""
        self._wanted = frozenset(addresses)
        self._changed.set()

    async def run(self) -> None:
        """Serves until cancelled. What cannot be bound is tried again."""
        try:
            while True:
                self._changed.clear()
                await self._open_and_close()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RETRY_S if self._problems else None):
                        await self._changed.wait()
        finally:
            for server in self._listening.values():
                server.close()
            for writer in list(self._open):
                writer.transport.abort()

    async def _open_and_close(self) -> None:
        for address in set(self._listening) - self._wanted:
            self._listening.pop(address).close()
            logger.info("listening no more", extra={"address": address})
        for address in set(self._problems) - self._wanted:
            del self._problems[address]
        for address in sorted(self._wanted - set(self._listening)):
            try:
                self._listening[address] = await asyncio.start_server(
                    self._accepted, address, self._port, limit=BUFFER_BYTES
                )
            except OSError as error:
                text = (
                    f"cannot listen on {address} port {self._port}:"
                    f" {os.strerror(error.errno or 0)}; tried again every {RETRY_S:g} s"
                )
                if self._problems.get(address) != text:
                    logger.warning("%s", text)
                self._problems[address] = text
            else:
                self._problems.pop(address, None)
                logger.info("listening", extra={"address": address, "port": self._port})

    # --- one connection -------------------------------------------------------------------------

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peername = writer.get_extra_info("peername")
        if peername is None or self._waiting >= MAX_WAITING:
            writer.transport.abort()
            return
        address = str(peername[0]).removeprefix("::ffff:")
        if not self._callers.allow(address):
            writer.transport.abort()
            self._refuse(address, "", _TOO_OFTEN)
            return
        self._open.add(writer)
        try:
            await self._serve(reader, writer, address)
        except NotTls as error:
            self._refuse(address, "", str(error))
        except StaqraftError as error:
            self._refuse(address, "", str(error))
        except (OSError, TimeoutError):
            pass  # it went away, or said nothing
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str
    ) -> None:
        self._waiting += 1
        try:
            async with asyncio.timeout(GREETING_S):
                name, greeting = await _greeting(reader)
        finally:
            self._waiting -= 1
        if not self._visitors.allow(f"{address}|{name}"):
            self._refuse(address, name, _TOO_OFTEN)
            return
        path = await self._route(name)
        if path is None:
            self._refuse(address, name, "no cluster of this witness has a node of that name")
            return
        if self._of_cluster[name] >= MAX_OF_A_CLUSTER:
            self._refuse(address, name, f"{MAX_OF_A_CLUSTER} connections are open already")
            return
        self._of_cluster[name] += 1
        try:
            await self._relay(reader, writer, path, (address, name), greeting)
        finally:
            self._of_cluster[name] -= 1
            if not self._of_cluster[name]:
                del self._of_cluster[name]

    async def _relay(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        path: Path,
        whose: tuple[str, str],
        greeting: bytes,
    ) -> None:
        address, name = whose
        passed_on = relay.name_for(address, next(self._number))
        relay.relays[passed_on] = lambda: self._know(address, name)
        inner_reader, inner = await dial_unix(path, passed_on)
        self._open.add(inner)
        try:
            inner.write(greeting)
            await asyncio.gather(pump(reader, inner), pump(inner_reader, writer))
        finally:
            self._open.discard(inner)
            inner.transport.abort()
            if relay.relays.pop(passed_on, None) is not None:
                # It may have looked who answers, and will be back at once to ask.
                loop = asyncio.get_running_loop()
                loop.call_later(SUSPECT_S, self._suspect, address, name)

    def _know(self, address: str, name: str) -> None:
        self._known.first(f"{address}|{name}")

    def _suspect(self, address: str, name: str) -> None:
        if f"{address}|{name}" not in self._known:
            self._refuse(address, name, "it showed no certificate of this cluster")

    def _refuse(self, address: str, name: str, why: str) -> None:
        log_once(
            self._said,
            f"{address}|{name[:100]}|{why}",
            logger,
            logging.WARNING,
            f"refused a connection: {why}; not logged again",
            address=address,
            asked_for=name[:100] or "nobody",
        )


async def _greeting(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """The host name that the client asks for, and all that was read to find it."""
    data = b""
    while (name := server_name(data)) is None:
        piece = await reader.read(MAX_HELLO_BYTES)
        if not piece:
            raise ConnectionResetError
        data += piece
    return name, data
