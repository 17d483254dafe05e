"""A delivery agent, as small as can be: takes mails over TCP and puts them into Maildirs, and lines
that it appends to spools, durably.

Runs on whichever replica is active, started and stopped by StaqRaft as any service. A request is a
line of JSON, {"box": NAME, "unique": NAME, "content": TEXT} or {"spool": NAME, "line": TEXT}; the
answer {"host": NAME} means that the mail or line is on this host's disk, and nothing else;
{"error": SENTENCE} that it may be or not.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

from chaos.setting import MAILER_PORT
from lab.workload import MAIL, SPOOL, deliver, sync_directory

PATIENCE_S = 1.0  # with a caller that says nothing


def answer(line: str, host: str, *, mail: Path = MAIL, spools: Path = SPOOL) -> dict[str, str]:
    """Delivers what a line asks for."""
    try:
        request = json.loads(line)
        if "spool" in request:
            append(spools / request["spool"], request["line"].encode())
        else:
            deliver(mail / request["box"], request["unique"], request["content"].encode())
    except OSError as error:  # without the path: they are counted by their words
        return {"error": os.strerror(error.errno) if error.errno else str(error)}
    except (ValueError, KeyError) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {"host": host}


def append(spool: Path, line: bytes) -> None:
    """Durably; in a line of its own, whatever a full disk has left of the one before."""
    created = not spool.exists()
    with spool.open("ab+") as file:
        size = file.seek(0, os.SEEK_END)
        torn = size and os.pread(file.fileno(), 1, size - 1) != b"\n"
        file.write(b"\n" * torn + line)
        file.flush()
        os.fsync(file.fileno())
    if created:
        sync_directory(spool.parent)


def main() -> None:
    """Until it is stopped."""
    host = socket.gethostname()
    with socket.create_server(("0.0.0.0", MAILER_PORT)) as listener:  # the VIP may come later
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(PATIENCE_S)
                try:
                    line = connection.makefile("r", encoding="utf-8").readline()
                    connection.sendall(json.dumps(answer(line, host)).encode() + b"\n")
                except OSError:
                    continue  # the caller has gone


if __name__ == "__main__":
    main()
