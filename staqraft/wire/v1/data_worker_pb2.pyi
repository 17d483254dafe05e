from staqraft.wire.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WorkerRole(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WORKER_ROLE_UNSPECIFIED: _ClassVar[WorkerRole]
    WORKER_ROLE_IDLE: _ClassVar[WorkerRole]
    WORKER_ROLE_ACTIVE: _ClassVar[WorkerRole]
    WORKER_ROLE_STANDBY: _ClassVar[WorkerRole]

class SessionState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SESSION_STATE_UNSPECIFIED: _ClassVar[SessionState]
    SESSION_STATE_IDLE: _ClassVar[SessionState]
    SESSION_STATE_DISCONNECTED: _ClassVar[SessionState]
    SESSION_STATE_RECONCILING: _ClassVar[SessionState]
    SESSION_STATE_CATCHING_UP: _ClassVar[SessionState]
    SESSION_STATE_STREAMING: _ClassVar[SessionState]
WORKER_ROLE_UNSPECIFIED: WorkerRole
WORKER_ROLE_IDLE: WorkerRole
WORKER_ROLE_ACTIVE: WorkerRole
WORKER_ROLE_STANDBY: WorkerRole
SESSION_STATE_UNSPECIFIED: SessionState
SESSION_STATE_IDLE: SessionState
SESSION_STATE_DISCONNECTED: SessionState
SESSION_STATE_RECONCILING: SessionState
SESSION_STATE_CATCHING_UP: SessionState
SESSION_STATE_STREAMING: SessionState

class RoleAssignment(_message.Message):
    __slots__ = ("role", "epoch", "epoch_starts", "active")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    EPOCH_STARTS_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    role: WorkerRole
    epoch: int
    epoch_starts: _containers.RepeatedCompositeFieldContainer[_types_pb2.EpochStart]
    active: str
    def __init__(self, role: _Optional[_Union[WorkerRole, str]] = ..., epoch: _Optional[int] = ..., epoch_starts: _Optional[_Iterable[_Union[_types_pb2.EpochStart, _Mapping]]] = ..., active: _Optional[str] = ...) -> None: ...

class SetTreesRoleRequest(_message.Message):
    __slots__ = ("assignment",)
    ASSIGNMENT_FIELD_NUMBER: _ClassVar[int]
    assignment: RoleAssignment
    def __init__(self, assignment: _Optional[_Union[RoleAssignment, _Mapping]] = ...) -> None: ...

class SetTreesRoleResponse(_message.Message):
    __slots__ = ("last", "needs_new_epoch")
    LAST_FIELD_NUMBER: _ClassVar[int]
    NEEDS_NEW_EPOCH_FIELD_NUMBER: _ClassVar[int]
    last: _types_pb2.Position
    needs_new_epoch: bool
    def __init__(self, last: _Optional[_Union[_types_pb2.Position, _Mapping]] = ..., needs_new_epoch: _Optional[bool] = ...) -> None: ...

class CaptureBarrierRequest(_message.Message):
    __slots__ = ("complete",)
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    complete: bool
    def __init__(self, complete: _Optional[bool] = ...) -> None: ...

class CaptureBarrierResponse(_message.Message):
    __slots__ = ("position",)
    POSITION_FIELD_NUMBER: _ClassVar[int]
    position: _types_pb2.Position
    def __init__(self, position: _Optional[_Union[_types_pb2.Position, _Mapping]] = ...) -> None: ...

class FinishApplyingRequest(_message.Message):
    __slots__ = ("epoch", "accept_data_loss")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ACCEPT_DATA_LOSS_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    accept_data_loss: bool
    def __init__(self, epoch: _Optional[int] = ..., accept_data_loss: _Optional[bool] = ...) -> None: ...

class FinishApplyingResponse(_message.Message):
    __slots__ = ("position",)
    POSITION_FIELD_NUMBER: _ClassVar[int]
    position: _types_pb2.Position
    def __init__(self, position: _Optional[_Union[_types_pb2.Position, _Mapping]] = ...) -> None: ...

class ReconcileRequest(_message.Message):
    __slots__ = ("reason", "active", "epoch", "epoch_starts")
    REASON_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    EPOCH_STARTS_FIELD_NUMBER: _ClassVar[int]
    reason: str
    active: str
    epoch: int
    epoch_starts: _containers.RepeatedCompositeFieldContainer[_types_pb2.EpochStart]
    def __init__(self, reason: _Optional[str] = ..., active: _Optional[str] = ..., epoch: _Optional[int] = ..., epoch_starts: _Optional[_Iterable[_Union[_types_pb2.EpochStart, _Mapping]]] = ...) -> None: ...

class ReconcileResponse(_message.Message):
    __slots__ = ("done", "position", "objects_done", "objects_total", "bytes_done", "quarantined", "phase", "fetched", "to_fetch", "bytes_to_fetch", "bytes_per_s", "left_ms")
    DONE_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_DONE_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    BYTES_DONE_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    FETCHED_FIELD_NUMBER: _ClassVar[int]
    TO_FETCH_FIELD_NUMBER: _ClassVar[int]
    BYTES_TO_FETCH_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_S_FIELD_NUMBER: _ClassVar[int]
    LEFT_MS_FIELD_NUMBER: _ClassVar[int]
    done: bool
    position: _types_pb2.Position
    objects_done: int
    objects_total: int
    bytes_done: int
    quarantined: int
    phase: str
    fetched: int
    to_fetch: int
    bytes_to_fetch: int
    bytes_per_s: int
    left_ms: int
    def __init__(self, done: _Optional[bool] = ..., position: _Optional[_Union[_types_pb2.Position, _Mapping]] = ..., objects_done: _Optional[int] = ..., objects_total: _Optional[int] = ..., bytes_done: _Optional[int] = ..., quarantined: _Optional[int] = ..., phase: _Optional[str] = ..., fetched: _Optional[int] = ..., to_fetch: _Optional[int] = ..., bytes_to_fetch: _Optional[int] = ..., bytes_per_s: _Optional[int] = ..., left_ms: _Optional[int] = ...) -> None: ...

class VerifyTreesRequest(_message.Message):
    __slots__ = ("trees", "deep", "repair")
    TREES_FIELD_NUMBER: _ClassVar[int]
    DEEP_FIELD_NUMBER: _ClassVar[int]
    REPAIR_FIELD_NUMBER: _ClassVar[int]
    trees: _containers.RepeatedScalarFieldContainer[str]
    deep: bool
    repair: bool
    def __init__(self, trees: _Optional[_Iterable[str]] = ..., deep: _Optional[bool] = ..., repair: _Optional[bool] = ...) -> None: ...

class VerifyFinding(_message.Message):
    __slots__ = ("tree", "path", "aspects", "corrupt_on", "repaired")
    TREE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    ASPECTS_FIELD_NUMBER: _ClassVar[int]
    CORRUPT_ON_FIELD_NUMBER: _ClassVar[int]
    REPAIRED_FIELD_NUMBER: _ClassVar[int]
    tree: str
    path: bytes
    aspects: _containers.RepeatedScalarFieldContainer[str]
    corrupt_on: str
    repaired: bool
    def __init__(self, tree: _Optional[str] = ..., path: _Optional[bytes] = ..., aspects: _Optional[_Iterable[str]] = ..., corrupt_on: _Optional[str] = ..., repaired: _Optional[bool] = ...) -> None: ...

class VerifyTreesResponse(_message.Message):
    __slots__ = ("phase", "objects_done", "objects_total", "bytes_done", "bytes_total", "suspects", "finding", "done", "restless", "not_repaired")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_DONE_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    BYTES_DONE_FIELD_NUMBER: _ClassVar[int]
    BYTES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    SUSPECTS_FIELD_NUMBER: _ClassVar[int]
    FINDING_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    RESTLESS_FIELD_NUMBER: _ClassVar[int]
    NOT_REPAIRED_FIELD_NUMBER: _ClassVar[int]
    phase: str
    objects_done: int
    objects_total: int
    bytes_done: int
    bytes_total: int
    suspects: int
    finding: VerifyFinding
    done: bool
    restless: int
    not_repaired: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, phase: _Optional[str] = ..., objects_done: _Optional[int] = ..., objects_total: _Optional[int] = ..., bytes_done: _Optional[int] = ..., bytes_total: _Optional[int] = ..., suspects: _Optional[int] = ..., finding: _Optional[_Union[VerifyFinding, _Mapping]] = ..., done: _Optional[bool] = ..., restless: _Optional[int] = ..., not_repaired: _Optional[_Iterable[str]] = ...) -> None: ...

class PrepareResyncRequest(_message.Message):
    __slots__ = ("reason", "trees", "from_scratch")
    REASON_FIELD_NUMBER: _ClassVar[int]
    TREES_FIELD_NUMBER: _ClassVar[int]
    FROM_SCRATCH_FIELD_NUMBER: _ClassVar[int]
    reason: str
    trees: _containers.RepeatedScalarFieldContainer[str]
    from_scratch: bool
    def __init__(self, reason: _Optional[str] = ..., trees: _Optional[_Iterable[str]] = ..., from_scratch: _Optional[bool] = ...) -> None: ...

class PrepareResyncResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class BelieveRemovalsRequest(_message.Message):
    __slots__ = ("tree",)
    TREE_FIELD_NUMBER: _ClassVar[int]
    tree: str
    def __init__(self, tree: _Optional[str] = ...) -> None: ...

class BelieveRemovalsResponse(_message.Message):
    __slots__ = ("for_ms",)
    FOR_MS_FIELD_NUMBER: _ClassVar[int]
    for_ms: int
    def __init__(self, for_ms: _Optional[int] = ...) -> None: ...

class GetTreesStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class TreeStatus(_message.Message):
    __slots__ = ("tree", "path", "objects", "bytes", "dirty")
    TREE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    DIRTY_FIELD_NUMBER: _ClassVar[int]
    tree: str
    path: str
    objects: int
    bytes: int
    dirty: int
    def __init__(self, tree: _Optional[str] = ..., path: _Optional[str] = ..., objects: _Optional[int] = ..., bytes: _Optional[int] = ..., dirty: _Optional[int] = ...) -> None: ...

class WorkerProblem(_message.Message):
    __slots__ = ("code", "text")
    CODE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    code: str
    text: str
    def __init__(self, code: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class GetTreesStatusResponse(_message.Message):
    __slots__ = ("role", "epoch", "last", "applied", "needs_reconcile", "capture", "trees", "quarantined", "problems", "changes", "healed", "reconcile", "quarantined_bytes", "scrub", "unsettled", "settling")
    class ChangesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    ROLE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    NEEDS_RECONCILE_FIELD_NUMBER: _ClassVar[int]
    CAPTURE_FIELD_NUMBER: _ClassVar[int]
    TREES_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    HEALED_FIELD_NUMBER: _ClassVar[int]
    RECONCILE_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_BYTES_FIELD_NUMBER: _ClassVar[int]
    SCRUB_FIELD_NUMBER: _ClassVar[int]
    UNSETTLED_FIELD_NUMBER: _ClassVar[int]
    SETTLING_FIELD_NUMBER: _ClassVar[int]
    role: WorkerRole
    epoch: int
    last: _types_pb2.Position
    applied: _types_pb2.Position
    needs_reconcile: str
    capture: str
    trees: _containers.RepeatedCompositeFieldContainer[TreeStatus]
    quarantined: int
    problems: _containers.RepeatedCompositeFieldContainer[WorkerProblem]
    changes: _containers.ScalarMap[str, int]
    healed: int
    reconcile: ReconcileResponse
    quarantined_bytes: int
    scrub: ScrubStatus
    unsettled: int
    settling: bool
    def __init__(self, role: _Optional[_Union[WorkerRole, str]] = ..., epoch: _Optional[int] = ..., last: _Optional[_Union[_types_pb2.Position, _Mapping]] = ..., applied: _Optional[_Union[_types_pb2.Position, _Mapping]] = ..., needs_reconcile: _Optional[str] = ..., capture: _Optional[str] = ..., trees: _Optional[_Iterable[_Union[TreeStatus, _Mapping]]] = ..., quarantined: _Optional[int] = ..., problems: _Optional[_Iterable[_Union[WorkerProblem, _Mapping]]] = ..., changes: _Optional[_Mapping[str, int]] = ..., healed: _Optional[int] = ..., reconcile: _Optional[_Union[ReconcileResponse, _Mapping]] = ..., quarantined_bytes: _Optional[int] = ..., scrub: _Optional[_Union[ScrubStatus, _Mapping]] = ..., unsettled: _Optional[int] = ..., settling: _Optional[bool] = ...) -> None: ...

class ScrubStatus(_message.Message):
    __slots__ = ("state", "objects_done", "objects_total", "bytes_done", "bytes_total", "begun_wall_ms", "ended_wall_ms", "found", "healed", "corrupt", "corrupt_lately", "last_finding")
    STATE_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_DONE_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    BYTES_DONE_FIELD_NUMBER: _ClassVar[int]
    BYTES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    BEGUN_WALL_MS_FIELD_NUMBER: _ClassVar[int]
    ENDED_WALL_MS_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    HEALED_FIELD_NUMBER: _ClassVar[int]
    CORRUPT_FIELD_NUMBER: _ClassVar[int]
    CORRUPT_LATELY_FIELD_NUMBER: _ClassVar[int]
    LAST_FINDING_FIELD_NUMBER: _ClassVar[int]
    state: str
    objects_done: int
    objects_total: int
    bytes_done: int
    bytes_total: int
    begun_wall_ms: int
    ended_wall_ms: int
    found: int
    healed: int
    corrupt: int
    corrupt_lately: int
    last_finding: str
    def __init__(self, state: _Optional[str] = ..., objects_done: _Optional[int] = ..., objects_total: _Optional[int] = ..., bytes_done: _Optional[int] = ..., bytes_total: _Optional[int] = ..., begun_wall_ms: _Optional[int] = ..., ended_wall_ms: _Optional[int] = ..., found: _Optional[int] = ..., healed: _Optional[int] = ..., corrupt: _Optional[int] = ..., corrupt_lately: _Optional[int] = ..., last_finding: _Optional[str] = ...) -> None: ...

class ListQuarantineRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class QuarantineEntry(_message.Message):
    __slots__ = ("id", "tree", "path", "reason", "epoch", "wall_ms", "size", "kept_at", "kept_path")
    ID_FIELD_NUMBER: _ClassVar[int]
    TREE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    WALL_MS_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    KEPT_AT_FIELD_NUMBER: _ClassVar[int]
    KEPT_PATH_FIELD_NUMBER: _ClassVar[int]
    id: str
    tree: str
    path: bytes
    reason: str
    epoch: int
    wall_ms: int
    size: int
    kept_at: str
    kept_path: bytes
    def __init__(self, id: _Optional[str] = ..., tree: _Optional[str] = ..., path: _Optional[bytes] = ..., reason: _Optional[str] = ..., epoch: _Optional[int] = ..., wall_ms: _Optional[int] = ..., size: _Optional[int] = ..., kept_at: _Optional[str] = ..., kept_path: _Optional[bytes] = ...) -> None: ...

class ListQuarantineResponse(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[QuarantineEntry]
    def __init__(self, entries: _Optional[_Iterable[_Union[QuarantineEntry, _Mapping]]] = ...) -> None: ...

class RestoreQuarantinedRequest(_message.Message):
    __slots__ = ("ids", "all", "target", "force")
    IDS_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    all: bool
    target: bytes
    force: bool
    def __init__(self, ids: _Optional[_Iterable[str]] = ..., all: _Optional[bool] = ..., target: _Optional[bytes] = ..., force: _Optional[bool] = ...) -> None: ...

class RestoreQuarantinedResponse(_message.Message):
    __slots__ = ("entry", "restored", "text")
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    RESTORED_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    entry: QuarantineEntry
    restored: bool
    text: str
    def __init__(self, entry: _Optional[_Union[QuarantineEntry, _Mapping]] = ..., restored: _Optional[bool] = ..., text: _Optional[str] = ...) -> None: ...

class DropQuarantinedRequest(_message.Message):
    __slots__ = ("ids", "all", "older_than_ms")
    IDS_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    OLDER_THAN_MS_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    all: bool
    older_than_ms: int
    def __init__(self, ids: _Optional[_Iterable[str]] = ..., all: _Optional[bool] = ..., older_than_ms: _Optional[int] = ...) -> None: ...

class DropQuarantinedResponse(_message.Message):
    __slots__ = ("objects", "bytes", "some", "problem")
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    SOME_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    objects: int
    bytes: int
    some: _containers.RepeatedCompositeFieldContainer[QuarantineEntry]
    problem: str
    def __init__(self, objects: _Optional[int] = ..., bytes: _Optional[int] = ..., some: _Optional[_Iterable[_Union[QuarantineEntry, _Mapping]]] = ..., problem: _Optional[str] = ...) -> None: ...

class SetStreamRoleRequest(_message.Message):
    __slots__ = ("assignment",)
    ASSIGNMENT_FIELD_NUMBER: _ClassVar[int]
    assignment: RoleAssignment
    def __init__(self, assignment: _Optional[_Union[RoleAssignment, _Mapping]] = ...) -> None: ...

class SetStreamRoleResponse(_message.Message):
    __slots__ = ("last",)
    LAST_FIELD_NUMBER: _ClassVar[int]
    last: _types_pb2.Position
    def __init__(self, last: _Optional[_Union[_types_pb2.Position, _Mapping]] = ...) -> None: ...

class WaitAcknowledgedRequest(_message.Message):
    __slots__ = ("node", "position")
    NODE_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    node: str
    position: _types_pb2.Position
    def __init__(self, node: _Optional[str] = ..., position: _Optional[_Union[_types_pb2.Position, _Mapping]] = ...) -> None: ...

class WaitAcknowledgedResponse(_message.Message):
    __slots__ = ("durable",)
    DURABLE_FIELD_NUMBER: _ClassVar[int]
    durable: _types_pb2.Position
    def __init__(self, durable: _Optional[_Union[_types_pb2.Position, _Mapping]] = ...) -> None: ...

class GetStreamStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PeerSession(_message.Message):
    __slots__ = ("node", "state", "durable", "applied", "ring", "heard_ms_ago", "problem", "objects_done", "objects_total", "wire_bytes", "raw_bytes", "lag_records", "lag_bytes", "lag_ms", "bytes_done", "bytes_per_s", "left_ms", "settling")
    NODE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    DURABLE_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    RING_FIELD_NUMBER: _ClassVar[int]
    HEARD_MS_AGO_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_DONE_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    WIRE_BYTES_FIELD_NUMBER: _ClassVar[int]
    RAW_BYTES_FIELD_NUMBER: _ClassVar[int]
    LAG_RECORDS_FIELD_NUMBER: _ClassVar[int]
    LAG_BYTES_FIELD_NUMBER: _ClassVar[int]
    LAG_MS_FIELD_NUMBER: _ClassVar[int]
    BYTES_DONE_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_S_FIELD_NUMBER: _ClassVar[int]
    LEFT_MS_FIELD_NUMBER: _ClassVar[int]
    SETTLING_FIELD_NUMBER: _ClassVar[int]
    node: str
    state: SessionState
    durable: _types_pb2.Position
    applied: _types_pb2.Position
    ring: str
    heard_ms_ago: int
    problem: str
    objects_done: int
    objects_total: int
    wire_bytes: int
    raw_bytes: int
    lag_records: int
    lag_bytes: int
    lag_ms: int
    bytes_done: int
    bytes_per_s: int
    left_ms: int
    settling: bool
    def __init__(self, node: _Optional[str] = ..., state: _Optional[_Union[SessionState, str]] = ..., durable: _Optional[_Union[_types_pb2.Position, _Mapping]] = ..., applied: _Optional[_Union[_types_pb2.Position, _Mapping]] = ..., ring: _Optional[str] = ..., heard_ms_ago: _Optional[int] = ..., problem: _Optional[str] = ..., objects_done: _Optional[int] = ..., objects_total: _Optional[int] = ..., wire_bytes: _Optional[int] = ..., raw_bytes: _Optional[int] = ..., lag_records: _Optional[int] = ..., lag_bytes: _Optional[int] = ..., lag_ms: _Optional[int] = ..., bytes_done: _Optional[int] = ..., bytes_per_s: _Optional[int] = ..., left_ms: _Optional[int] = ..., settling: _Optional[bool] = ...) -> None: ...

class GetStreamStatusResponse(_message.Message):
    __slots__ = ("role", "epoch", "first", "last", "peers", "problems", "journal_bytes", "journal_segments", "journal_free_bytes")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    role: WorkerRole
    epoch: int
    first: _types_pb2.Position
    last: _types_pb2.Position
    peers: _containers.RepeatedCompositeFieldContainer[PeerSession]
    problems: _containers.RepeatedCompositeFieldContainer[WorkerProblem]
    journal_bytes: int
    journal_segments: int
    journal_free_bytes: int
    def __init__(self, role: _Optional[_Union[WorkerRole, str]] = ..., epoch: _Optional[int] = ..., first: _Optional[_Union[_types_pb2.Position, _Mapping]] = ..., last: _Optional[_Union[_types_pb2.Position, _Mapping]] = ..., peers: _Optional[_Iterable[_Union[PeerSession, _Mapping]]] = ..., problems: _Optional[_Iterable[_Union[WorkerProblem, _Mapping]]] = ..., journal_bytes: _Optional[int] = ..., journal_segments: _Optional[int] = ..., journal_free_bytes: _Optional[int] = ...) -> None: ...
