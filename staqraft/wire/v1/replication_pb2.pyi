from staqraft.wire.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Codec(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CODEC_UNSPECIFIED: _ClassVar[Codec]
    CODEC_NONE: _ClassVar[Codec]
    CODEC_LZ4: _ClassVar[Codec]

class RefusalKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REFUSAL_KIND_UNSPECIFIED: _ClassVar[RefusalKind]
    REFUSAL_KIND_STALE_EPOCH: _ClassVar[RefusalKind]
    REFUSAL_KIND_IDENTITY: _ClassVar[RefusalKind]
    REFUSAL_KIND_JOURNAL_FULL: _ClassVar[RefusalKind]
    REFUSAL_KIND_BAD_FRAME: _ClassVar[RefusalKind]
    REFUSAL_KIND_NOT_STANDBY: _ClassVar[RefusalKind]
CODEC_UNSPECIFIED: Codec
CODEC_NONE: Codec
CODEC_LZ4: Codec
REFUSAL_KIND_UNSPECIFIED: RefusalKind
REFUSAL_KIND_STALE_EPOCH: RefusalKind
REFUSAL_KIND_IDENTITY: RefusalKind
REFUSAL_KIND_JOURNAL_FULL: RefusalKind
REFUSAL_KIND_BAD_FRAME: RefusalKind
REFUSAL_KIND_NOT_STANDBY: RefusalKind

class Hello(_message.Message):
    __slots__ = ("cluster", "group", "node", "epoch", "epoch_starts", "first", "last", "version")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    EPOCH_STARTS_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    group: str
    node: str
    epoch: int
    epoch_starts: _containers.RepeatedCompositeFieldContainer[_types_pb2.EpochStart]
    first: _types_pb2.Position
    last: _types_pb2.Position
    version: str
    def __init__(self, cluster: _Optional[str] = ..., group: _Optional[str] = ..., node: _Optional[str] = ..., epoch: _Optional[int] = ..., epoch_starts: _Optional[_Iterable[_Union[_types_pb2.EpochStart, _Mapping]]] = ..., first: _Optional[_Union[_types_pb2.Position, _Mapping]] = ..., last: _Optional[_Union[_types_pb2.Position, _Mapping]] = ..., version: _Optional[str] = ...) -> None: ...

class Batch(_message.Message):
    __slots__ = ("first", "last", "records", "codec", "raw_bytes", "frames")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    RAW_BYTES_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    first: _types_pb2.Position
    last: _types_pb2.Position
    records: int
    codec: Codec
    raw_bytes: int
    frames: bytes
    def __init__(self, first: _Optional[_Union[_types_pb2.Position, _Mapping]] = ..., last: _Optional[_Union[_types_pb2.Position, _Mapping]] = ..., records: _Optional[int] = ..., codec: _Optional[_Union[Codec, str]] = ..., raw_bytes: _Optional[int] = ..., frames: _Optional[bytes] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("epoch", "last")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    last: _types_pb2.Position
    def __init__(self, epoch: _Optional[int] = ..., last: _Optional[_Union[_types_pb2.Position, _Mapping]] = ...) -> None: ...

class Finish(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class ReplicateRequest(_message.Message):
    __slots__ = ("hello", "batch", "heartbeat", "finish")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    FINISH_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    batch: Batch
    heartbeat: Heartbeat
    finish: Finish
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., batch: _Optional[_Union[Batch, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., finish: _Optional[_Union[Finish, _Mapping]] = ...) -> None: ...

class Resume(_message.Message):
    __slots__ = ("after", "settling")
    AFTER_FIELD_NUMBER: _ClassVar[int]
    SETTLING_FIELD_NUMBER: _ClassVar[int]
    after: _types_pb2.Position
    settling: bool
    def __init__(self, after: _Optional[_Union[_types_pb2.Position, _Mapping]] = ..., settling: _Optional[bool] = ...) -> None: ...

class Reconciling(_message.Message):
    __slots__ = ("reason", "objects_done", "objects_total", "bytes_done", "bytes_per_s", "left_ms")
    REASON_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_DONE_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    BYTES_DONE_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_S_FIELD_NUMBER: _ClassVar[int]
    LEFT_MS_FIELD_NUMBER: _ClassVar[int]
    reason: str
    objects_done: int
    objects_total: int
    bytes_done: int
    bytes_per_s: int
    left_ms: int
    def __init__(self, reason: _Optional[str] = ..., objects_done: _Optional[int] = ..., objects_total: _Optional[int] = ..., bytes_done: _Optional[int] = ..., bytes_per_s: _Optional[int] = ..., left_ms: _Optional[int] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("durable", "applied", "settling")
    DURABLE_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    SETTLING_FIELD_NUMBER: _ClassVar[int]
    durable: _types_pb2.Position
    applied: _types_pb2.Position
    settling: bool
    def __init__(self, durable: _Optional[_Union[_types_pb2.Position, _Mapping]] = ..., applied: _Optional[_Union[_types_pb2.Position, _Mapping]] = ..., settling: _Optional[bool] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("kind", "reason")
    KIND_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    kind: RefusalKind
    reason: str
    def __init__(self, kind: _Optional[_Union[RefusalKind, str]] = ..., reason: _Optional[str] = ...) -> None: ...

class ReplicateResponse(_message.Message):
    __slots__ = ("resume", "reconciling", "ack", "refusal")
    RESUME_FIELD_NUMBER: _ClassVar[int]
    RECONCILING_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    resume: Resume
    reconciling: Reconciling
    ack: Ack
    refusal: Refusal
    def __init__(self, resume: _Optional[_Union[Resume, _Mapping]] = ..., reconciling: _Optional[_Union[Reconciling, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., refusal: _Optional[_Union[Refusal, _Mapping]] = ...) -> None: ...

class BeginReconcileRequest(_message.Message):
    __slots__ = ("cluster", "group", "epoch", "barrier_only")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    BARRIER_ONLY_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    group: str
    epoch: int
    barrier_only: bool
    def __init__(self, cluster: _Optional[str] = ..., group: _Optional[str] = ..., epoch: _Optional[int] = ..., barrier_only: _Optional[bool] = ...) -> None: ...

class TreeRoot(_message.Message):
    __slots__ = ("tree", "digest", "objects", "bytes")
    TREE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    tree: str
    digest: bytes
    objects: int
    bytes: int
    def __init__(self, tree: _Optional[str] = ..., digest: _Optional[bytes] = ..., objects: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class BeginReconcileResponse(_message.Message):
    __slots__ = ("position", "trees")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    TREES_FIELD_NUMBER: _ClassVar[int]
    position: _types_pb2.Position
    trees: _containers.RepeatedCompositeFieldContainer[TreeRoot]
    def __init__(self, position: _Optional[_Union[_types_pb2.Position, _Mapping]] = ..., trees: _Optional[_Iterable[_Union[TreeRoot, _Mapping]]] = ...) -> None: ...

class ListDirectoriesRequest(_message.Message):
    __slots__ = ("cluster", "group", "tree", "paths")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    TREE_FIELD_NUMBER: _ClassVar[int]
    PATHS_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    group: str
    tree: str
    paths: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, cluster: _Optional[str] = ..., group: _Optional[str] = ..., tree: _Optional[str] = ..., paths: _Optional[_Iterable[bytes]] = ...) -> None: ...

class DirectoryEntry(_message.Message):
    __slots__ = ("name", "type", "state", "subtree", "size")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SUBTREE_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    name: bytes
    type: _types_pb2.ObjectType
    state: bytes
    subtree: bytes
    size: int
    def __init__(self, name: _Optional[bytes] = ..., type: _Optional[_Union[_types_pb2.ObjectType, str]] = ..., state: _Optional[bytes] = ..., subtree: _Optional[bytes] = ..., size: _Optional[int] = ...) -> None: ...

class ListDirectoriesResponse(_message.Message):
    __slots__ = ("path", "missing", "entries", "complete")
    PATH_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    path: bytes
    missing: bool
    entries: _containers.RepeatedCompositeFieldContainer[DirectoryEntry]
    complete: bool
    def __init__(self, path: _Optional[bytes] = ..., missing: _Optional[bool] = ..., entries: _Optional[_Iterable[_Union[DirectoryEntry, _Mapping]]] = ..., complete: _Optional[bool] = ...) -> None: ...

class FetchObjectsRequest(_message.Message):
    __slots__ = ("cluster", "group", "tree", "paths", "have")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    TREE_FIELD_NUMBER: _ClassVar[int]
    PATHS_FIELD_NUMBER: _ClassVar[int]
    HAVE_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    group: str
    tree: str
    paths: _containers.RepeatedScalarFieldContainer[bytes]
    have: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, cluster: _Optional[str] = ..., group: _Optional[str] = ..., tree: _Optional[str] = ..., paths: _Optional[_Iterable[bytes]] = ..., have: _Optional[_Iterable[bytes]] = ...) -> None: ...

class FetchObjectsResponse(_message.Message):
    __slots__ = ("codec", "raw_bytes", "frames")
    CODEC_FIELD_NUMBER: _ClassVar[int]
    RAW_BYTES_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    codec: Codec
    raw_bytes: int
    frames: bytes
    def __init__(self, codec: _Optional[_Union[Codec, str]] = ..., raw_bytes: _Optional[int] = ..., frames: _Optional[bytes] = ...) -> None: ...

class DescribeObjectsRequest(_message.Message):
    __slots__ = ("cluster", "group", "tree", "paths", "children", "deep")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    TREE_FIELD_NUMBER: _ClassVar[int]
    PATHS_FIELD_NUMBER: _ClassVar[int]
    CHILDREN_FIELD_NUMBER: _ClassVar[int]
    DEEP_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    group: str
    tree: str
    paths: _containers.RepeatedScalarFieldContainer[bytes]
    children: bool
    deep: bool
    def __init__(self, cluster: _Optional[str] = ..., group: _Optional[str] = ..., tree: _Optional[str] = ..., paths: _Optional[_Iterable[bytes]] = ..., children: _Optional[bool] = ..., deep: _Optional[bool] = ...) -> None: ...

class ObjectState(_message.Message):
    __slots__ = ("path", "metadata", "digest", "names", "corrupt", "restless")
    PATH_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    CORRUPT_FIELD_NUMBER: _ClassVar[int]
    RESTLESS_FIELD_NUMBER: _ClassVar[int]
    path: bytes
    metadata: _types_pb2.Metadata
    digest: bytes
    names: int
    corrupt: bool
    restless: bool
    def __init__(self, path: _Optional[bytes] = ..., metadata: _Optional[_Union[_types_pb2.Metadata, _Mapping]] = ..., digest: _Optional[bytes] = ..., names: _Optional[int] = ..., corrupt: _Optional[bool] = ..., restless: _Optional[bool] = ...) -> None: ...

class DescribeObjectsResponse(_message.Message):
    __slots__ = ("states",)
    STATES_FIELD_NUMBER: _ClassVar[int]
    states: _containers.RepeatedCompositeFieldContainer[ObjectState]
    def __init__(self, states: _Optional[_Iterable[_Union[ObjectState, _Mapping]]] = ...) -> None: ...
