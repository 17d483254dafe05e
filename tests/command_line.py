"""What the project's own commands (scripts/simulate, bench, chaos, torture) have in common."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable


def positive(text: str) -> int:
    """A whole number of at least 1, as the `type` of an option."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return number


def run_command(main: Callable[[], int]) -> int:
    """Runs it; a reader that has enough of its output (`| head`) is no failure."""
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        # Python would complain once more while it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code
