"""The checker finds what it is there for, and only that."""

from __future__ import annotations

from chaos.history import Op, Said, violations


def op(said: Said, node: str, epoch: int, begun: float, ended: float, **rest: object) -> Op:
    active = str(rest.get("active", node if said is Said.CLAIM else ""))
    life = int(str(rest.get("life", 0)))
    return Op(said=said, node=node, epoch=epoch, begun=begun, ended=ended, active=active, life=life)


def claims(node: str, epoch: int, begun: float, ended: float) -> Op:
    return op(Said.CLAIM, node, epoch, begun, ended)


def knows(node: str, epoch: int, begun: float, ended: float, **rest: object) -> Op:
    return op(Said.KNOWS, node, epoch, begun, ended, **rest)


def complaints(*ops: Op) -> list[str]:
    return [violation.text.partition(":")[0] for violation in violations(ops)]


def test_a_right_that_is_handed_on_is_right_even_when_words_overlap() -> None:
    assert not complaints(
        claims("a", 1, 0.0, 1.0),
        claims("a", 1, 1.1, 2.6),  # asked before the handover, answered after it began
        claims("b", 2, 2.5, 2.55),
        knows("w", 1, 2.5, 2.7),  # a local read may be old
        knows("w", 1, 2.8, 2.9),
        knows("w", 2, 3.0, 3.1),
        op(Said.CHANGE, "b", 2, 2.4, 3.0),
        claims("b", 2, 9.0, 9.1),
    )


def test_two_nodes_in_one_epoch() -> None:
    assert complaints(claims("a", 3, 0.0, 0.1), claims("b", 3, 5.0, 5.1)) == [
        "one epoch has two owners"
    ]


def test_two_members_that_name_different_owners_of_an_epoch() -> None:
    told = [knows("w", 3, 0.0, 0.1, active="a"), knows("b", 3, 0.0, 0.1, active="b")]
    assert complaints(*told) == ["one epoch has two owners"]


def test_the_former_active_goes_on_when_the_next_has_begun() -> None:
    assert complaints(
        claims("a", 1, 0.0, 0.1), claims("b", 2, 1.0, 1.1), claims("a", 1, 1.2, 1.3)
    ) == ["an old epoch is used"]


def test_a_claim_after_somebody_merely_knew_of_a_newer_epoch() -> None:
    assert complaints(knows("w", 2, 1.0, 1.1), claims("a", 1, 1.2, 1.3)) == ["an old epoch is used"]


def test_a_claim_that_may_have_been_earlier_is_no_violation() -> None:
    assert not complaints(knows("w", 2, 1.0, 1.1), claims("a", 1, 1.05, 3.0))


def test_a_claim_hidden_behind_a_long_one_is_found() -> None:
    # The long span begins first and ends last; it must not hide the pair inside it.
    assert complaints(
        knows("w", 1, 0.0, 100.0), knows("b", 5, 1.0, 2.0), claims("a", 4, 3.0, 4.0)
    ) == ["an old epoch is used"]


def test_a_change_that_was_reported_as_done_binds_what_comes_after() -> None:
    done = op(Said.CHANGE, "b", 7, 1.0, 2.0)
    assert complaints(done, claims("a", 6, 2.1, 2.2)) == ["an old epoch is used"]
    assert complaints(claims("b", 7, 0.0, 0.5), op(Said.CHANGE, "a", 6, 1.0, 2.0)) == [
        "an old epoch is used"
    ]


def test_an_address_held_in_anothers_epoch() -> None:
    held = op(Said.CLAIM, "a", 2, 1.0, 1.1, active="b")
    assert complaints(held) == ["a node claims another's epoch"]


def test_a_daemon_that_forgets_what_it_knew() -> None:
    assert complaints(knows("w", 5, 1.0, 1.1), knows("w", 4, 2.0, 2.1)) == [
        "a daemon forgot an epoch"
    ]


def test_a_daemon_that_was_restarted_may_have_to_learn_again() -> None:
    assert not complaints(knows("w", 5, 1.0, 1.1, life=1), knows("w", 4, 2.0, 2.1, life=2))
