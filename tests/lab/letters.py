"""A customer's programs: sends mail by SMTP, reads it by IMAP, resolves a name.

`python -m lab.letters send SERVER SUBJECT`, `... read SERVER`, `... resolve SERVER NAME`; what came
of it is printed, one a line.
"""

from __future__ import annotations

import asyncio
import imaplib
import smtplib
import sys
from email import message_from_bytes
from email.message import EmailMessage

from staqraft.actions.checks.dns import resolve
from staqraft.config.services import DnsCheck, Endpoint

USER = "anna"
TIMEOUT_S = 20.0


def send(server: str, subject: str) -> list[str]:
    """Ends when the server took it."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "lea@example.net", f"{USER}@example.org", subject
    mail.set_content(f"{subject}\n")
    with smtplib.SMTP(server, timeout=TIMEOUT_S) as smtp:
        smtp.send_message(mail)
    return ["sent"]


def read(server: str) -> list[str]:
    """The subjects in the inbox."""
    with imaplib.IMAP4(server, timeout=TIMEOUT_S) as imap:
        imap.login(USER, "any")
        imap.select(readonly=True)
        _, (numbers,) = imap.search(None, "ALL")
        subjects = []
        for number in numbers.split():
            _, parts = imap.fetch(number.decode(), "(BODY.PEEK[HEADER])")
            assert isinstance(parts[0], tuple)
            subjects.append(str(message_from_bytes(parts[0][1])["Subject"]))
    return subjects


def lookup(server: str, name: str) -> list[str]:
    """CheckFailed unless the answer is the server itself."""
    endpoint = Endpoint(address=server, port=53)
    asyncio.run(resolve(DnsCheck(endpoint=endpoint, name=name, expect=server)))
    return [server]


def main() -> None:
    """As the words say."""
    match sys.argv[1:]:
        case ["send", server, subject]:
            print("\n".join(send(server, subject)))
        case ["read", server]:
            print("\n".join(read(server)))
        case ["resolve", server, name]:
            print("\n".join(lookup(server, name)))
        case words:
            raise SystemExit(f"what is {words}?")


if __name__ == "__main__":
    main()
