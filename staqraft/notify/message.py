"""What people are told."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import IntEnum

from staqraft.model import GroupId, NodeId


class Severity(IntEnum):
    """How bad it is: for the night, for the morning, for the record."""

    INFO = 0
    WARNING = 1
    CRITICAL = 2

    @property
    def word(self) -> str:
        """As it is written in the configuration."""
        return self.name.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One thing that happened. `wall_ms`: ms since 1970, by the clock of who saw it."""

    cluster: str
    node: NodeId  # who tells it
    group: GroupId | None
    kind: str
    severity: Severity
    text: str  # a sentence
    wall_ms: int

    @property
    def subject(self) -> str:
        """One line that says what it is about."""
        where = f"{self.cluster}/{self.group}" if self.group else self.cluster
        return f"[StaqRaft {where}] {self.severity.word}: {_one_line(self.text)}"

    @property
    def when(self) -> str:
        """ISO 8601, UTC, to the second."""
        return datetime.fromtimestamp(self.wall_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def as_json(self) -> dict[str, str | int]:
        """What webhooks get; new keys may come, these stay."""
        return {
            **asdict(self),
            "severity": self.severity.word,
            "group": self.group or "",
            "time": self.when,
            "subject": self.subject,
        }

    def as_environment(self) -> dict[str, str]:
        """What programs get: each key of the JSON as STAQRAFT_KEY, in one line; only the subject is
        shortened, and what the kernel would not take.
        """
        fields = self.as_json().items()
        return {f"STAQRAFT_{key.upper()}": _one_line(str(v), _VARIABLE_MOST) for key, v in fields}

    def as_text(self) -> str:
        """What mails say."""
        return (
            f"{self.text}\n\n"
            f"cluster:  {self.cluster}\n"
            f"group:    {self.group or '-'}\n"
            f"told by:  {self.node}\n"
            f"kind:     {self.kind} ({self.severity.word})\n"
            f"when:     {self.when}\n\n"
            "'staqctl status' says how it is now, 'staqctl events' what led to it.\n"
        )


_SUBJECT_MOST = 300


# Linux takes 128 KiB a variable, name and all; a character is at most 4 bytes.
_VARIABLE_MOST = 30_000


def _one_line(text: str, most: int = _SUBJECT_MOST) -> str:
    line = "".join(c if c.isprintable() else " " for c in text.replace("\0", " "))
    return line if len(line) <= most else f"{line[: most - 3]}..."
