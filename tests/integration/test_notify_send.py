"""Messages on their way out: by SMTP, HTTP and programs, to receivers that are well or not."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.pki import cluster_pki
from fakes.receivers import PASSWORD, USER, Hook, MailServer, mail_server, webhook
from staqraft.config.notify import Email, Program, Receiver, Webhook
from staqraft.errors import ActionError
from staqraft.model import GroupId, NodeId
from staqraft.notify.message import Message, Severity
from staqraft.notify.send import Sender

ADMIN, OTHER = "admin@example.org", "other@example.org"

MESSAGE = Message(
    cluster="lab",
    node=NodeId("b"),
    group=GroupId("mail"),
    kind="takeover",
    severity=Severity.CRITICAL,
    text="b takes over from a in epoch 7: a is silent\nBcc: everybody@example.org",
    wall_ms=1_795_400_000_000,
)


def email(port: int, **changes: object) -> Email:
    settings = {
        "to": (ADMIN,), "sender": "staqraft@example.org", "server": "127.0.0.1", "port": port,
        "encryption": "none", **changes,
    }  # fmt: skip
    return Email(**settings)  # type: ignore[arg-type]


async def send(
    by: Email | Webhook | Program,
    *,
    message: Message = MESSAGE,
    timeout_ms: int = 30_000,
    trusted: ssl.SSLContext | None = None,
) -> None:
    sender = Sender(Receiver(name="admins", by=by, timeout_ms=timeout_ms), trusted=trusted)
    try:
        await sender.send(message)
    finally:
        sender.close()


class TestMail:
    async def test_it_arrives_and_the_text_of_an_event_adds_no_header(self) -> None:
        async with mail_server(MailServer()) as server:
            await send(email(server.port, to=(ADMIN, OTHER)))
        (mail,) = server.mails
        assert mail["Subject"].startswith("[StaqRaft lab/mail] critical: b takes over from a in ep")
        assert mail["To"] == f"{ADMIN}, {OTHER}"
        assert mail["Bcc"] is None
        assert mail["Auto-Submitted"] == "auto-generated"
        assert "staqctl events" in mail.get_content()  # type: ignore[attr-defined]

    async def test_with_starttls_and_a_login(self, tmp_path: Path) -> None:
        tls = cluster_pki().node("a")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(tls.certificate, tls.key)
        trusted = ssl.create_default_context(cafile=str(tls.ca))
        trusted.check_hostname = False  # it is a node's certificate
        secret = tmp_path / "secret"
        secret.write_text(f"{PASSWORD}\n")
        async with mail_server(MailServer(), context=context) as server:
            by = email(server.port, encryption="starttls", username=USER, password_file=secret)
            await send(by, trusted=trusted)
            assert (len(server.mails), server.logins) == (1, [USER])
            secret.write_text("wrong")
            with pytest.raises(ActionError, match=r"the mail server 127\.0\.0\.1 says: .*uthentic"):
                await send(by, trusted=trusted)
            with pytest.raises(ActionError, match="certificate verify failed"):
                await send(by)  # an authority that nobody here knows

    async def test_a_receiver_that_is_refused_is_named(self) -> None:
        async with mail_server(MailServer(refuses=frozenset({OTHER}))) as server:
            with pytest.raises(ActionError, match=f"refused {OTHER}"):
                await send(email(server.port, to=(ADMIN, OTHER)))
            assert len(server.mails) == 1  # the other one has it

    async def test_a_server_that_is_not_there(self) -> None:
        async with mail_server(MailServer()) as server:
            port = server.port
        with pytest.raises(ActionError, match="Connection refused"):
            await send(email(port))


class TestWebhook:
    async def test_it_is_posted_as_json_with_the_token(self, tmp_path: Path) -> None:
        token = tmp_path / "token"
        token.write_text("abc\n")
        async with webhook(Hook()) as hook:
            url = f"http://127.0.0.1:{hook.port}/x"
            await send(Webhook(url=url, token_file=token))
        ((headers, body),) = hook.posts
        assert headers["authorization"] == "Bearer abc"
        assert headers["content-type"] == "application/json"
        assert {
            "cluster": "lab",
            "group": "mail",
            "node": "b",
            "kind": "takeover",
        }.items() <= body.items()
        assert body["severity"] == "critical"
        assert body["time"].startswith("2026-11-2")

    @pytest.mark.parametrize(
        ("answer", "said"),
        [
            (b"HTTP/1.1 500 Oh no\r\nContent-Length: 0\r\n\r\n", "the webhook answered 500 Oh no"),
            (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", "answered 302"),
            (b"nonsense\r\n\r\n", "the webhook"),
        ],
    )
    async def test_an_answer_that_is_no_yes(self, answer: bytes, said: str) -> None:
        async with webhook(Hook(answer)) as hook:
            with pytest.raises(ActionError, match=said):
                await send(Webhook(url=f"http://127.0.0.1:{hook.port}/x"))

    async def test_a_hook_that_does_not_answer_costs_its_own_time_only(self) -> None:
        async with webhook(Hook(b"")) as hook:
            with pytest.raises(ActionError, match=r"timed out|no answer"):
                await send(Webhook(url=f"http://127.0.0.1:{hook.port}/x"), timeout_ms=200)


class TestProgram:
    async def test_it_gets_the_message_in_its_environment_and_on_its_input(
        self, tmp_path: Path
    ) -> None:
        said = tmp_path / "said"
        script = f"(env | grep ^STAQRAFT_ | sort; cat) > {said}"
        await send(Program(argv=("/bin/sh", "-c", script)))
        text = said.read_text()
        assert "STAQRAFT_CLUSTER=lab\n" in text
        assert "STAQRAFT_SEVERITY=critical\n" in text
        assert "\nBcc" not in text.partition("\nb takes")[0], "one line, whatever is in the text"
        assert "'staqctl status' says how it is now" in text

    async def test_it_gets_the_whole_text(self, tmp_path: Path) -> None:
        said = tmp_path / "said"
        text = " and ".join(f"service number {n} is not well" for n in range(100))
        long = replace(MESSAGE, text=text)
        await send(Program(argv=("/bin/sh", "-c", f'echo "$STAQRAFT_TEXT" > {said}')), message=long)
        assert said.read_text() == f"{text}\n"
        huge = replace(MESSAGE, text="\N{GRINNING FACE}" * 200_000)
        await send(Program(argv=("/bin/sh", "-c", f'echo "$STAQRAFT_TEXT" > {said}')), message=huge)
        assert said.read_text().endswith("...\n")

    async def test_what_it_says_when_it_fails_is_passed_on(self) -> None:
        with pytest.raises(ActionError, match='exit status 3, saying "no modem"'):
            await send(Program(argv=("/bin/sh", "-c", "echo no modem >&2; exit 3")))

    async def test_one_that_hangs_is_killed(self, tmp_path: Path) -> None:
        with pytest.raises(ActionError, match=r"did not end within 0\.2 s, and was killed"):
            await send(Program(argv=("/bin/sh", "-c", "sleep 1000")), timeout_ms=200)

    async def test_one_that_is_not_there(self) -> None:
        with pytest.raises(ActionError, match="/no/such cannot be executed: No such file"):
            await send(Program(argv=("/no/such",)))


async def test_a_receiver_that_hangs_does_not_keep_the_loop() -> None:
    async with webhook(Hook(b"")) as hook:
        sending = asyncio.create_task(
            send(Webhook(url=f"http://127.0.0.1:{hook.port}/x"), timeout_ms=30_000)
        )
        await hook.asked.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending


async def test_what_a_library_cannot_encode_is_a_problem_of_this_receiver_only(
    tmp_path: Path,
) -> None:
    token = tmp_path / "token"
    token.write_text("two\nlines")
    with pytest.raises(ActionError, match="it cannot be sent"):
        await send(Webhook(url="http://127.0.0.1:9/x", token_file=token))
