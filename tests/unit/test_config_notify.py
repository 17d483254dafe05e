"""The section `notify`: who is told, and what is wrong with how it is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes.configs import write_config
from staqraft.config.loader import fingerprint, load, read
from staqraft.config.notify import Email, Program, Receiver, Webhook
from staqraft.errors import ConfigError

NOTIFY = """\
notify:
  admins:
    email:
      to: [admin@example.org]
      from: staqraft@example.org
      server: mail.example.org
      username: staqraft
      password_file: /etc/staqraft/mail.password
  chat: {webhook: {url: "https://chat.example.org/hook/x"}, severity: info, most_per_hour: 10}
  pager: {program: [/usr/local/bin/page, --now], severity: critical, timeout: 30s}
"""


def with_notify(directory: Path, old: str = "", new: str = "") -> Path:
    assert old in NOTIFY
    return write_config(directory, {"groups:": NOTIFY.replace(old, new, 1) + "groups:"})


def test_mail_a_webhook_and_a_program(tmp_path: Path) -> None:
    admins, chat, pager = load(with_notify(tmp_path)).notify
    assert admins == Receiver(
        name="admins",
        by=Email(
            to=("admin@example.org",),
            sender="staqraft@example.org",
            server="mail.example.org",
            port=587,
            encryption="starttls",
            username="staqraft",
            password_file=Path("/etc/staqraft/mail.password"),
        ),
    )
    assert chat.by == Webhook(url="https://chat.example.org/hook/x")
    assert (chat.severity, chat.most_per_hour) == ("info", 10)
    assert pager.by == Program(argv=("/usr/local/bin/page", "--now"))
    assert "hook/x" not in repr(chat), "the address is a secret"


def test_nodes_may_tell_different_people(tmp_path: Path) -> None:
    one = load(with_notify(tmp_path))
    two = load(with_notify(tmp_path, "admin@", "lea@"))
    assert one.notify != two.notify
    assert fingerprint(one) == fingerprint(two)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[admin@example.org]", "[admin]", "is not a mail address"),
        ("[admin@example.org]", "[]", "list who is to be told"),
        ("server: mail.example.org", "server: mail example", "is not a host name or address"),
        ("      server: mail.example.org\n", "", "name a mail server that does not run on this"),
        ("      password_file: /etc/staqraft/mail.password\n", "", "name the file with the passw"),
        ("      username:", "      tls: none\n      username:", "the password would be sent in th"),
        ("https://chat.example.org/hook/x", "ftp://chat.example.org/", "not an http or https addr"),
        ("https://chat", "https://lea:secret@chat", "has a user in it"),
        ("[/usr/local/bin/page, --now]", "[page]", "is no absolute path"),
        ("{program: [/usr/local/bin/page, --now], ", "{", "say how: 'email', 'webhook' or 'pro"),
        ("{program:", "{webhook: {url: 'https://x/'}, program:", "stands beside 'webhook'"),
        ("severity: critical", "severity: dreadful", "is not one of info, warning, critical"),
        ("most_per_hour: 10", "most_per_hour: 0", "is not a whole number from 1"),
        ("timeout: 30s", "timeout: 1h", "is more than 5m"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = with_notify(tmp_path, old, new)
    with pytest.raises(ConfigError) as failure:
        load(path)
    assert said in str(failure.value)


def of_secrets(directory: Path, content: str | None, mode: int) -> list[str]:
    """What a check says of the file with the password, "missing" if there is to be none."""
    secret = directory / "mail.password"
    if content is not None:
        secret.write_text(content)
        secret.chmod(mode)
    path = with_notify(directory, "/etc/staqraft/mail.password", str(secret))
    return [line for line in read(path).warnings if "notify." in line]


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (None, 0, "mail.password cannot be read (No such file or directory), so admins cannot be"),
        ("\n", 0o600, "mail.password is empty, so admins cannot be told anything"),
        ("hush\n", 0o640, "mail.password is open to others (mode 0640): chmod 600"),
    ],
)
def test_a_secret_that_cannot_be_used_is_warned_of(
    tmp_path: Path, content: str | None, mode: int, said: str
) -> None:
    (warning,) = of_secrets(tmp_path, content, mode)
    assert "staqraft.yaml:" in warning
    assert "notify.admins.email.password_file" in warning
    assert said in warning


def test_a_secret_of_our_own_is_fine(tmp_path: Path) -> None:
    assert of_secrets(tmp_path, "hush\n", 0o600) == []
    (tmp_path / "directory").mkdir()
    path = with_notify(tmp_path, "/etc/staqraft/mail.password", str(tmp_path / "directory"))
    assert any("is not a file" in line for line in read(path).warnings)
