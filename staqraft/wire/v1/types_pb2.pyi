from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ObjectType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OBJECT_TYPE_UNSPECIFIED: _ClassVar[ObjectType]
    OBJECT_TYPE_FILE: _ClassVar[ObjectType]
    OBJECT_TYPE_DIRECTORY: _ClassVar[ObjectType]
    OBJECT_TYPE_SYMLINK: _ClassVar[ObjectType]
    OBJECT_TYPE_FIFO: _ClassVar[ObjectType]
    OBJECT_TYPE_SOCKET: _ClassVar[ObjectType]
    OBJECT_TYPE_CHARACTER_DEVICE: _ClassVar[ObjectType]
    OBJECT_TYPE_BLOCK_DEVICE: _ClassVar[ObjectType]

class MailKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MAIL_KIND_UNSPECIFIED: _ClassVar[MailKind]
    MAIL_KIND_DELIVER: _ClassVar[MailKind]
    MAIL_KIND_FLAGS: _ClassVar[MailKind]
    MAIL_KIND_EXPUNGE: _ClassVar[MailKind]
    MAIL_KIND_FOLDER: _ClassVar[MailKind]
OBJECT_TYPE_UNSPECIFIED: ObjectType
OBJECT_TYPE_FILE: ObjectType
OBJECT_TYPE_DIRECTORY: ObjectType
OBJECT_TYPE_SYMLINK: ObjectType
OBJECT_TYPE_FIFO: ObjectType
OBJECT_TYPE_SOCKET: ObjectType
OBJECT_TYPE_CHARACTER_DEVICE: ObjectType
OBJECT_TYPE_BLOCK_DEVICE: ObjectType
MAIL_KIND_UNSPECIFIED: MailKind
MAIL_KIND_DELIVER: MailKind
MAIL_KIND_FLAGS: MailKind
MAIL_KIND_EXPUNGE: MailKind
MAIL_KIND_FOLDER: MailKind

class Position(_message.Message):
    __slots__ = ("epoch", "seq")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    seq: int
    def __init__(self, epoch: _Optional[int] = ..., seq: _Optional[int] = ...) -> None: ...

class EpochStart(_message.Message):
    __slots__ = ("epoch", "seq")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    seq: int
    def __init__(self, epoch: _Optional[int] = ..., seq: _Optional[int] = ...) -> None: ...

class Xattr(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: bytes
    value: bytes
    def __init__(self, name: _Optional[bytes] = ..., value: _Optional[bytes] = ...) -> None: ...

class Metadata(_message.Message):
    __slots__ = ("type", "mode", "uid", "gid", "mtime_ns", "size", "symlink_target", "rdev", "xattrs", "mtime_more_s")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    GID_FIELD_NUMBER: _ClassVar[int]
    MTIME_NS_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SYMLINK_TARGET_FIELD_NUMBER: _ClassVar[int]
    RDEV_FIELD_NUMBER: _ClassVar[int]
    XATTRS_FIELD_NUMBER: _ClassVar[int]
    MTIME_MORE_S_FIELD_NUMBER: _ClassVar[int]
    type: ObjectType
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    size: int
    symlink_target: bytes
    rdev: int
    xattrs: _containers.RepeatedCompositeFieldContainer[Xattr]
    mtime_more_s: int
    def __init__(self, type: _Optional[_Union[ObjectType, str]] = ..., mode: _Optional[int] = ..., uid: _Optional[int] = ..., gid: _Optional[int] = ..., mtime_ns: _Optional[int] = ..., size: _Optional[int] = ..., symlink_target: _Optional[bytes] = ..., rdev: _Optional[int] = ..., xattrs: _Optional[_Iterable[_Union[Xattr, _Mapping]]] = ..., mtime_more_s: _Optional[int] = ...) -> None: ...

class Extent(_message.Message):
    __slots__ = ("offset", "data")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    offset: int
    data: bytes
    def __init__(self, offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class Delta(_message.Message):
    __slots__ = ("base_digest", "extents")
    BASE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    EXTENTS_FIELD_NUMBER: _ClassVar[int]
    base_digest: bytes
    extents: _containers.RepeatedCompositeFieldContainer[Extent]
    def __init__(self, base_digest: _Optional[bytes] = ..., extents: _Optional[_Iterable[_Union[Extent, _Mapping]]] = ...) -> None: ...

class Staged(_message.Message):
    __slots__ = ("stage",)
    STAGE_FIELD_NUMBER: _ClassVar[int]
    stage: int
    def __init__(self, stage: _Optional[int] = ...) -> None: ...

class Upsert(_message.Message):
    __slots__ = ("metadata", "digest", "inline", "delta", "staged", "moved_from", "hard_link_to")
    METADATA_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    INLINE_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    STAGED_FIELD_NUMBER: _ClassVar[int]
    MOVED_FROM_FIELD_NUMBER: _ClassVar[int]
    HARD_LINK_TO_FIELD_NUMBER: _ClassVar[int]
    metadata: Metadata
    digest: bytes
    inline: bytes
    delta: Delta
    staged: Staged
    moved_from: bytes
    hard_link_to: bytes
    def __init__(self, metadata: _Optional[_Union[Metadata, _Mapping]] = ..., digest: _Optional[bytes] = ..., inline: _Optional[bytes] = ..., delta: _Optional[_Union[Delta, _Mapping]] = ..., staged: _Optional[_Union[Staged, _Mapping]] = ..., moved_from: _Optional[bytes] = ..., hard_link_to: _Optional[bytes] = ...) -> None: ...

class Remove(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("stage", "offset", "data")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    stage: int
    offset: int
    data: bytes
    def __init__(self, stage: _Optional[int] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class Record(_message.Message):
    __slots__ = ("position", "tree", "path", "before", "mail", "wall_ms", "upsert", "remove", "chunk")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    TREE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    MAIL_FIELD_NUMBER: _ClassVar[int]
    WALL_MS_FIELD_NUMBER: _ClassVar[int]
    UPSERT_FIELD_NUMBER: _ClassVar[int]
    REMOVE_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    position: Position
    tree: str
    path: bytes
    before: bytes
    mail: MailKind
    wall_ms: int
    upsert: Upsert
    remove: Remove
    chunk: Chunk
    def __init__(self, position: _Optional[_Union[Position, _Mapping]] = ..., tree: _Optional[str] = ..., path: _Optional[bytes] = ..., before: _Optional[bytes] = ..., mail: _Optional[_Union[MailKind, str]] = ..., wall_ms: _Optional[int] = ..., upsert: _Optional[_Union[Upsert, _Mapping]] = ..., remove: _Optional[_Union[Remove, _Mapping]] = ..., chunk: _Optional[_Union[Chunk, _Mapping]] = ...) -> None: ...
