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
        if start in done:
            continue
        chain: list[bytes] = []  # what stands at each wants to go to the next
        at: bytes | None = start
        while at is not None and at not in done and at not in chain:
            chain.append(at)
            at = by_source.get(at)
        if at == start:  # a circle: its first is parked, so that the last can go there
            steps.append((start, park(start)))
            chain = [*chain[1:], start]
        for target in reversed(chain):
            source = moves[target]
            steps.append((park(source) if at == start == source else source, target))
        done.update(chain)
    return steps
