"""Where everything is at the end: what was acknowledged on the active, all else there or in
quarantine (PURE but for reading files).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from chaos import versions
from chaos.courier import LINE, MAIL, PAGE, Sent
from chaos.history import Violation
from chaos.promises import Receipt
from chaos.setting import PAGES
from chaos.users import Delivered, name_of
from lab.cluster import Kept
from lab.compare import Manifest, differences
from lab.layout import TREES

TREE = {MAIL: "mail", PAGE: "web", LINE: "spool"}
WEB = TREES[TREE[PAGE]][0]
# nginx does not sync what it is sent: the kernel does within 30 s, and its journal 5 s later.
UNSYNCED_S = 60.0
CHANGED = Path(PAGES).relative_to(WEB).as_posix().encode()  # the part of the web that is
Quarantine = Mapping[str, Iterable[Kept]]  # by host


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerCut:
    """A host lost its power at some instant between these (CLOCK_BOOTTIME, seconds)."""

    host: str
    since: float
    until: float

    def may_have_lost(self, sent: Sent) -> bool:
        """It took this, and had perhaps not synced it yet."""
        return (
            sent.kind == PAGE
            and sent.host == self.host
            and self.since - UNSYNCED_S <= sent.begun <= self.until
        )


def present(sent: Sent, root: Path) -> bytes | None:
    """What a host has in its place, below its root."""
    top, _ = TREES[TREE[sent.kind]]
    try:
        return Path(f"{root}{top}/{sent.place}").read_bytes()
    except FileNotFoundError:
        return None


class Places:
    """Whether files have what was sent, each read once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[str, frozenset[int]] = {}

    def has(self, sent: Sent) -> bool:
        """The mail as it was written; the line of a page or spool."""
        if sent.kind == MAIL:
            return present(sent, self._root) == sent.content
        place = sent.place
        if place not in self._known:
            self._known[place] = versions.numbers(place, present(sent, self._root) or b"")
        return sent.number in self._known[place]


def lost(receipts: Iterable[Receipt], root: Path) -> list[Violation]:
    """Acknowledged mails that are not, as they were written, on the active, and acknowledged lines
    of pages and spools that are not in theirs.
    """
    places = Places(root)
    return [
        Violation(
            at=receipt.at, text=f"acknowledged, and it is not there as it was written: {receipt}"
        )
        for receipt in receipts
        if not places.has(receipt.sent)
    ]


def unaccounted(
    arrived: Iterable[Sent], root: Path, quarantine: Quarantine, cuts: Iterable[PowerCut] = ()
) -> list[Violation]:
    """What a host had on its disk and is neither on the active nor in that host's quarantine.

    A page of which its host may not have synced the last lines when it lost its power may lack
    them.
    """
    active, aside, excuses = Places(root), _Aside(quarantine), list(cuts)
    return [
        Violation(
            at=sent.begun,
            text=f"{sent.kind} number {sent.number} ({sent.place}) was on the disk of {sent.host},"
            " and is neither on the active nor in its quarantine",
        )
        for sent in arrived
        if not (
            active.has(sent) or aside.has(sent) or any(cut.may_have_lost(sent) for cut in excuses)
        )
    ]


class _Aside:
    """What is in the quarantines, by host and place."""

    def __init__(self, quarantine: Quarantine) -> None:
        self._mails: set[tuple[str, bytes, bytes]] = set()
        self._lines: dict[tuple[str, str, bytes], set[int]] = defaultdict(set)
        for host, entries in quarantine.items():
            for entry in entries:
                if entry.tree == TREE[MAIL]:
                    self._mails.add((host, entry.path, entry.content))
                    continue
                place = entry.path.decode(errors="replace")
                found = versions.numbers(place, entry.content)
                self._lines[host, entry.tree, entry.path] |= found

    def has(self, sent: Sent) -> bool:
        path = sent.place.encode()
        if sent.kind == MAIL:
            return (sent.host, path, sent.content) in self._mails
        return sent.number in self._lines.get((sent.host, TREE[sent.kind], path), ())


def missing(delivered: Iterable[Delivered], root: Path, quarantine: Quarantine) -> list[Violation]:
    """Mails of busy users that are in no folder of theirs on the active, nor in the quarantine of
    their host.
    """
    top = Path(f"{root}{TREES[TREE[MAIL]][0]}")
    active = {
        (*name_of(bytes(path.relative_to(top))), path.read_bytes())
        for path in top.rglob("*")
        if path.is_file() and "tmp" not in path.parts[-2:-1]
    }
    aside = {
        (host, *name_of(entry.path), entry.content)
        for host, entries in quarantine.items()
        for entry in entries
        if entry.tree == TREE[MAIL]
    }
    return [
        Violation(
            at=one.at,
            text=f"mail {one.unique} of {one.user} was on the disk of {one.host}, and is neither on"
            " the active nor in its quarantine",
        )
        for one in delivered
        if (one.user, one.unique, one.content) not in active
        and (one.host, one.user, one.unique, one.content) not in aside
    ]


def changed(before: Manifest, after: Manifest, at: float) -> Iterator[Violation]:
    """Files of the web that nobody touched, and that are not as they were."""
    left, right = (
        {path: item for path, item in each.items() if path.split(b"/")[0] not in (b"", CHANGED)}
        for each in (before, after)
    )
    for found in differences(left, right):
        yield Violation(at=at, text=f"nobody touched it, and it is not as it was: {found}")
