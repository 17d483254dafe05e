"""Each checker of a chaos run sees the violation that it is there for. (`test_history.py` is about
that of epochs, `lab/test_lab_itself.py` about the watcher of the VIP, `lab/test_compare.py` about
trees.)
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from chaos import users, versions
from chaos.account import TREE, PowerCut, changed, lost, missing, unaccounted
from chaos.courier import LINE, MAIL, PAGE, PAGES, SPOOLS, Sent
from chaos.ground import told
from chaos.history import Op, Said, Violation
from chaos.mailer import answer, append
from chaos.promises import Receipt
from chaos.trace import unhandled
from chaos.writes import foreign
from lab.cluster import Kept
from lab.compare import manifest
from lab.layout import TREES
from lab.workload import USERS, is_deleted
from staqraft.wire.v1 import admin_pb2


def sent(kind: str, number: int, host: str = "a", begun: float = 1.0, ended: float = 0.0) -> Sent:
    return Sent(kind=kind, number=number, begun=begun, ended=ended or begun + 0.1, host=host)


def receipt(kind: str, number: int) -> Receipt:
    return Receipt(sent=sent(kind, number), epoch=1, at=1.0)


def path_of(root: Path, what: Sent) -> Path:
    path = root / TREES[TREE[what.kind]][0].lstrip("/") / what.place
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def put(root: Path, *all_of_them: Sent) -> None:
    for what in all_of_them:
        path = path_of(root, what)
        before = path.read_bytes() if what.kind != MAIL and path.exists() else b""
        path.write_bytes(before + what.content)


def words(found: list[str]) -> list[str]:
    return [text.partition(":")[0] for text in found]


def named(found: list[Violation]) -> list[int]:
    """The numbers of what they are about."""
    return [
        int(violation.text.partition("number ")[2].split(" ")[0].strip("),")) for violation in found
    ]


# --- acknowledged ---------------------------------------------------------------------------------


def test_a_mail_that_is_gone_or_changed_is_lost(tmp_path: Path) -> None:
    kept, changed, gone = (receipt(MAIL, number) for number in (1, 2, 3))
    put(tmp_path, kept.sent)
    path_of(tmp_path, changed.sent).write_bytes(changed.sent.content[:-1])
    assert named(lost([kept, changed, gone], tmp_path)) == [2, 3]


@pytest.mark.parametrize(("kind", "step"), [(PAGE, PAGES), (LINE, SPOOLS)])
def test_a_change_that_is_not_in_its_file_any_more_is_lost(
    tmp_path: Path, kind: str, step: int
) -> None:
    changes = [receipt(kind, 5 + n * step) for n in range(3)]
    assert len({change.sent.place for change in changes}) == 1
    assert named(lost(changes, tmp_path)) == [5, 5 + step, 5 + 2 * step]
    put(tmp_path, *(change.sent for change in changes))
    assert lost(changes, tmp_path) == []
    file = path_of(tmp_path, changes[0].sent)
    file.write_bytes(file.read_bytes()[:-3])  # torn
    assert named(lost(changes, tmp_path)) == [5 + 2 * step]
    file.write_bytes(changes[1].sent.content + changes[2].sent.content)  # the first was forgotten
    assert named(lost(changes, tmp_path)) == [5]


def test_a_line_of_another_file_does_not_count(tmp_path: Path) -> None:
    path_of(tmp_path, sent(LINE, 5)).write_bytes(versions.line("chaos-2", 5))
    assert named(lost([receipt(LINE, 5)], tmp_path)) == [5]


def test_half_a_page_was_written_by_nobody() -> None:
    page = versions.line("chaos/page-07.html", 7) + versions.line("chaos/page-07.html", 31)
    assert versions.whole("chaos/page-07.html", page)
    assert versions.whole("chaos/page-07.html", b"")
    for torn in (page[:-1], page[:20], b"\0" * 20, page.replace(b"31 ", b"32 "), b"\n" + page):
        assert not versions.whole("chaos/page-07.html", torn)


def test_what_nobody_touched_is_seen_when_it_changes(tmp_path: Path) -> None:
    for name in ("index.html", "chaos/page-07.html", "odd/private"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("as it was")
    before = manifest(tmp_path)
    (tmp_path / "chaos" / "page-07.html").write_text("that is the load")
    assert list(changed(before, manifest(tmp_path), 1.0)) == []
    (tmp_path / "odd" / "private").chmod(0o600)
    (tmp_path / "index.html").unlink()
    found = [violation.text for violation in changed(before, manifest(tmp_path), 1.0)]
    assert ["index.html" in found[0], "private: mode" in found[1], len(found)] == [True, True, 2]


# --- quarantine -----------------------------------------------------------------------------------


def kept(*all_of_them: Sent) -> Kept:
    """A file in quarantine, with all of this in it."""
    first = all_of_them[0]
    content = b"".join(what.content for what in all_of_them)
    return Kept(tree=TREE[first.kind], path=first.place.encode(), content=content)


@pytest.mark.parametrize(("kind", "step"), [(MAIL, 1), (PAGE, PAGES), (LINE, SPOOLS)])
def test_what_only_a_former_active_had_must_be_in_its_quarantine(
    tmp_path: Path, kind: str, step: int
) -> None:
    there, put_aside, vanished = (sent(kind, 1 + n * step) for n in range(3))
    put(tmp_path, there)
    all_of_them = [there, put_aside, vanished]
    found = unaccounted(all_of_them, tmp_path, {"a": [kept(put_aside)], "b": []})
    assert named(found) == [vanished.number]
    assert unaccounted(all_of_them, tmp_path, {"a": [kept(put_aside), kept(vanished)]}) == []


def test_what_was_put_aside_has_all_lines_of_the_file(tmp_path: Path) -> None:
    lines = [sent(LINE, 1 + n * SPOOLS) for n in range(4)]
    put(tmp_path, lines[0])
    quarantine = {"a": [kept(*lines[:2]), kept(lines[0], lines[3])]}
    assert named(unaccounted(lines, tmp_path, quarantine)) == [lines[2].number]


@pytest.mark.parametrize("kind", [MAIL, PAGE, LINE])
def test_another_hosts_quarantine_or_another_content_does_not_count(
    tmp_path: Path, kind: str
) -> None:
    one = sent(kind, 2, host="a")
    assert unaccounted([one], tmp_path, {"a": [], "b": [kept(one)]})
    torn = replace(kept(one), content=one.content[:-1])
    assert unaccounted([one], tmp_path, {"a": [torn], "b": []})
    elsewhere = replace(kept(one), path=b"elsewhere")
    assert unaccounted([one], tmp_path, {"a": [elsewhere], "b": []})


def test_only_a_page_just_before_a_power_cut_of_its_host_may_be_gone(tmp_path: Path) -> None:
    cut = [PowerCut(host="a", since=500.0, until=510.0)]

    def gone(kind: str, host: str, begun: float) -> bool:
        return bool(unaccounted([sent(kind, 1, host, begun)], tmp_path, {}, cut))

    assert not gone(PAGE, "a", 499.0)
    assert gone(PAGE, "b", 499.0)
    assert gone(PAGE, "a", 400.0)  # the kernel had synced it
    assert gone(PAGE, "a", 511.0)
    assert gone(MAIL, "a", 499.0)  # the mailer had
    assert gone(LINE, "a", 499.0)


def test_mails_of_busy_users_are_in_any_folder_or_in_quarantine(tmp_path: Path) -> None:
    paths = [f"/srv/mail/{USERS[n % 5]}/new/{n}.lab" for n in range(users.COUNT)]
    told = [f"{path}\n" for path in paths]
    there = list(users.delivered("a", [*told[:5], told[5][:-1]], 1.0))
    assert [one.number for one in there] == [0, 1, 2, 3, 4]  # of the last he told half
    places = [
        "anna/new/0.lab",
        "bert/cur/1.lab:2,RS",
        "cleo/.Archive/cur/2.lab:2,S",
        "dora/tmp/3.lab",
    ]
    for one, place in zip(there, places, strict=False):
        path = tmp_path / "srv" / "mail" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(one.content)
    aside = Kept(tree="mail", path=b"emil/cur/4.lab:2,S", content=there[4].content)
    found = missing(there, tmp_path, {"a": [aside]})
    assert ["mail 3.lab of dora" in found[0].text, len(found)] == [True, 1]
    assert len(missing(there, tmp_path, {"b": [aside]})) == 2
    deleted = [n for n in range(users.COUNT) if is_deleted(n, users.COUNT)]
    numbers = {one.number for one in users.delivered("a", told, 1.0)}
    assert numbers == set(range(users.COUNT)) - set(deleted)
    assert len(deleted) == users.COUNT // 10


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
    assert answer(line, "a", mail=tmp_path) == {"host": "a"}
    assert (tmp_path / "anna" / "new" / "1.lab").read_text() == "hello"
    assert list((tmp_path / "anna" / "tmp").iterdir()) == []


def test_a_mail_that_cannot_be_delivered_is_refused(tmp_path: Path) -> None:
    line = '{"box": "nobody", "unique": "1.lab", "content": "hello"}'
    assert "error" in answer(line, "a", mail=tmp_path)
    assert "error" in answer("", "a", mail=tmp_path)


def test_lines_are_appended_each_by_itself_even_behind_half_a_one(tmp_path: Path) -> None:
    spool = tmp_path / "chaos-1"
    assert answer('{"spool": "chaos-1", "line": "1 x\\n"}', "a", spools=tmp_path) == {"host": "a"}
    with spool.open("ab") as file:
        file.write(b"2")  # and the disk was full
    append(spool, b"3 x\n")
    append(spool, b"4 x\n")
    assert spool.read_bytes() == b"1 x\n2\n3 x\n4 x\n"
    assert "error" in answer('{"spool": "no/such", "line": "1"}', "a", spools=tmp_path)
