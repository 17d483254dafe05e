"""`staqctl journal tail`: what the journal on this host tells, read beside its writer.

It is read from the disk and not asked of the daemon: the control process never touches a data
disk, and the journal is wanted most when something does not run.
"""

from __future__ import annotations

import asyncio
import base64
import fnmatch
import json
import os
import sys
import time
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path

from staqraft.cli.connection import configuration
from staqraft.cli.rendering import duration_text, path_text, safe, size_text
from staqraft.config.schema import Config
from staqraft.errors import ConfigError, JournalError
from staqraft.journal.cursor import Cursor
from staqraft.journal.record import (
    Chunk,
    Delta,
    HardLinkTo,
    Inline,
    Metadata,
    MovedFrom,
    ObjectType,
    Record,
    Remove,
    Staged,
    Upsert,
)
from staqraft.journal.tail import Parted, Wanted, behind, newest
from staqraft.model import GroupId

LAST = 20  # records, unless told
_LOOK_S = 0.2
_MAIL = "mail."


async def tail(options: Namespace) -> int:
    """The newest records; with --follow those that come, until interrupted."""
    config = configuration(options)
    group = one_group(config, options.group)
    directory = config.group_dir(group) / "journal"
    _may_read(directory, group)
    wanted = _wanted(config, group, options.tree, options.path)
    found, end = newest(directory, options.count, wanted)
    if not found and not options.follow and not options.json:
        what = "no such record" if end.seq else "no record yet"
        print(f"There is {what} in the journal of group {group} on {config.node}.")
    _show(found, options)
    while options.follow:
        with Cursor(directory, end) as cursor:
            try:
                while True:
                    for records in behind(cursor):
                        _show(filter(wanted, records), options)
                    await asyncio.sleep(_LOOK_S)
            except Parted as parted:
                end = newest(directory, 0)[1]  # before it is said: what comes from then on is shown
                print(f"staqctl: {parted}; going on at its end", file=sys.stderr, flush=True)
    return 0


def one_group(config: Config, name: str) -> GroupId:
    """The group that is meant. ConfigError says which there are."""
    groups = sorted(config.groups)
    if name and GroupId(name) in config.groups:
        return GroupId(name)
    if not name and len(groups) == 1:
        return groups[0]
    known = ", ".join(groups)
    if name:
        raise ConfigError([f"there is no group {name!r}: it is one of {known}"])
    raise ConfigError([f"there are several groups, so name one with --group: {known}"])


def _may_read(directory: Path, group: GroupId) -> None:
    try:
        os.scandir(directory).close()
    except FileNotFoundError as error:
        raise JournalError(
            f"there is no journal of group {group} on this host ({directory} is missing): a witness"
            " has none, and a replica makes it when staqraftd starts"
        ) from error
    except OSError as error:
        raise JournalError(
            f"{directory} cannot be read ({error.strerror}): are you root?"
        ) from error


def _wanted(config: Config, group: GroupId, tree: str, pattern: str) -> Wanted:
    trees = [known.name for known in config.groups[group].trees]
    if tree and tree not in trees:
        raise ConfigError([f"group {group} has no tree {tree!r}: it is one of {', '.join(trees)}"])
    if pattern.startswith("/"):
        raise ConfigError([_relative(config, group, pattern)])
    glob = os.fsencode(pattern)

    def wanted(record: Record) -> bool:
        if tree and record.tree != tree:
            return False
        return not glob or any(fnmatch.fnmatchcase(path, glob) for path in _paths(record))

    return wanted


def _relative(config: Config, group: GroupId, pattern: str) -> str:
    """What to write instead of an absolute path."""
    for tree in config.groups[group].trees:
        if Path(pattern).is_relative_to(tree.path) and Path(pattern) != tree.path:
            instead = f"--tree {tree.name} --path '{Path(pattern).relative_to(tree.path)}'"
            return f"--path is counted from the root of a tree: write {instead}"
    return (
        f"--path {pattern} is in no tree of group {group}: it is counted from the root of a tree,"
        " for instance 'shop/*.php'"
    )


def _paths(record: Record) -> list[bytes]:
    """All paths that a record is about: who looks for a file wants to see where it went."""
    content = record.change.content if isinstance(record.change, Upsert) else None
    other = [content.path] if isinstance(content, MovedFrom | HardLinkTo) else []
    return [record.path, *other]


def _show(records: Iterable[Record], options: Namespace) -> None:
    now_ms = time.time_ns() // 1_000_000
    text = to_json if options.json else to_line
    lines = [text(record, now_ms) for record in records]
    if lines:
        print("\n".join(lines), flush=True)


# --- what a record says -------------------------------------------------------------------------


def kind_of(record: Record) -> str:
    """What happened, in a word."""
    if record.mail is not None:
        return record.mail.value.removeprefix(_MAIL)
    match record.change:
        case Remove():
            return "remove"
        case Chunk():
            return "piece"
        case Upsert(content=MovedFrom()):
            return "move"
        case Upsert(content=HardLinkTo()):
            return "link"
        case Upsert():
            return "upsert"


def size_of(record: Record) -> int | None:
    """Bytes of the file after the change; None where there is none."""
    change = record.change
    if isinstance(change, Upsert) and change.metadata.type is ObjectType.FILE:
        return change.metadata.size
    return None


def travels(record: Record) -> tuple[str, int, bytes]:
    """How the content travels: a word, how many bytes of it, and another path if one matters."""
    match record.change:
        case Remove():
            return "none", 0, b""
        case Chunk(data=data):
            return "piece", len(data), b""
        case Upsert(content=Inline(data=data)):
            return "whole", len(data), b""
        case Upsert(content=Delta(extents=extents)):
            return "changed", sum(len(data) for _, data in extents), b""
        case Upsert(content=Staged()):
            return "pieces-before", 0, b""
        case Upsert(content=MovedFrom(path=path)):
            return "moved", 0, path
        case Upsert(content=HardLinkTo(path=path)):
            return "link", 0, path
        case Upsert():
            return "none", 0, b""


def _travels_text(record: Record) -> str:
    how, size, other = travels(record)
    match how, record.change:
        case "whole", _:
            text = "whole"
        case "changed", Upsert(content=Delta(extents=extents)):
            places = "1 place" if len(extents) == 1 else f"{len(extents)} places"
            text = f"{size_text(size)} changed in {places}"
        case "pieces-before", _:
            text = "in the pieces before"
        case "piece", Chunk(offset=offset):
            text = f"{size_text(size)} at {size_text(offset)}"
        case "moved", _:
            text = f"from {path_text(other)}"
        case "link", _:
            text = f"same file as {path_text(other)}"
        case _, Upsert(metadata=metadata):
            text = _without_content(metadata)
        case _:
            text = ""
    return text


def _without_content(metadata: Metadata) -> str:
    if metadata.type is ObjectType.SYMLINK:
        return f"to {path_text(metadata.symlink_target)}"
    if metadata.type is ObjectType.FILE:
        return "metadata only"
    return metadata.type.name.lower().replace("_", " ")


def to_line(record: Record, now_ms: int) -> str:
    """For people: position, age, kind, tree and path, size, how the content travels."""
    age = duration_text(max(0, now_ms - record.wall_ms)) if record.wall_ms else "?"
    size = size_of(record)
    details = [_travels_text(record)] if size is None else [size_text(size), _travels_text(record)]
    where = f"{safe(record.tree)}:{path_text(record.path) or '(its root)'}"
    text = ", ".join(detail for detail in details if detail)
    return f"{record.position!s:<12} {age:>8} ago  {kind_of(record):<8} {where}" + (
        f"  ({text})" if text else ""
    )


def to_json(record: Record, now_ms: int) -> str:
    """For programs. Paths twice: readable, and exactly (base64 of the bytes on disk)."""
    how, size, other = travels(record)
    content: dict[str, object] = {
        "position": {"epoch": record.position.epoch, "seq": record.position.seq},
        "kind": kind_of(record),
        "mail": record.mail is not None,
        "tree": record.tree,
        "path": path_text(record.path),
        "path_base64": base64.b64encode(record.path).decode(),
        "type": _type(record),
        "size": size_of(record),
        "content": how,
        "content_bytes": size,
        "wall_ms": record.wall_ms,
        "age_ms": max(0, now_ms - record.wall_ms) if record.wall_ms else None,
    }
    if other:
        content["other_path"] = path_text(other)
        content["other_path_base64"] = base64.b64encode(other).decode()
    return json.dumps(content)


def _type(record: Record) -> str | None:
    change = record.change
    return change.metadata.type.name.lower() if isinstance(change, Upsert) else None
