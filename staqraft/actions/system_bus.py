"""The system bus, for one conversation at a time: calls, their answers, and signals meanwhile.

A connection is made for each piece of work and closed after it: 2 ms of processor time, and a bus
that was restarted meanwhile needs no thought. The library (jeepney, pure Python) knows the format
of messages and the greeting; waiting is done here, because nothing may wait for ever.
"""

from __future__ import annotations

import contextlib
import os
from asyncio import open_unix_connection
from collections.abc import AsyncIterator
from typing import Any

from jeepney import DBusAddress, HeaderFields, Message, MessageType, message_bus, new_method_call
from jeepney.auth import BEGIN, AuthenticationError, Authenticator
from jeepney.bus import get_bus
from jeepney.bus_messages import MatchRule
from jeepney.io.asyncio import DBusConnection
from jeepney.low_level import SizeLimitError

from staqraft.errors import ActionError

SIGNALS_KEPT = 1000
_NOBODY = {
    "org.freedesktop.DBus.Error.ServiceUnknown",
    "org.freedesktop.DBus.Error.NameHasNoOwner",
    "org.freedesktop.DBus.Error.NoReply",
    "org.freedesktop.DBus.Error.Disconnected",
    "org.freedesktop.DBus.Error.Spawn.ExecFailed",
}


class BusGone(ActionError):
    """There is no bus, it does not take us, or whom we want to speak to is not on it."""


class Refused(ActionError):
    """The call was answered with an error; `name` is its name on the bus."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


class Bus:
    """An open connection. Used by one task."""

    def __init__(self, connection: DBusConnection) -> None:
        self._connection = connection
        self._signals: list[Message] = []

    async def call(
        self, whom: DBusAddress, method: str, signature: str = "", *arguments: Any
    ) -> tuple[Any, ...]:
        """The body of the answer. `Refused` if that is an error; `BusGone`."""
        return await self._ask(new_method_call(whom, method, signature or None, arguments))

    async def listen(self, rule: MatchRule) -> None:
        """From now on signals like this come in."""
        await self._ask(message_bus.AddMatch(rule))

    async def signal(self, member: str) -> tuple[Any, ...]:
        """The body of the next signal of this name, also of one that came before."""
        while True:
            for place, message in enumerate(self._signals):
                if message.header.fields.get(HeaderFields.member) == member:
                    del self._signals[place]
                    body: tuple[Any, ...] = message.body
                    return body
            self._keep(await self._receive())

    async def _ask(self, message: Message) -> tuple[Any, ...]:
        serial = next(self._connection.outgoing_serial)
        try:
            await self._connection.send(message, serial=serial)
        except OSError as error:
            raise BusGone(f"the system bus was closed: {error.strerror or error}") from None
        while True:
            answer = await self._receive()
            if answer.header.fields.get(HeaderFields.reply_serial) != serial:
                self._keep(answer)
                continue
            if answer.header.message_type is not MessageType.error:
                body: tuple[Any, ...] = answer.body
                return body
            name = str(answer.header.fields.get(HeaderFields.error_name, "an error"))
            text = str(answer.body[0]) if answer.body else name
            raise BusGone(text) if name in _NOBODY else Refused(name, text)

    async def _receive(self) -> Message:
        try:
            return await self._connection.receive()
        except (EOFError, OSError):
            raise BusGone("the system bus hung up") from None
        except (ValueError, SizeLimitError) as error:
            raise BusGone(f"the system bus said something that is no message: {error}") from None

    def _keep(self, message: Message) -> None:
        if message.header.message_type is MessageType.signal:
            self._signals.append(message)
            del self._signals[:-SIGNALS_KEPT]


@contextlib.asynccontextmanager
async def system_bus() -> AsyncIterator[Bus]:
    """A connection for the block. `BusGone`. The caller has a time limit of its own around it."""
    try:
        path = get_bus("SYSTEM")
    except (RuntimeError, ValueError) as error:
        address = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS", "")
        raise BusGone(f"DBUS_SYSTEM_BUS_ADDRESS={address!r} is no usable address") from error
    try:
        reader, writer = await open_unix_connection(path)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else error
        raise BusGone(f"the system bus cannot be reached at {path}: {why}") from None
    try:
        greeting = Authenticator()
        for request in greeting:
            writer.write(request)
            greeting.feed(await reader.read(1024))
        writer.write(BEGIN)
        bus = Bus(DBusConnection(reader, writer))
        await bus._ask(message_bus.Hello())  # noqa: SLF001 - the first call, before it is handed out
        yield bus
    except AuthenticationError as error:
        raise BusGone(f"the system bus does not take us: {error}") from None
    except OSError as error:
        raise BusGone(f"the system bus hung up: {error.strerror or error}") from None
    finally:
        writer.transport.abort()
