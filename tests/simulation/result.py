"""What became of one run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from staqraft.decision.phases import Phase

RAISED: Final = "raised "  # how the rule is called that no check broke


@dataclass(slots=True)
class Result:
    """What became of a run."""

    seed: int
    violation: str = ""
    rule: str = ""
    virtual_us: int = 0
    cpu_s: float = 0.0
    events: int = 0
    takeovers: int = 0
    acknowledgements: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    transitions: Counter[tuple[Phase, Phase]] = field(default_factory=Counter)
    trace: list[str] = field(default_factory=list)

    @property
    def crashed(self) -> bool:
        """No check was broken: the code under test, or the simulator, raised something else."""
        return self.rule.startswith(RAISED)
