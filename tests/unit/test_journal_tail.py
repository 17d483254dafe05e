"""`staqctl journal tail`: the newest records, whoever writes, and nothing steers a terminal."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.patience import PATIENCE_S
from fakes.ports import free_port
from fakes.records import WALL_MS, deliveries, delivery, open_journal
from fakes.stream_pair import A, lab_config
from staqraft.cli.journal import to_json, to_line
from staqraft.config.schema import Journal as Limits
from staqraft.errors import JournalCorrupt
from staqraft.journal import segment
from staqraft.journal.cursor import Cursor
from staqraft.journal.record import (
    Change,
    Chunk,
    Delta,
    HardLinkTo,
    MailKind,
    Metadata,
    MovedFrom,
    ObjectType,
    Record,
    Remove,
    Staged,
    Upsert,
)
from staqraft.journal.tail import Parted, behind, newest
from staqraft.model import ORIGIN, Epoch, Position

ONE, TWO = Epoch(1), Epoch(2)
FILE = Metadata(type=ObjectType.FILE, mode=0o644, uid=0, gid=0, mtime_ns=0, size=5 << 20)


def numbers(records: list[Record]) -> list[int]:
    return [record.position.seq for record in records]


def test_the_newest_over_segments_and_epochs(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, limits=Limits(segment_bytes=600_000))
    for start in range(0, 1000, 10):
        journal.append(deliveries(start, 10, 2000), ONE if start < 500 else TWO)
    journal.close()
    assert len(segment.listing(tmp_path)) > 2
    for count in (0, 1, 7, 200, 450, 999, 1000, 5000):
        found, end = newest(tmp_path, count)
        assert numbers(found) == list(range(max(0, 1000 - count) + 1, 1001))
        assert end == Position(TWO, 1000)


def test_the_newest_that_are_wanted_may_be_old(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, limits=Limits(segment_bytes=300_000))
    for start in range(0, 1000, 10):
        journal.append(deliveries(start, 10, 2000), ONE)
    journal.close()
    wanted = {b"lea/new/3.lab", b"lea/new/401.lab", b"lea/new/7.lab"}
    found, end = newest(tmp_path, 2, lambda record: record.path in wanted)
    assert [record.path for record in found] == [b"lea/new/7.lab", b"lea/new/401.lab"]
    assert end.seq == 1000


def test_an_empty_and_a_missing_journal_have_none(tmp_path: Path) -> None:
    assert newest(tmp_path / "missing", 5) == ([], ORIGIN)
    open_journal(tmp_path).close()
    assert newest(tmp_path, 5) == ([], ORIGIN)


def test_damage_is_said_and_what_was_trimmed_is_not_missed(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, limits=Limits(segment_bytes=20_000))
    for start in range(0, 200, 5):
        journal.append(deliveries(start, 5, 2000), ONE)
    journal.close()
    names = segment.listing(tmp_path)
    for name in names[:-3]:
        name.segment(tmp_path).unlink()
    found, _ = newest(tmp_path, 1000)
    assert numbers(found) == list(range(names[-3].first_seq, 201))
    with Cursor(tmp_path, Position(ONE, 5)) as cursor, pytest.raises(Parted, match="trimmed"):
        next(behind(cursor))
    middle = names[-2].segment(tmp_path)
    data = bytearray(middle.read_bytes())
    data[5000] ^= 1
    middle.write_bytes(data)
    with pytest.raises(JournalCorrupt, match=re.escape(str(middle))):
        newest(tmp_path, 1000)


@pytest.mark.parametrize(
    ("change", "mail", "text"),
    [
        (delivery(1).change, MailKind.DELIVER, "deliver  t:x  (4.0 KiB, whole)"),
        (Remove(), MailKind.EXPUNGE, "expunge  t:x"),
        (Remove(), None, "remove   t:x"),
        (
            Upsert(metadata=FILE, content=Delta(b"", ((0, b"ab"), (9, b"c")))),
            None,
            "upsert   t:x  (5.0 MiB, 3 B changed in 2 places)",
        ),
        (
            Upsert(metadata=FILE, content=Staged(7)),
            None,
            "upsert   t:x  (5.0 MiB, in the pieces before)",
        ),
        (
            Upsert(metadata=FILE, content=MovedFrom(b"new/1")),
            MailKind.FLAGS,
            "flags    t:x  (5.0 MiB, from new/1)",
        ),
        (
            Upsert(metadata=FILE, content=MovedFrom(b"a\x1b[2J")),
            None,
            r"move     t:x  (5.0 MiB, from a\x1b[2J)",
        ),
        (
            Upsert(metadata=FILE, content=HardLinkTo(b"y")),
            None,
            "link     t:x  (5.0 MiB, same file as y)",
        ),
        (Upsert(metadata=FILE), None, "upsert   t:x  (5.0 MiB, metadata only)"),
        (
            Upsert(metadata=replace(FILE, type=ObjectType.DIRECTORY, size=0)),
            MailKind.FOLDER,
            "folder   t:x  (directory)",
        ),
        (
            Upsert(metadata=replace(FILE, type=ObjectType.SYMLINK, size=0, symlink_target=b"z\n")),
            None,
            r"upsert   t:x  (to z\n)",
        ),
        (Chunk(stage=7, offset=1 << 20, data=b"abc"), None, "piece    t:x  (3 B at 1.0 MiB)"),
    ],
)
def test_a_record_in_a_line(change: Change, mail: MailKind | None, text: str) -> None:
    record = Record(
        tree="t", path=b"x", change=change, mail=mail, position=Position(TWO, 31), wall_ms=WALL_MS
    )
    assert to_line(record, WALL_MS + 1500) == f"2:31            1.5 s ago  {text}"


def test_a_name_cannot_steer_the_terminal_and_is_exact_for_programs() -> None:
    path = b"caf\xe9/\x1b]0;owned\x07\xe2\x80\xae\nx"
    record = Record(tree="t", path=path, change=Remove(), position=Position(ONE, 1))
    line = to_line(record, WALL_MS)
    assert line.isprintable()
    assert r"caf\xe9/\x1b]0;owned\x07\u202e\nx" in line
    content = json.loads(to_json(record, WALL_MS))
    assert base64.b64decode(content["path_base64"]) == path
    assert content["path"].isprintable()
    assert content["age_ms"] is None  # its writer did not say when


async def test_the_program_follows_and_filters(tmp_path: Path) -> None:
    config = lab_config(tmp_path, A, free_port())
    directory = config.group_dir(next(iter(config.groups))) / "journal"
    directory.mkdir(parents=True)
    path = tmp_path / "staqraft.yaml"
    tls = config.tls
    path.write_text(f"""\
cluster: lab
node: a
nodes:
  a: {{role: replica, rings: {{service: 127.0.1.1}}}}
  b: {{role: replica, rings: {{service: 127.0.1.2}}}}
  w: {{role: witness, rings: {{service: 127.0.1.3}}}}
tls: {{ca: {tls.ca}, certificate: {tls.certificate}, key: {tls.key}}}
state_dir: {config.state_dir}
groups:
  mail: {{initial_active: a, trees: {{mail: {{path: {tmp_path}/tree}}}}}}
""")
    (tmp_path / "tree").mkdir()
    journal = open_journal(directory)
    journal.append(deliveries(0, 30), ONE)
    journal.sync()
    argv = [sys.executable, "-m", "staqraft.cli.staqctl", "--config", str(path), "journal", "tail"]
    last = await asyncio.to_thread(subprocess.check_output, [*argv, "-n", "2"], text=True)
    assert [line.split()[0] for line in last.splitlines()] == ["1:29", "1:30"]

    following = await asyncio.create_subprocess_exec(
        *argv, "-n", "1", "--follow", "--json", "--path", "*/5*.lab",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert following.stdout is not None
    try:
        assert json.loads(await asyncio.wait_for(following.stdout.readline(), PATIENCE_S))[
            "path"
        ] == ("lea/new/5.lab")
        journal.append(deliveries(30, 30), TWO)
        journal.sync()
        seen = [
            json.loads(await asyncio.wait_for(following.stdout.readline(), PATIENCE_S))["position"][
                "seq"
            ]
            for _ in range(10)
        ]
        assert seen == list(range(51, 61))
        journal.reset(Position(TWO, 100))
        assert following.stderr is not None
        said = await asyncio.wait_for(following.stderr.readline(), PATIENCE_S)
        assert b"going on at its end" in said
        journal.append([delivery(50)], TWO)
        journal.sync()
        came = json.loads(await asyncio.wait_for(following.stdout.readline(), PATIENCE_S))
        assert came["position"] == {"epoch": 2, "seq": 101}
    finally:
        following.kill()
        await following.wait()
        journal.close()
