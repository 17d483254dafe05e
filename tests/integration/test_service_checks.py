"""Each check against a right server, and against those that are wrong in every way."""

from __future__ import annotations

import asyncio
import random
import re
import ssl
import struct
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fakes.checking import LONG, SHORT, ask
from fakes.patience import growing
from fakes.pki import cluster_pki
from fakes.talkers import (
    Talk,
    answers,
    drips,
    endless,
    endless_lines,
    junk,
    name_server,
    says,
    serving,
    silent,
    upgrades,
)
from staqraft.config.services import (
    DnsCheck,
    Endpoint,
    HttpCheck,
    Protocol,
    TalkCheck,
    TcpCheck,
    Timing,
    TlsUse,
)


def talk_check(protocol: Protocol, endpoint: Endpoint, timing: Timing = LONG) -> TalkCheck:
    return TalkCheck(protocol=protocol, endpoint=endpoint, timing=timing)


async def asked(protocol: Protocol, talk: Talk, timing: Timing = LONG) -> str:
    async with serving(talk) as endpoint:
        return await ask(talk_check(protocol, endpoint, timing))


RIGHT = {
    Protocol.SMTP: ("220-mail.example", "220 ready"),
    Protocol.LMTP: ("220 mail.example", "250-mail.example\r\n250 PIPELINING"),
    Protocol.IMAP: ("* OK [CAPABILITY IMAP4rev1] ready", "* 0 EXISTS\r\na OK NOOP"),
    Protocol.POP3: ("+OK ready", "+OK bye"),
    Protocol.FTP: ("220-Welcome\r\nto this server\r\n220 ready", "530 Please login"),
}


@pytest.mark.parametrize("protocol", RIGHT)
async def test_a_server_that_greets_and_answers_is_well(protocol: Protocol) -> None:
    lines: Sequence[str] = RIGHT[protocol]
    if protocol is Protocol.SMTP:
        lines = ("220-mail.example\r\n220 ready", "250-mail.example\r\n250 STARTTLS")
    assert await asked(protocol, says(*lines)) == ""


@pytest.mark.parametrize(
    ("protocol", "lines", "problem"),
    [
        (Protocol.SMTP, ["554 no"], "its greeting is \"554 no\", not '220'"),
        (Protocol.SMTP, ["220 hi", "421 busy"], "its answer to EHLO is \"421 busy\", not '250'"),
        (Protocol.SMTP, ["SSH-2.0-x"], 'its greeting is "SSH-2.0-x", which does not begin with a'),
        (Protocol.LMTP, ["220 hi", "500 what"], "its answer to LHLO is \"500 what\", not '250'"),
        (Protocol.IMAP, ["* BYE full"], "its greeting is \"* BYE full\", not '* OK'"),
        (Protocol.IMAP, ["* OK", "a NO not now"], 'it answers NOOP with "NO not now"'),
        (Protocol.POP3, ["-ERR locked"], "its greeting is \"-ERR locked\", not '+OK'"),
        (Protocol.FTP, ["421 full"], "its greeting is \"421 full\", not '220'"),
    ],
)
async def test_a_server_that_says_no_is_quoted(
    protocol: Protocol, lines: list[str], problem: str
) -> None:
    said = await asked(protocol, says(*lines))
    assert said.startswith(f"{protocol.value} on HERE: {problem}")


async def connected(protocol: Protocol, talk: Talk) -> str:
    """What is said at the end of a time in which it could connect; that is N s."""
    said, limits = "", growing(300)
    while "connected" not in said:
        said = await asked(protocol, talk, Timing(timeout_ms=next(limits)))
    return re.sub(r"within [0-9.]+ s", "within N s", said)


@pytest.mark.parametrize("protocol", list(Protocol))
async def test_no_greeting_is_a_plain_sentence(protocol: Protocol) -> None:
    said = await connected(protocol, silent)
    assert said == f"{protocol.value} on HERE: connected, but no greeting within N s"


@pytest.mark.parametrize("protocol", list(Protocol))
async def test_a_server_that_drips_fails_at_the_end_of_the_time(protocol: Protocol) -> None:
    assert "no greeting within N s" in await connected(protocol, drips)


@pytest.mark.parametrize("protocol", list(Protocol))
async def test_a_banner_without_an_end_fails_and_takes_no_memory(protocol: Protocol) -> None:
    tracemalloc.start()
    try:
        assert "the greeting is longer than 4096 bytes" in await asked(protocol, endless)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


async def test_a_reply_without_an_end_fails() -> None:
    assert "its greeting does not end" in await asked(Protocol.SMTP, endless_lines)


@pytest.mark.parametrize("protocol", list(Protocol))
async def test_whatever_a_server_says_the_answer_is_a_sentence(protocol: Protocol) -> None:
    draw = random.Random(protocol.value)
    for _ in range(20):
        data = draw.randbytes(draw.randrange(300)) + draw.choice([b"", b"\n", b"\r\n"])
        said = await asked(protocol, junk(data), Timing(timeout_ms=2_000))
        assert said, data
        assert said.isprintable()
        assert len(said) < 300


async def test_a_server_that_hangs_up_is_told_of() -> None:
    said = await asked(Protocol.IMAP, junk(b"* O"))
    assert said == 'imap on HERE: it hung up before its greeting was complete after "* O"'


# --- connecting ---------------------------------------------------------------------------------


async def test_nobody_listens() -> None:
    async with serving(silent) as endpoint:
        pass
    assert await ask(TcpCheck(endpoint=endpoint, timing=LONG)) == (
        "tcp on HERE: nobody listens there (connection refused)"
    )


async def test_a_port_that_is_open_is_well() -> None:
    async with serving(silent) as endpoint:
        assert await ask(TcpCheck(endpoint=endpoint, timing=LONG)) == ""


async def test_a_check_may_come_from_another_address_of_this_node() -> None:
    peers: list[str] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        peers.append(writer.get_extra_info("peername")[0])
        writer.write(b"+OK\r\n")

    async with serving(talk) as endpoint:
        check = TalkCheck(
            protocol=Protocol.POP3, endpoint=endpoint, source="127.0.0.9", timing=LONG
        )
        await ask(check)
        assert peers == ["127.0.0.9"]
        said = await ask(replace(check, source="192.0.2.77"))
    assert said.endswith("192.0.2.77, from which it is to be asked, is not an address of this node")


async def test_a_unix_socket_that_is_not_there(tmp_path: Path) -> None:
    check = talk_check(Protocol.LMTP, Endpoint(path=tmp_path / "lmtp"))
    assert await ask(check) == f"lmtp on {tmp_path}/lmtp: the socket is not there"


# --- TLS ----------------------------------------------------------------------------------------


def tls_server() -> ssl.SSLContext:
    files = cluster_pki().node("a")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    return context


def trusting(host: str = "127.0.0.1") -> TlsUse:
    return TlsUse(host=host, ca=cluster_pki().node("a").ca)


async def test_a_certificate_is_verified_unless_told_not_to() -> None:
    async with serving(says("* OK", "a OK"), tls_server()) as endpoint:
        check = replace(talk_check(Protocol.IMAP, endpoint), tls=TlsUse(host="127.0.0.1"))
        said = await ask(check)
        assert "its certificate is not accepted: " in said
        assert await ask(replace(check, tls=TlsUse(host="x", verify=False))) == ""
        assert "certificate is not accepted" in await ask(
            replace(check, tls=trusting("shop.example"))
        )


async def test_starttls_goes_on_encrypted() -> None:
    before = ("220 hi", "250-x\r\n250 STARTTLS", "220 go")
    async with serving(upgrades(tls_server(), before, ["250 x"])) as endpoint:
        check = replace(
            talk_check(Protocol.SMTP, endpoint),
            starttls=True,
            tls=TlsUse(host="127.0.0.1", verify=False),
        )
        assert await ask(check) == ""


async def test_a_server_without_starttls_is_told_of() -> None:
    async with serving(says("220 hi", "250 x")) as endpoint:
        check = replace(
            talk_check(Protocol.SMTP, endpoint), starttls=True, tls=TlsUse(host="127.0.0.1")
        )
        assert (await ask(check)).endswith("it does not offer STARTTLS")


async def test_what_is_said_in_clear_text_after_starttls_is_not_believed() -> None:
    async with serving(says("* OK", "a OK go\r\na OK injected")) as endpoint:
        check = replace(
            talk_check(Protocol.IMAP, endpoint),
            starttls=True,
            tls=TlsUse(host="127.0.0.1", verify=False),
        )
        assert (await ask(check)).endswith("went on in clear text after it had agreed to TLS")


async def test_no_tls_where_it_is_expected() -> None:
    async with serving(says("* OK")) as endpoint:
        check = replace(talk_check(Protocol.IMAP, endpoint), tls=TlsUse(host="127.0.0.1"))
        assert "no TLS" in await ask(check)


async def test_a_name_that_tls_does_not_take_is_a_sentence() -> None:
    async with serving(says("* OK"), tls_server()) as endpoint:
        check = replace(talk_check(Protocol.IMAP, endpoint), tls=TlsUse(host="a" * 300))
        assert await ask(check)


# --- HTTP ---------------------------------------------------------------------------------------

PAGE = b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n<h1>all is fine</h1>"


def http(endpoint: Endpoint, **options: Any) -> HttpCheck:
    return HttpCheck(endpoint=endpoint, **{"host": endpoint.address, "timing": LONG, **options})


@pytest.mark.parametrize(
    ("page", "options", "problem"),
    [
        (PAGE, {}, ""),
        (PAGE, {"text": "all is fine"}, ""),
        (PAGE, {"text": "other"}, 'the text "other" is not in its page'),
        (PAGE, {"statuses": (301, 204)}, "answered with status 200 (OK), wanted is 301 or 204"),
        (b"HTTP/1.0 302 Found\r\n\r\n", {}, ""),
        (b"HTTP/1.1 503 x\r\n\r\n", {}, "status 503 (Service Unavailable), wanted is 200 to 399"),
        (b"HTTP/1.1 599 x\r\n\r\n", {}, "answered with status 599, wanted"),
        (b"HTTP/1.1 999 x\r\n\r\n", {"statuses": (999,)}, ""),
        (b"+OK pop\r\n", {}, 'it does not speak HTTP: it answered "+OK pop"'),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200, {"text": "x"},
         "the head of its answer does not end"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000 + b"end", {"text": "end"},
         'the text "end" is not in the first 64 KiB'),
        (b"", {}, "it hung up before its answer was complete"),
    ],
)  # fmt: skip
async def test_http(page: bytes, options: dict[str, Any], problem: str) -> None:
    async with serving(answers(page)) as endpoint:
        said = await ask(http(endpoint, **options))
    assert problem in said
    assert bool(said) == bool(problem)


async def test_a_site_is_asked_for_by_its_name_and_checked_by_it() -> None:
    heard: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(PAGE)

    async with serving(talk, tls_server()) as endpoint:
        said = await ask(
            http(endpoint, host="shop.example", path="/up", tls=TlsUse(host="x", verify=False))
        )
        assert said == ""
        said = await ask(http(endpoint, host="shop.example", tls=trusting("shop.example")))
    assert b"GET /up HTTP/1.0\r\nHost: shop.example\r\n" in heard[0]
    assert said.startswith("https on HERE for shop.example: its certificate is not accepted")


# --- DNS ----------------------------------------------------------------------------------------


def reply(asked: bytes, *data: bytes, kind: int = 1, flags: int = 0x8180) -> bytes:
    head = asked[:2] + struct.pack("!HHHHH", flags, 1, len(data), 0, 0)
    records = b"".join(
        b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, len(part)) + part for part in data
    )
    return head + asked[12:] + records


def dns(endpoint: Endpoint, **options: Any) -> DnsCheck:
    return DnsCheck(endpoint=endpoint, **{"name": "www.example", "timing": LONG, **options})


# The check's own clock and the one around it end in the same instant.
NO_ANSWER = {f"dns on HERE: {what} within 0.3 s" for what in ("no answer", "not done")}
A1, A2 = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2])


@pytest.mark.parametrize(
    ("answer", "options", "problem"),
    [
        (lambda q: reply(q, A1), {}, ""),
        (lambda q: reply(q, A2, A1), {"expect": "192.0.2.1"}, ""),
        (lambda q: reply(q, A2), {"expect": "192.0.2.1"},
         'the A of www.example is "192.0.2.2", and 192.0.2.1 is not among that'),
        (reply, {}, "it has no A of www.example"),
        (lambda q: reply(q, flags=0x8183), {}, "no such name (NXDOMAIN)"),
        (lambda q: reply(q, flags=0x8182), {}, "it failed (SERVFAIL)"),
        (lambda q: reply(q, flags=0x8185), {}, "it refuses to answer us (REFUSED)"),
        (lambda q: reply(q, b"\0\x0a\xc0\x0c", kind=15), {"type": "MX", "expect": "WWW.example."},
         ""),
        (lambda q: reply(q, b"\x05hello\x01!", kind=16), {"type": "TXT", "expect": "hello!"}, ""),
        (lambda q: reply(q, bytes(15) + b"\1", kind=28), {"type": "AAAA", "expect": "::1"}, ""),
        (lambda q: reply(q, b"\1\2\3"), {}, "cannot be read: a record's data has the wrong size"),
        (lambda q: q[:2] + b"\x81\x80", {}, "cannot be read: it is too short"),
        (lambda q: reply(q, A1)[:-2], {}, "cannot be read: it ends within a record"),
        # A name that points to itself.
        (lambda q: reply(q, b"\xc0\x29", kind=5), {"type": "CNAME"}, "does not end"),
    ],
)  # fmt: skip
async def test_dns(answer: Callable[[bytes], bytes], options: dict[str, Any], problem: str) -> None:
    async with name_server(answer) as (endpoint, _):
        said = await ask(dns(endpoint, **options))
    assert problem in said
    assert bool(said) == bool(problem)


async def test_a_lost_question_is_asked_again() -> None:
    lost = iter([True])
    async with name_server(lambda q: b"" if next(lost, False) else reply(q, A1)) as (at, server):
        assert await ask(dns(at)) == ""
    assert server.asked >= 2


async def test_no_answer_of_a_name_server() -> None:
    async with name_server(lambda _: b"") as (endpoint, _):
        said = await ask(dns(endpoint, timing=SHORT))
    assert said in NO_ANSWER


async def test_answers_to_other_questions_are_not_believed() -> None:
    async with name_server(lambda q: bytes([q[0] ^ 1]) + reply(q, A1)[1:]) as (endpoint, _):
        assert await ask(dns(endpoint, timing=SHORT)) in NO_ANSWER


async def test_dns_over_tcp() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (size,) = struct.unpack("!H", await reader.readexactly(2))
        answer = reply(await reader.readexactly(size), A1)
        writer.write(struct.pack("!H", len(answer)) + answer)
        await writer.drain()
        await reader.read()

    async with serving(talk) as endpoint:
        assert await ask(dns(endpoint, over_tcp=True, expect="192.0.2.1")) == ""


async def test_whatever_a_name_server_says_the_answer_is_a_sentence() -> None:
    draw = random.Random(5)

    def answer(question: bytes) -> bytes:
        right = bytearray(reply(question, A1, A2))
        for _ in range(draw.randrange(1, 6)):
            right[draw.randrange(2, len(right))] = draw.randrange(256)
        return bytes(right[: draw.randrange(2, len(right) + 1)])

    async with name_server(answer) as (endpoint, _):
        for _ in range(300):
            said = await ask(dns(endpoint, timing=Timing(timeout_ms=200)))
            assert said.isprintable() or not said
