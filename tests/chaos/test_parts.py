"""The parts of a chaos run that need no lab."""

from __future__ import annotations

import hashlib
from itertools import islice
from pathlib import Path

from chaos.history import violations
from chaos.nemeses import MAKERS, draw
from chaos.postman import Receipt, lost, text
from chaos.report import by_kind
from chaos.run import Struck, ops_of
from lab.views import History, View
from lab.workload import MAIL


def names(seed: int, count: int) -> list[str]:
    return [nemesis.name for nemesis in islice(draw(seed), count)]


def test_a_seed_draws_the_same_faults_again_and_another_seed_draws_others() -> None:
    assert names(7, 100) == names(7, 100)
    assert names(7, 100) != names(8, 100)


def test_a_short_run_has_many_kinds_and_a_long_one_all() -> None:
    drawn = names(1, len(MAKERS))
    kinds = {name.removesuffix(" + switchover").removeprefix("load + ") for name in drawn}
    assert len(kinds) > 0.9 * len(MAKERS)


def view(node: str, **changes: object) -> View:
    fields: dict[str, object] = {
        "node": node, "life": 1, "begun": 1.0, "ended": 1.1, "epoch": 2, "active": "b",
        "phase": "standby", **changes,
    }  # fmt: skip
    return View(**fields)  # type: ignore[arg-type] # names are checked by the constructor


def complaints(*views: View) -> list[str]:
    ops = [op for each in views for op in ops_of(each)]
    return [violation.text.partition(":")[0] for violation in violations(ops)]


def test_a_standby_that_has_the_address_is_seen_in_its_own_words() -> None:
    assert not complaints(view("a"))
    assert complaints(view("a", holds_vip=True)) == ["a node claims another's epoch"]


def test_two_that_lead_one_after_the_other_in_the_wrong_order_are_seen() -> None:
    new = view("b", phase="active", lease_left_ms=900)

    def old(begun: float) -> View:
        leads: dict[str, object] = {"phase": "active", "lease_left_ms": 10}
        return view("a", epoch=1, active="a", begun=begun, ended=begun + 0.1, **leads)

    assert not complaints(old(0.5), new)
    assert not complaints(old(1.0), new)  # asked at the same time, they may have come in any order
    assert complaints(new, old(1.2)) == ["an old epoch is used"]


def test_a_daemon_that_has_heard_nothing_yet_says_nothing() -> None:
    assert ops_of(view("a", epoch=0, active="", phase="startup", holds_vip=True)) == []


def test_of_many_equal_views_the_first_and_the_last_are_kept() -> None:
    history = History()
    for at in (1.0, 2.0, 3.0, 4.0):
        history.add(view("a", begun=at, ended=at + 0.1, lease_left_ms=int(at)))
    history.add(view("a", begun=5.0, ended=5.1, epoch=3))
    assert [kept.begun for kept in history.views] == [1.0, 4.0, 5.0]
    assert history.taken == 5


def receipt(number: int, content: bytes) -> Receipt:
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    return Receipt(
        box="anna", unique=f"{number}.chaos.lab", digest=digest, host="a", epoch=1, at=1.0
    )


def test_a_mail_that_is_gone_or_changed_is_lost(tmp_path: Path) -> None:
    new = Path(f"{tmp_path}{MAIL}/anna/new")
    new.mkdir(parents=True)
    kept, changed, gone = (receipt(number, text(number)) for number in (1, 2, 3))
    (new / kept.unique).write_bytes(text(1))
    (new / changed.unique).write_bytes(text(2)[:-1])
    assert lost([kept, changed, gone], tmp_path) == [changed, gone]


def struck(kind: str, outage_s: float) -> Struck:
    return Struck(
        number=1, kind=kind, name=kind, active="a", since=1.0, healed=2.0, well=5.0,
        outage_s=outage_s,
    )  # fmt: skip


def test_outages_are_reported_by_kind_of_fault() -> None:
    table = by_kind([struck("power", 3.0), struck("kill", 0.1), struck("power", 3.5)])
    assert (table["power"][0].count, table["power"][0].max) == (2, 3.5)
    assert (table["kill"][0].p50, table["kill"][1].max) == (0.1, 3.0)
