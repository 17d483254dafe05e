"""Whether the files with the secrets of `notify` can be used, before a message is to be sent."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from staqraft.config.document import Finding, Key
from staqraft.config.notify import Email, Receiver, Webhook
from staqraft.config.schema import Config


def secrets(config: Config) -> Iterator[Finding]:
    """Of each receiver; nothing that keeps the daemon from running: it reads them each time."""
    for receiver in config.notify:
        where = _secret_file(receiver)
        if where is not None:
            yield from _file(("notify", receiver.name, *where[0]), where[1], receiver.name)


def _secret_file(receiver: Receiver) -> tuple[Key, Path] | None:
    match receiver.by:
        case Email(password_file=Path() as path):
            return ("email", "password_file"), path
        case Webhook(token_file=Path() as path):
            return ("webhook", "token_file"), path
        case _:
            return None


def _file(key: Key, path: Path, receiver: str) -> Iterator[Finding]:
    untold = f"{receiver} cannot be told anything"
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            yield Finding(key=key, text=f"{path} is not a file, so {untold}", fatal=False)
            return
        with path.open("rb") as file:
            empty = not file.read(4096).strip()
    except OSError as error:
        advice = "this needs root, try again with sudo"
        if not isinstance(error, PermissionError):
            advice = f"write the secret into it, and chmod 600 {path}"
        text = f"{path} cannot be read ({error.strerror}), so {untold}: {advice}"
        yield Finding(key=key, text=text, fatal=False)
        return
    if empty:
        text = f"{path} is empty, so {untold}: write the secret into it"
        yield Finding(key=key, text=text, fatal=False)
    if stat.S_IMODE(mode) & 0o077:
        text = f"{path} is open to others (mode {stat.S_IMODE(mode):04o}): chmod 600 {path}"
        yield Finding(key=key, text=text, fatal=False)
