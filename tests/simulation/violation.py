"""What a check raises."""

from __future__ import annotations


class Violation(AssertionError):
    """A broken invariant. `rule` names it."""

    def __init__(self, rule: str, what: str) -> None:
        super().__init__(f"{rule}: {what}")
        self.rule = rule
