"""What a journal record says, as values, and its bytes (PURE).

A record is state, not an operation: "the object at this path is now like this". Applying a record
twice is harmless, and a standby that finds another earlier state than `before` names can ask for
the whole object. Frames are `length u32 | crc32 u32 | protobuf Record`, little-endian; the CRC is
over length and body, so that a run of zeros is never a valid frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

from staqraft.model import ORIGIN, Position


class ObjectType(IntEnum):
    """What stands at a path; the numbers are those of the wire."""

    FILE = 1
    DIRECTORY = 2
    SYMLINK = 3
    FIFO = 4
    SOCKET = 5
    CHARACTER_DEVICE = 6
    BLOCK_DEVICE = 7


class MailKind(Enum):
    """What a change means to a mail user."""

    DELIVER = "mail.deliver"
    FLAGS = "mail.flags"
    EXPUNGE = "mail.expunge"
    FOLDER = "mail.folder"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """Everything about an object except its content."""

    type: ObjectType
    mode: int  # st_mode & 0o7777
    uid: int
    gid: int
    mtime_ns: int
    size: int = 0  # regular files only
    symlink_target: bytes = b""
    rdev: int = 0
    xattrs: tuple[tuple[bytes, bytes], ...] = ()  # sorted by name; POSIX ACLs are among them


@dataclass(frozen=True, slots=True)
class Inline:
    """The whole content of a regular file."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Delta:
    """Changed pieces (offset, bytes), ascending, against content with digest `base`."""

    base: bytes
    extents: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Staged:
    """Content that earlier `Chunk` records of this stage carried; what they left out are holes."""

    stage: int


@dataclass(frozen=True, slots=True)
class MovedFrom:
    """The object was moved here from this path of the same tree; no content travels."""

    path: bytes


@dataclass(frozen=True, slots=True)
class HardLinkTo:
    """Another name of the file at this path of the same tree."""

    path: bytes


Content = Inline | Delta | Staged | MovedFrom | HardLinkTo


@dataclass(frozen=True, slots=True, kw_only=True)
class Upsert:
    """The object's state after the change. `content` None: only its metadata changed."""

    metadata: Metadata
    digest: bytes = b""  # xxh3_128 of a regular file's content after the change
    content: Content | None = None


@dataclass(frozen=True, slots=True)
class Remove:
    """The object is gone, with everything below it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A piece of a large file, kept aside until an `Upsert` with `Staged` refers to it."""

    stage: int  # seq of the stage's first chunk
    offset: int
    data: bytes


Change = Upsert | Remove | Chunk

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One change of one object. `position` is given by the journal when it is appended."""

    tree: str
    path: bytes  # relative to the tree's root; b"" is the root itself
    change: Change
    position: Position = ORIGIN
    before: bytes = b""  # state digest (index.state_digest) before the change; b"": nothing there
    mail: MailKind | None = None
    wall_ms: int = 0
