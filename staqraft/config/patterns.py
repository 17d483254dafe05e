r"""Patterns of paths, as in a .gitignore file (gitignore(5)), over byte paths of a tree.

- `*` and `?` match anything but a slash, `[a-z]` and `[!a-z]` one, `**` any directories.
- A pattern with a slash at its beginning or in its middle is matched against the path from the
  tree's root; one without, against the last name of a path, however deep.
- A slash at the end: only directories.
- `!` before a pattern takes out what an earlier one put in. The last that matches decides.
- `\` before a character takes its meaning away.

What is below a directory that matched is not looked at, so it cannot be taken out again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

_NOT_SLASH: Final = "[^/]"
_NEVER: Final = (".", "..")


def parse(text: str) -> str:
    """The pattern, if it can match anything. Raises ValueError."""
    _compile_one(text)
    return text


def parse_included(text: str) -> str:
    """The same for one that is taken out anyway, and so has no `!`."""
    if text.startswith("!"):
        raise ValueError("begins with '!', which an include means without saying so")
    return parse(text)


@dataclass(frozen=True, slots=True)
class _One:
    regex: str
    out: bool  # begins with `!`
    anchored: bool
    directories_only: bool


@dataclass(frozen=True, slots=True)
class _Run:
    """Patterns that follow each other and decide alike: their order does not matter."""

    out: bool
    names: tuple[re.Pattern[bytes] | None, re.Pattern[bytes] | None]  # of others, of directories
    paths: tuple[re.Pattern[bytes] | None, re.Pattern[bytes] | None]

    def matches(self, path: bytes, name: bytes, *, is_directory: bool) -> bool:
        by_name, by_path = self.names[is_directory], self.paths[is_directory]
        return bool(
            (by_name is not None and by_name.fullmatch(name))
            or (by_path is not None and by_path.fullmatch(path))
        )


class Patterns:
    """Some patterns in their order. Raises ValueError for one that `parse` refuses."""

    def __init__(self, patterns: Sequence[str]) -> None:
        ones = [_compile_one(text) for text in patterns]
        self.anchored = any(one.anchored for one in ones)
        """Whether a match can depend on the directory that a path lies in."""
        self._runs = [_run(out, list(run)) for out, run in groupby(ones, lambda one: one.out)]
        self._runs.reverse()

    def match(self, path: bytes, *, is_directory: bool) -> bool:
        """Whether the path is in, by the last pattern that matches it (not what it lies in)."""
        name = path[path.rfind(b"/") + 1 :]
        for run in self._runs:
            if run.matches(path, name, is_directory=is_directory):
                return not run.out
        return False


def _run(out: bool, ones: Sequence[_One]) -> _Run:  # noqa: FBT001 (the key of a group)
    def both(*, anchored: bool) -> tuple[re.Pattern[bytes] | None, re.Pattern[bytes] | None]:
        of_kind = [one for one in ones if one.anchored == anchored]
        return (
            _joined(one.regex for one in of_kind if not one.directories_only),
            _joined(one.regex for one in of_kind),
        )

    return _Run(out, both(anchored=False), both(anchored=True))


def _joined(regexes: Iterator[str]) -> re.Pattern[bytes] | None:
    text = "|".join(regexes)
    return re.compile(os.fsencode(text), re.DOTALL) if text else None


def _compile_one(text: str) -> _One:
    out = text.startswith("!")
    body = text[out:]
    directories_only = body.endswith("/")
    body = body.removesuffix("/")
    if not body:
        raise ValueError("matches nothing: write a name, a path or a pattern of them")
    if not text.isprintable():
        raise ValueError("has control characters")
    if text != text.strip():
        raise ValueError("begins or ends with a space: write it as [ ] if that is meant")
    anchored = "/" in body
    parts = body.removeprefix("/").split("/")
    if any(part in _NEVER for part in parts):
        raise ValueError("has a '.' or '..' in it, which no path in a tree has")
    if "" in parts:
        raise ValueError("has two slashes one after the other, which no path has")
    return _One(_path(parts), out, anchored, directories_only)


def _path(parts: Sequence[str]) -> str:
    regex = ""
    last = len(parts) - 1
    for number, part in enumerate(parts):
        if part == "**":
            regex += ".+" if number == last else "(?:.+/)?"
        else:
            regex += _name(part) + ("" if number == last else "/")
    return regex


def _name(part: str) -> str:
    regex, at = "", 0
    while at < len(part):
        char = part[at]
        at += 1
        if char == "*":
            regex += _NOT_SLASH + "*"
            at = len(part) - len(part[at:].lstrip("*"))
        elif char == "?":
            regex += _NOT_SLASH
        elif char == "[":
            found, at = _class(part, at)
            regex += found
        elif char == "\\":
            if at == len(part):
                raise ValueError("ends with a backslash, which is to stand before a character")
            regex += re.escape(part[at])
            at += 1
        else:
            regex += re.escape(char)
    return regex


def _class(part: str, at: int) -> tuple[str, int]:
    end = part.find("]", at + (2 if part[at : at + 1] in ("!", "^") else 1))
    if end < 0:
        raise ValueError("has a '[' without its ']': write \\[ if the character is meant")
    inside = part[at:end]
    negated = inside[0] in "!^"
    inside = inside[negated:]
    if not inside.isascii():
        raise ValueError("has characters between [ and ] that are several bytes long")
    items, number = "", 0
    while number < len(inside):
        low = inside[number]
        if inside[number + 1 : number + 2] == "-" and number + 2 < len(inside):
            high = inside[number + 2]
            if low > high:
                raise ValueError(f"has a range that runs backwards, {low}-{high}")
            items += f"{re.escape(low)}-{re.escape(high)}"
            number += 3
        else:
            items += re.escape(low)
            number += 1
    return (f"[^/{items}]" if negated else f"(?!/)[{items}]"), end + 1
