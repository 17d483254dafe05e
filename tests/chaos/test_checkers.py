"""Each checker of a chaos run sees the violation that it is there for. (`test_history.py` is about
that of epochs, `lab/test_lab_itself.py` about the watcher of the VIP, `lab/test_compare.py` about
trees.)
"""

from __future__ import annotations

from pathlib import Path

from chaos.account import lost, unaccounted
from chaos.courier import MAIL, PAGE, Sent
from chaos.ground import told
from chaos.history import Op, Said
from chaos.mailer import answer
from chaos.promises import Receipt
from chaos.trace import unhandled
from chaos.writes import foreign
from lab.cluster import Kept
from staqraft.wire.v1 import admin_pb2


def sent(kind: str, number: int, host: str = "a", begun: float = 1.0, ended: float = 0.0) -> Sent:
    return Sent(kind=kind, number=number, begun=begun, ended=ended or begun + 0.1, host=host)


def receipt(kind: str, number: int) -> Receipt:
    return Receipt(sent=sent(kind, number), epoch=1, at=1.0)


def put(root: Path, what: Sent, content: bytes | None = None) -> None:
    top = "srv/mail" if what.kind == MAIL else "srv/www"
    path = root / top / what.place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(what.content if content is None else content)


def words(found: list[str]) -> list[str]:
    return [text.partition(":")[0] for text in found]


# --- acknowledged ---------------------------------------------------------------------------------


def test_a_mail_that_is_gone_or_changed_is_lost(tmp_path: Path) -> None:
    kept, changed, gone = (receipt(MAIL, number) for number in (1, 2, 3))
    put(tmp_path, kept.sent)
    put(tmp_path, changed.sent, changed.sent.content[:-1])
    found = lost([kept, changed, gone], tmp_path, [])
    assert ["(number 2)" in v.text or "(number 3)" in v.text for v in found] == [True, True]


def test_a_page_may_be_newer_than_acknowledged_but_not_older(tmp_path: Path) -> None:
    old, acknowledged, newer = (sent(PAGE, number) for number in (5, 29, 53))
    assert old.place == acknowledged.place == newer.place
    arrived = [old, acknowledged, newer]
    promised = [Receipt(sent=old, epoch=1, at=1.0), Receipt(sent=acknowledged, epoch=1, at=2.0)]
    put(tmp_path, newer)
    assert lost(promised, tmp_path, arrived) == []
    put(tmp_path, acknowledged)
    assert lost(promised, tmp_path, arrived) == []
    put(tmp_path, old)
    assert "back at number 5" in lost(promised, tmp_path, arrived)[0].text


def test_a_page_that_is_torn_or_gone_is_lost(tmp_path: Path) -> None:
    page = receipt(PAGE, 7)
    assert "is gone" in lost([page], tmp_path, [page.sent])[0].text
    put(tmp_path, page.sent, page.sent.content[:40])
    assert "none of its versions" in lost([page], tmp_path, [page.sent])[0].text


def test_what_arrived_without_an_answer_is_a_version_too(tmp_path: Path) -> None:
    page = receipt(PAGE, 7)
    put(tmp_path, sent(PAGE, 31))  # the client never heard of it
    assert lost([page], tmp_path, [page.sent]) == []


# --- quarantine -----------------------------------------------------------------------------------


def kept(what: Sent, content: bytes | None = None) -> Kept:
    return Kept(
        tree="mail",
        path=what.place.encode(),
        content=what.content if content is None else content,
    )


def test_what_only_a_former_active_had_must_be_in_its_quarantine(tmp_path: Path) -> None:
    there, put_aside, vanished = (sent(MAIL, number) for number in (1, 2, 3))
    put(tmp_path, there)
    all_of_them = [there, put_aside, vanished]
    found = unaccounted(all_of_them, tmp_path, {"a": [kept(put_aside)], "b": []})
    assert [vanished.place in violation.text for violation in found] == [True]


def test_another_hosts_quarantine_or_another_content_does_not_count(tmp_path: Path) -> None:
    mail = sent(MAIL, 2, host="a")
    assert unaccounted([mail], tmp_path, {"a": [], "b": [kept(mail)]})
    assert unaccounted([mail], tmp_path, {"a": [kept(mail, b"another")], "b": []})


# --- one writable active --------------------------------------------------------------------------


def knows(epoch: int, active: str, begun: float, said: Said = Said.KNOWS) -> Op:
    return Op(said=said, node=active, epoch=epoch, begun=begun, ended=begun + 0.05, active=active)


REIGNS = [
    knows(1, "a", 1.0, Said.CLAIM),
    knows(1, "a", 2.0, Said.CLAIM),
    knows(2, "b", 4.0),
    knows(2, "b", 6.0, Said.CLAIM),
    knows(3, "a", 9.0),
]


def test_writes_in_ones_own_reign_or_around_a_change_are_right() -> None:
    assert not foreign(REIGNS, [sent(MAIL, 1, "a", 1.2), sent(PAGE, 2, "b", 4.2)])
    assert not foreign(REIGNS, [sent(MAIL, 1, "a", 3.0, 5.0), sent(MAIL, 2, "b", 2.9, 3.1)])
    assert not foreign(REIGNS, [sent(MAIL, 1, "a", 9.5), sent(MAIL, 1, "b", 8.0)])


def test_a_write_that_a_host_took_in_anothers_reign_is_seen() -> None:
    assert words([v.text for v in foreign(REIGNS, [sent(PAGE, 1, "a", 5.0)])]) == [
        "a took page number 1 in the reign of another"
    ]
    assert foreign(REIGNS, [sent(MAIL, 1, "b", 1.2)])
    assert foreign(REIGNS, [sent(MAIL, 1, "b", 9.5)])


def test_a_write_before_a_claim_of_the_same_reign_is_seen() -> None:
    # Epoch 2 is claimed later, so that epoch 3 cannot have begun; and epoch 2 was known before.
    assert foreign(REIGNS, [sent(MAIL, 1, "a", 4.2, 5.9)])


# --- status ---------------------------------------------------------------------------------------


def test_a_status_that_says_that_something_is_wrong_is_seen() -> None:
    status = admin_pb2.GetStatusResponse(node="a", raft=admin_pb2.RaftStatus(has_quorum=True))
    assert told("a", status) == []
    status.nodes.add(node="b", reachable=False)
    status.raft.has_quorum = False
    assert ["b is not heard" in told("a", status)[0], len(told("a", status))] == [True, 2]


# --- logs -----------------------------------------------------------------------------------------


def test_exceptions_that_nobody_handled_and_unexpected_ends_are_seen() -> None:
    fine = ["--- staqraftd: start 1: x", "a line", "--- staqraftd: ended with -9"]
    assert unhandled("a", fine) == []
    found = unhandled("a", [*fine, "about to fail", "Traceback (most recent call last):", "  File"])
    assert found == ["a: an exception that nobody handled, behind: about to fail"]
    assert "ended with 1" in unhandled("b", ["--- staqraftd: ended with 1"])[0]


# --- the mailer -----------------------------------------------------------------------------------


def test_a_mail_is_delivered_before_it_is_answered(tmp_path: Path) -> None:
    for part in ("tmp", "new"):
        (tmp_path / "anna" / part).mkdir(parents=True)
    line = '{"box": "anna", "unique": "1.lab", "content": "hello"}'
    assert answer(line, tmp_path, "a") == {"host": "a"}
    assert (tmp_path / "anna" / "new" / "1.lab").read_text() == "hello"
    assert list((tmp_path / "anna" / "tmp").iterdir()) == []


def test_a_mail_that_cannot_be_delivered_is_refused(tmp_path: Path) -> None:
    line = '{"box": "nobody", "unique": "1.lab", "content": "hello"}'
    assert "error" in answer(line, tmp_path, "a")
    assert "error" in answer("", tmp_path, "a")
