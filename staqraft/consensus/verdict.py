"""What a rule of the state machine says of a command. PURE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from staqraft.model import GroupRecord

MEMBERS_KEPT: Final = 64  # a mad member is not to fill our memory
TEXT_KEPT: Final = 1000  # characters of a reason or an event


@dataclass(frozen=True, slots=True)
class Changed:
    """The group's new record, and the line for the history if it deserves one."""

    group: GroupRecord
    kind: str = ""
    text: str = ""


# A new record, nothing to do (in effect already), or why not.
Verdict = Changed | None | str


def clip(text: str) -> str:
    """No longer than `TEXT_KEPT`."""
    return text if len(text) <= TEXT_KEPT else text[: TEXT_KEPT - 1] + "…"
