"""Raft's messages between nodes: one ordered gRPC stream per pair of members, mutual TLS.

Of two members the one with the greater name dials, on all of the other's addresses at once with a
short lead for the preferred ones; the first that answers is the session. An address where nobody
can be reached, or where an opening is refused or not answered in time (a host may lose its power in
between), is tried again by and by, whatever becomes of the others (`manners`): a peer that is back
is soon reached, and nothing of ours spins while it is away. The dialling side speaks gRPC by itself
(`wire.stream`), which is lighter than a channel of the library; the other side is a service of the
node's gRPC server (`endpoint`).

A session is a promise to the Raft library: in order, nothing twice, nothing of an older session.
When it cannot be kept (the queue is full, a peer falls silent) the session is dropped, which Raft
takes as a cut network, instead of growing or reordering anything. A heartbeat of ours finds a dead
host and a frozen or stuck process within about a second.

Everything here runs in the asyncio loop, except `post`, which any thread may call.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError

from staqraft.config.schema import Node, Ring, Tls
from staqraft.consensus.errors import BadMessage
from staqraft.consensus.manners import (
    LONGEST_PATIENCE,
    MAX_MESSAGE_BYTES,
    PLAIN,
    Manners,
    heartbeat_s,
)
from staqraft.consensus.openings import SESSION_ID_BYTES, check_opening, make_opening, named
from staqraft.consensus.session import Read, Session, Sink, Write
from staqraft.errors import CertificateError
from staqraft.logs import Once, log_once
from staqraft.model import Generation, NodeId
from staqraft.names import tls_name
from staqraft.wire.h2_call import Call
from staqraft.wire.stream import Lost, Stream, client_context, dial
from staqraft.wire.v1 import raft_pb2 as pb

logger = logging.getLogger(__name__)

_SERVICE: Final = pb.DESCRIPTOR.services_by_name["RaftService"].full_name

_FRAMES_A_MESSAGE: Final = 10  # that a peer may send: pings, windows and settings are frames, too
_RING_LEAD_S: Final = 0.03  # by so much the preferred address is tried before the next
_REDIAL_S: Final = 0.1
_AFTER_ERROR_S: Final = 1.0
_LASTING_S: Final = 5.0  # a session that ends sooner is dialled again later than the one before


@dataclass(frozen=True, slots=True)
class _Opened:
    """A call whose session both sides opened."""

    stream: Stream
    told: pb.SessionOpen
    heard: pb.SessionOpen


class RaftTransport:
    """The sessions of one Raft member with its peers."""

    def __init__(
        self,
        *,
        cluster: str,
        me: NodeId,
        peers: Mapping[NodeId, Node],
        port: int,
        files: Tls,
        version: str,
        generation: Callable[[], Generation],
        random_bytes: Callable[[int], bytes],
        sink: Sink,
        calm_ms: int = 0,
        manners: Manners = PLAIN,
    ) -> None:
        """`port`: where the peers listen. `files`: this node's certificate.

        `generation` is what an opening names: the one that is on disk. `calm_ms`: the
        shortest election timeout, by which silence is judged.
        """
        self.cluster = cluster
        self.me = me
        self.peers = peers
        self._port = port
        self._files = files
        self._version = version
        self._generation = generation
        self._random_bytes = random_bytes
        self._sink = sink
        self._manners = manners
        self._calm_ms = calm_ms
        self._sessions: dict[NodeId, Session] = {}
        self._dialers: list[asyncio.Task[None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context: tuple[object, ssl.SSLContext] | None = None  # of files like this
        self._findings = Once()

    async def start(self) -> None:
        """Begins to dial those peers that are not to dial this node."""
        self._loop = asyncio.get_running_loop()
        for peer in self.peers.values():
            if self.me > peer.id:
                name = f"raft-dial-{peer.id}"
                self._dialers.append(asyncio.create_task(self._dial(peer), name=name))

    async def stop(self) -> None:
        """Ends all sessions."""
        self._loop = None
        for session in list(self._sessions.values()):
            session.close("this node stops")
        for task in self._dialers:
            task.cancel()
        await asyncio.gather(*self._dialers, return_exceptions=True)
        self._dialers.clear()

    def post(self, messages: list[tuple[NodeId, pb.Envelope]], *, calm: bool = False) -> None:
        """Queues messages, from any thread; those to a peer without a session are lost.

        `calm`: nobody waits for a peer that asked for patience (`bundles`).
        """
        loop = self._loop
        if loop is not None and messages:
            loop.call_soon_threadsafe(self._push, messages, calm)

    def bundled(self, node: NodeId) -> bool:
        """Whether `node` sends its appends together if this node asks for it."""
        session = self._sessions.get(node)
        return session is not None and session.bundles

    def drop(self, node: NodeId, reason: str) -> None:
        """Ends the session with `node`, from any thread; a new one follows."""
        loop = self._loop
        if loop is not None:
            loop.call_soon_threadsafe(self._drop, node, reason)

    def _push(self, messages: list[tuple[NodeId, pb.Envelope]], calm: bool) -> None:  # noqa: FBT001
        for node, envelope in messages:
            session = self._sessions.get(node)
            if session is not None:
                session.push(envelope, calm=calm)

    def _drop(self, node: NodeId, reason: str) -> None:
        session = self._sessions.get(node)
        if session is not None:
            session.close(reason)

    async def carry(
        self, peer: NodeId, read: Read, write: Write, told: pb.SessionOpen, heard: pb.SessionOpen
    ) -> None:
        """Runs an opened stream as the session with `peer`, in place of an older one."""
        older = self._sessions.get(peer)
        if older is not None:
            older.close("a new session replaced it")
            self._sink.disconnected(peer)
        session = self._sessions[peer] = Session(
            peer,
            self._manners.messages_per_s,
            heartbeat_s(self._calm_ms),
            min(heard.patience_ms, LONGEST_PATIENCE * self._calm_ms) / 1000,
            bundles=heard.bundles,
        )
        members = (self.me, *self.peers)
        self._sink.connected(peer, named(told, members), named(heard, members))
        logger.info("connected with %s of %s for Raft", peer, self.cluster)
        self._findings.forget(peer)
        try:
            reason = await session.run(read, write, self._sink)
        finally:
            session.close("this node stops")
            if self._sessions.get(peer) is session:
                del self._sessions[peer]
                self._sink.disconnected(peer)
        log_once(
            self._findings,
            f"{peer} {reason}",
            logger,
            logging.WARNING,
            f"the Raft session with {peer} of {self.cluster} ended: {reason}",
        )

    def opening(self, session: bytes) -> pb.SessionOpen:
        """What the first message of this side says."""
        patience_ms = round(self._manners.linger * self._calm_ms)
        return make_opening(
            self.cluster, self.me, session, self._version, self._generation(), patience_ms
        )

    # --- dialling -------------------------------------------------------------------------------

    async def _dial(self, peer: Node) -> None:
        """Keeps a session with `peer`, for ever, whatever goes wrong with one of them."""
        longest_s = self._manners.longest_redial_s
        pause_s = _REDIAL_S
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            try:
                await self._dial_once(peer)
                lasted = loop.time() - started > _LASTING_S
                pause_s = _REDIAL_S if lasted else min(2 * pause_s, longest_s)
            except CertificateError as error:
                pause_s = _AFTER_ERROR_S
                log_once(self._findings, str(error), logger, logging.ERROR, str(error))
            except Exception:
                pause_s = _AFTER_ERROR_S
                logger.exception("the Raft session with %s failed; it is dialled again", peer.id)
            await asyncio.sleep(pause_s)

    async def _dial_once(self, peer: Node) -> None:
        """One session, on a new connection: a renewed certificate is used from the next one on."""
        won = await self._first_to_answer(peer)
        stream = won.stream

        async def read() -> pb.ExchangeResponse:
            return _parsed(await stream.read())

        async def write(envelopes: list[pb.Envelope]) -> None:
            await stream.write(pb.ExchangeRequest(envelopes=envelopes).SerializeToString())

        try:
            await self.carry(peer.id, read, write, won.told, won.heard)
        finally:
            stream.close()

    async def _first_to_answer(self, peer: Node) -> _Opened:
        """An opened call on the best address that answers, as soon as there is one."""
        attempts = [
            asyncio.create_task(self._open(peer, ring, lead=index * _RING_LEAD_S))
            for index, ring in enumerate(peer.rings)
        ]
        try:
            done, _ = await asyncio.wait(attempts, return_when=asyncio.FIRST_COMPLETED)
            won = next(attempt for attempt in attempts if attempt in done)
            await _end([attempt for attempt in attempts if attempt is not won])
        except BaseException:
            await _end(attempts)
            raise
        return won.result()

    async def _open(self, peer: Node, ring: Ring, *, lead: float) -> _Opened:
        """Opens a call on one address, as soon as its peer can be reached there and agrees."""
        await asyncio.sleep(lead)
        pause_s = _REDIAL_S
        while True:
            stream = await self._reach(peer.id, ring)
            opened = None
            try:
                async with asyncio.timeout(self._manners.answer_s):
                    opened = await self._agree(peer.id, stream)
            except TimeoutError:
                why = f"no answer within {self._manners.answer_s:g} s"
            except (Lost, BadMessage) as error:
                why = str(error)
            else:
                return opened
            finally:
                if opened is None:
                    stream.close()
            self._say_once(
                peer.id,
                f"{peer.id} of {self.cluster} does not open a Raft session with this node: {why}",
            )
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, max(_REDIAL_S, self._manners.longest_redial_s))

    async def _agree(self, peer: NodeId, stream: Stream) -> _Opened:
        """Sends an opening and hears one. Lost, or BadMessage."""
        # It is made when it can be sent: who waited long may be in another generation.
        told = self.opening(self._random_bytes(SESSION_ID_BYTES))
        first = pb.ExchangeRequest(envelopes=[pb.Envelope(session_open=told)])
        await stream.write(first.SerializeToString())
        answer = _parsed(await stream.read())
        heard = check_opening(answer.envelopes, self.cluster, peer, told.session)
        return _Opened(stream, told, heard)

    async def _reach(self, peer: NodeId, ring: Ring) -> Stream:
        """A connection to `peer`, as soon as it can be had."""
        manners, pause_s = self._manners, self._manners.first_retry_s
        name = tls_name(self.cluster, peer)
        frames_per_s = _FRAMES_A_MESSAGE * (manners.messages_per_s or 0.0)
        while True:
            call = Call(name, f"/{_SERVICE}/Exchange", most_bytes=MAX_MESSAGE_BYTES)
            with contextlib.suppress(TimeoutError, OSError):
                try:
                    async with asyncio.timeout(manners.attempt_s):
                        return await dial(
                            ring.address, self._port, self._files_now(), name, call, frames_per_s
                        )
                except ssl.SSLCertVerificationError as error:
                    self._say_once(
                        peer,
                        f"what answers on {ring.address} is not {peer} of {self.cluster}:"
                        f" {error.verify_message}",
                    )
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, manners.longest_retry_s)

    def _files_now(self) -> ssl.SSLContext:
        """For a connection of now: the files are read again when they changed. CertificateError."""
        files = self._files
        try:
            stats = [path.stat() for path in (files.ca, files.certificate, files.key)]
        except OSError as error:
            raise CertificateError(f"cannot read {error.filename}: {error.strerror}") from error
        stamp = [(s.st_ino, s.st_size, s.st_mtime_ns) for s in stats]
        if self._context is None or self._context[0] != stamp:
            self._context = stamp, client_context(files)
        return self._context[1]

    def _say_once(self, peer: NodeId, sentence: str) -> None:
        log_once(self._findings, f"{peer} {sentence}", logger, logging.WARNING, sentence)


async def _end(attempts: list[asyncio.Task[_Opened]]) -> None:
    """Nobody waits for them any more; what they have opened is closed."""
    for attempt in attempts:
        attempt.cancel()
    for late in await asyncio.gather(*attempts, return_exceptions=True):
        if isinstance(late, _Opened):
            late.stream.close()


def _parsed(message: bytes) -> pb.ExchangeResponse:
    try:
        return pb.ExchangeResponse.FromString(message)
    except DecodeError as error:
        raise Lost("it sent a message that cannot be read") from error
