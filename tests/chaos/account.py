"""Where everything is at the end: what was acknowledged on the active, all else there or in
quarantine (PURE but for reading files).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from chaos.courier import MAIL, PAGE, Sent
from chaos.history import Violation
from chaos.promises import Receipt
from lab.cluster import Kept
from lab.layout import TREES

TREE = {MAIL: "mail", PAGE: "web"}


def present(sent: Sent, root: Path) -> bytes | None:
    """What a host has in its place, below its root."""
    top, _ = TREES[TREE[sent.kind]]
    try:
        return Path(f"{root}{top}/{sent.place}").read_bytes()
    except FileNotFoundError:
        return None


def lost(receipts: Iterable[Receipt], root: Path, sent: Iterable[Sent]) -> list[Violation]:
    """Acknowledged mails that are not, as they were written, on the active; acknowledged pages
    that are older there than acknowledged, or that nobody wrote.
    """
    found = []
    newest: dict[str, Receipt] = {}
    for receipt in receipts:
        if receipt.sent.kind == PAGE:
            known = newest.setdefault(receipt.sent.place, receipt)
            if receipt.sent.number > known.sent.number:
                newest[receipt.sent.place] = receipt
        elif present(receipt.sent, root) != receipt.sent.content:
            found.append(_missing(receipt, "is not there as it was written"))
    versions = _versions(sent)
    for place, receipt in newest.items():
        content = present(receipt.sent, root)
        number = versions.get((place, content or b""))
        if number is None:
            found.append(_missing(receipt, "is none of its versions" if content else "is gone"))
        elif number < receipt.sent.number:
            found.append(_missing(receipt, f"is back at number {number}"))
    return found


def _versions(sent: Iterable[Sent]) -> dict[tuple[str, bytes], int]:
    """All that a page may be: what arrived, and what may have although nobody said so."""
    last = max((each.number for each in sent if each.kind == PAGE), default=0)
    pages = (Sent(kind=PAGE, number=n, begun=0.0, ended=0.0) for n in range(last + 50))
    return {(page.place, page.content): page.number for page in pages}


def _missing(receipt: Receipt, what: str) -> Violation:
    return Violation(at=receipt.at, text=f"acknowledged, and it {what}: {receipt}")


def unaccounted(
    arrived: Iterable[Sent], root: Path, quarantine: Mapping[str, Iterable[Kept]]
) -> list[Violation]:
    """Mails that a host had on its disk and that are neither on the active nor in that host's
    quarantine. (Nobody deletes them; of a page only the last version is anywhere.)
    """
    kept = {
        (host, entry.path, entry.content)
        for host, entries in quarantine.items()
        for entry in entries
        if entry.tree == TREE[MAIL]
    }
    return [
        Violation(
            at=sent.begun,
            text=f"{sent.kind} {sent.place} was on the disk of {sent.host}, and is neither on the"
            " active nor in its quarantine",
        )
        for sent in arrived
        if sent.kind == MAIL
        and present(sent, root) != sent.content
        and (sent.host, sent.place.encode(), sent.content) not in kept
    ]
