"""Fuzzes the decoders until the time is over; ends with 1 and the input at the first that fails.

python -m fakes.fuzz [--minutes M] [--seed N] [NAME...]
"""

from __future__ import annotations

import argparse
import random
import sys
import time

from fakes.decoders import DECODERS, Decoder, attempt, endless

TURN = 2000


def turn(decoder: Decoder, rng: random.Random) -> int:
    """Some inputs; how many were accepted. SystemExit names the input that fails."""
    accepted = 0
    for number, data in enumerate(endless(decoder, rng)):
        if number == TURN:
            break
        try:
            accepted += attempt(decoder, data)
        except Exception as error:
            text = f"fuzz: {decoder.name}: {type(error).__name__}: {error}\n  input: {data.hex()}"
            raise SystemExit(text) from error
    return accepted


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("names", nargs="*", metavar="NAME", help="decoders; default: all")
    options = parser.parse_args()
    chosen = [d for d in DECODERS if not options.names or d.name in options.names]
    if not chosen:
        parser.error(f"known are: {', '.join(d.name for d in DECODERS)}")
    rng = random.Random(options.seed)
    inputs, accepted = 0, 0
    until = time.monotonic() + 60 * options.minutes
    while time.monotonic() < until:
        for decoder in chosen:
            accepted += turn(decoder, rng)
            inputs += TURN
    print(
        f"fuzz: {inputs} inputs to {len(chosen)} decoders, {accepted} accepted, each the same"
        f" when encoded again; seed {options.seed}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
