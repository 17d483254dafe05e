"""A delivery agent, as small as can be: takes mails over TCP and puts them into Maildirs, durably.

Runs on whichever replica is active, started and stopped by StaqRaft as any service. A request is a
line of JSON, {"box": NAME, "unique": NAME, "content": TEXT}; the answer {"host": NAME} means that
the mail is on this host's disk, and nothing else; {"error": SENTENCE} that it may be or not.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path

from chaos.setting import MAILER_PORT
from lab.workload import MAIL, deliver

PATIENCE_S = 1.0  # with a caller that says nothing


def answer(line: str, root: Path, host: str) -> dict[str, str]:
    """Delivers what a line asks for."""
    try:
        request = json.loads(line)
        deliver(root / request["box"], request["unique"], request["content"].encode())
    except (OSError, ValueError, KeyError) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {"host": host}


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
                    connection.sendall(json.dumps(answer(line, MAIL, host)).encode() + b"\n")
                except OSError:
                    continue  # the caller has gone


if __name__ == "__main__":
    main()
