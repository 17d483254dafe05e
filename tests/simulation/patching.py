"""How a guard is taken out: for good, and so that one that is not there any more is noticed."""

from __future__ import annotations

import functools
import inspect
from typing import Any, Final

never_called: Final[set[str]] = set()  # what was put, and nobody has called yet


class NoLongerFits(Exception):
    """The code has changed: there is nothing of that name to be taken out."""


def put(owner: object, name: str, value: Any) -> None:
    """Takes the place of what is there, for good. NoLongerFits if there is nothing."""
    if not hasattr(owner, name):
        raise NoLongerFits(f"{_name(owner)} has no {name!r}")
    what = f"{_name(owner)}.{name}"
    setattr(owner, name, _counted(what, value) if inspect.isfunction(value) else value)


def _counted(what: str, value: Any) -> Any:
    never_called.add(what)

    @functools.wraps(value)
    def call(*arguments: Any, **named: Any) -> Any:
        never_called.discard(what)
        return value(*arguments, **named)

    return call


def _name(owner: object) -> str:
    return str(getattr(owner, "__name__", owner)).rpartition(".")[2]
