"""The order in which files are renamed so that each finds its target free (PURE)."""

from __future__ import annotations

from collections.abc import Callable, Mapping


def order_moves(
    moves: Mapping[bytes, bytes], park: Callable[[bytes], bytes]
) -> list[tuple[bytes, bytes]]:
    """Steps (source, target) for `moves`, target -> source, each source and target once.

    A target that is itself a source is vacated first (log rotation: the oldest moves first). A
    circle (an exchange) is opened by moving one file to `park(source)` and from there at the end.
    """
    by_source = {source: target for target, source in moves.items()}
    steps: list[tuple[bytes, bytes]] = []
    done: set[bytes] = set()
    for start in moves:
        chain: list[bytes] = []
        at: bytes | None = start
        while at is not None and at not in done and at not in chain:
            chain.append(at)
            at = by_source.get(at)  # what stands at this target wants to go there
        parked = at if at is not None and at not in done else None
        if parked is not None:  # a circle: the chain came back to a target in it
            steps.append((parked, park(parked)))
        for target in reversed(chain):
            source = moves[target]
            steps.append((park(source) if source == parked else source, target))
            done.add(target)
    return steps
