"""Renames are journalled in an order in which each finds its target free."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from staqraft.capture.moves import order_moves


def carry_out(names: dict[bytes, str], steps: list[tuple[bytes, bytes]]) -> dict[bytes, str]:
    names = dict(names)
    for source, target in steps:
        names[target] = names.pop(source)
    return names


def park(name: bytes) -> bytes:
    return b"parked " + name


def test_log_rotation_moves_the_oldest_first() -> None:
    moves = {b"log.1": b"log", b"log.2": b"log.1", b"log.3": b"log.2"}
    assert order_moves(moves, park) == [
        (b"log.2", b"log.3"),
        (b"log.1", b"log.2"),
        (b"log", b"log.1"),
    ]


def test_an_exchange_goes_by_way_of_a_parking_name() -> None:
    assert order_moves({b"a": b"b", b"b": b"a"}, park) == [
        (b"a", b"parked a"),
        (b"b", b"a"),
        (b"parked a", b"b"),
    ]


@given(st.permutations(range(8)), st.sets(st.integers(0, 7)), st.integers(0, 7))
def test_every_file_gets_where_it_goes(order: list[int], still: set[int], away: int) -> None:
    """Any permutation of eight files, some standing still, one place made free."""
    moves = {
        b"%d" % target: b"%d" % source
        for target, source in enumerate(order)
        if target != source and source not in still and source != away
    }
    files = {b"%d" % number: f"file {number}" for number in range(8) if number != away}
    after = carry_out(files, order_moves(moves, park))
    for target, source in moves.items():
        assert after[target] == files[source]
    assert not any(name.startswith(b"parked") for name in after)
