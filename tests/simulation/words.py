"""Commands in a trace."""

from __future__ import annotations

from dataclasses import fields

from staqraft.model import Command


def in_words(command: Command) -> str:
    """The same in every process: no set is shown in the order of its hashes."""
    parts = []
    for field in fields(command):
        value = getattr(command, field.name)
        shown = sorted(value) if isinstance(value, frozenset) else value
        if field.name not in {"node", "group", "wall_ms"}:
            parts.append(f"{field.name} {shown}")
    return f"{type(command).__name__} {', '.join(parts)}"
