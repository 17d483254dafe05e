from staqraft.wire.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FenceRung(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FENCE_RUNG_UNSPECIFIED: _ClassVar[FenceRung]
    FENCE_RUNG_RELEASED: _ClassVar[FenceRung]
    FENCE_RUNG_CONFIRMED: _ClassVar[FenceRung]
    FENCE_RUNG_DEVICE: _ClassVar[FenceRung]
    FENCE_RUNG_LEASE: _ClassVar[FenceRung]
    FENCE_RUNG_OPERATOR: _ClassVar[FenceRung]
FENCE_RUNG_UNSPECIFIED: FenceRung
FENCE_RUNG_RELEASED: FenceRung
FENCE_RUNG_CONFIRMED: FenceRung
FENCE_RUNG_DEVICE: FenceRung
FENCE_RUNG_LEASE: FenceRung
FENCE_RUNG_OPERATOR: FenceRung

class ExchangeRequest(_message.Message):
    __slots__ = ("envelopes",)
    ENVELOPES_FIELD_NUMBER: _ClassVar[int]
    envelopes: _containers.RepeatedCompositeFieldContainer[Envelope]
    def __init__(self, envelopes: _Optional[_Iterable[_Union[Envelope, _Mapping]]] = ...) -> None: ...

class ExchangeResponse(_message.Message):
    __slots__ = ("envelopes",)
    ENVELOPES_FIELD_NUMBER: _ClassVar[int]
    envelopes: _containers.RepeatedCompositeFieldContainer[Envelope]
    def __init__(self, envelopes: _Optional[_Iterable[_Union[Envelope, _Mapping]]] = ...) -> None: ...

class SessionOpen(_message.Message):
    __slots__ = ("cluster", "node", "session", "format", "version", "generation", "generation_members", "generation_founder", "generation_lineage", "patience_ms", "bundles")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    GENERATION_MEMBERS_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FOUNDER_FIELD_NUMBER: _ClassVar[int]
    GENERATION_LINEAGE_FIELD_NUMBER: _ClassVar[int]
    PATIENCE_MS_FIELD_NUMBER: _ClassVar[int]
    BUNDLES_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    node: str
    session: bytes
    format: int
    version: str
    generation: int
    generation_members: _containers.RepeatedScalarFieldContainer[str]
    generation_founder: str
    generation_lineage: _containers.RepeatedCompositeFieldContainer[GenerationBefore]
    patience_ms: int
    bundles: bool
    def __init__(self, cluster: _Optional[str] = ..., node: _Optional[str] = ..., session: _Optional[bytes] = ..., format: _Optional[int] = ..., version: _Optional[str] = ..., generation: _Optional[int] = ..., generation_members: _Optional[_Iterable[str]] = ..., generation_founder: _Optional[str] = ..., generation_lineage: _Optional[_Iterable[_Union[GenerationBefore, _Mapping]]] = ..., patience_ms: _Optional[int] = ..., bundles: _Optional[bool] = ...) -> None: ...

class GenerationBefore(_message.Message):
    __slots__ = ("number", "founder")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    FOUNDER_FIELD_NUMBER: _ClassVar[int]
    number: int
    founder: str
    def __init__(self, number: _Optional[int] = ..., founder: _Optional[str] = ...) -> None: ...

class SessionHeartbeat(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RequestVote(_message.Message):
    __slots__ = ("term", "last_log_index", "last_log_term", "transfer")
    TERM_FIELD_NUMBER: _ClassVar[int]
    LAST_LOG_INDEX_FIELD_NUMBER: _ClassVar[int]
    LAST_LOG_TERM_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_FIELD_NUMBER: _ClassVar[int]
    term: int
    last_log_index: int
    last_log_term: int
    transfer: bool
    def __init__(self, term: _Optional[int] = ..., last_log_index: _Optional[int] = ..., last_log_term: _Optional[int] = ..., transfer: _Optional[bool] = ...) -> None: ...

class ResponseVote(_message.Message):
    __slots__ = ("term",)
    TERM_FIELD_NUMBER: _ClassVar[int]
    term: int
    def __init__(self, term: _Optional[int] = ...) -> None: ...

class PreVoteRequest(_message.Message):
    __slots__ = ("term", "last_log_index", "last_log_term")
    TERM_FIELD_NUMBER: _ClassVar[int]
    LAST_LOG_INDEX_FIELD_NUMBER: _ClassVar[int]
    LAST_LOG_TERM_FIELD_NUMBER: _ClassVar[int]
    term: int
    last_log_index: int
    last_log_term: int
    def __init__(self, term: _Optional[int] = ..., last_log_index: _Optional[int] = ..., last_log_term: _Optional[int] = ...) -> None: ...

class PreVoteGranted(_message.Message):
    __slots__ = ("term",)
    TERM_FIELD_NUMBER: _ClassVar[int]
    term: int
    def __init__(self, term: _Optional[int] = ...) -> None: ...

class TermNotice(_message.Message):
    __slots__ = ("term",)
    TERM_FIELD_NUMBER: _ClassVar[int]
    term: int
    def __init__(self, term: _Optional[int] = ...) -> None: ...

class TimeoutNow(_message.Message):
    __slots__ = ("term",)
    TERM_FIELD_NUMBER: _ClassVar[int]
    term: int
    def __init__(self, term: _Optional[int] = ...) -> None: ...

class LogEntry(_message.Message):
    __slots__ = ("index", "term", "command")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    index: int
    term: int
    command: bytes
    def __init__(self, index: _Optional[int] = ..., term: _Optional[int] = ..., command: _Optional[bytes] = ...) -> None: ...

class LogEntries(_message.Message):
    __slots__ = ("previous_index", "previous_term", "entries")
    PREVIOUS_INDEX_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_TERM_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    previous_index: int
    previous_term: int
    entries: _containers.RepeatedCompositeFieldContainer[LogEntry]
    def __init__(self, previous_index: _Optional[int] = ..., previous_term: _Optional[int] = ..., entries: _Optional[_Iterable[_Union[LogEntry, _Mapping]]] = ...) -> None: ...

class SnapshotChunk(_message.Message):
    __slots__ = ("data", "first", "last")
    DATA_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    first: bool
    last: bool
    def __init__(self, data: _Optional[bytes] = ..., first: _Optional[bool] = ..., last: _Optional[bool] = ...) -> None: ...

class AppendEntries(_message.Message):
    __slots__ = ("term", "commit_index", "entries", "snapshot")
    TERM_FIELD_NUMBER: _ClassVar[int]
    COMMIT_INDEX_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    term: int
    commit_index: int
    entries: LogEntries
    snapshot: SnapshotChunk
    def __init__(self, term: _Optional[int] = ..., commit_index: _Optional[int] = ..., entries: _Optional[_Union[LogEntries, _Mapping]] = ..., snapshot: _Optional[_Union[SnapshotChunk, _Mapping]] = ...) -> None: ...

class NextNodeIndex(_message.Message):
    __slots__ = ("next_node_index", "reset", "success", "term")
    NEXT_NODE_INDEX_FIELD_NUMBER: _ClassVar[int]
    RESET_FIELD_NUMBER: _ClassVar[int]
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    next_node_index: int
    reset: bool
    success: bool
    term: int
    def __init__(self, next_node_index: _Optional[int] = ..., reset: _Optional[bool] = ..., success: _Optional[bool] = ..., term: _Optional[int] = ...) -> None: ...

class ApplyCommand(_message.Message):
    __slots__ = ("command", "request_id")
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    command: bytes
    request_id: int
    def __init__(self, command: _Optional[bytes] = ..., request_id: _Optional[int] = ...) -> None: ...

class ApplyCommandResponse(_message.Message):
    __slots__ = ("request_id", "error", "log_index", "log_term")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    LOG_INDEX_FIELD_NUMBER: _ClassVar[int]
    LOG_TERM_FIELD_NUMBER: _ClassVar[int]
    request_id: int
    error: int
    log_index: int
    log_term: int
    def __init__(self, request_id: _Optional[int] = ..., error: _Optional[int] = ..., log_index: _Optional[int] = ..., log_term: _Optional[int] = ...) -> None: ...

class Envelope(_message.Message):
    __slots__ = ("session_open", "session_heartbeat", "request_vote", "response_vote", "pre_vote_request", "pre_vote_granted", "term_notice", "timeout_now", "append_entries", "next_node_index", "apply_command", "apply_command_response")
    SESSION_OPEN_FIELD_NUMBER: _ClassVar[int]
    SESSION_HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_VOTE_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_VOTE_FIELD_NUMBER: _ClassVar[int]
    PRE_VOTE_REQUEST_FIELD_NUMBER: _ClassVar[int]
    PRE_VOTE_GRANTED_FIELD_NUMBER: _ClassVar[int]
    TERM_NOTICE_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_NOW_FIELD_NUMBER: _ClassVar[int]
    APPEND_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_NODE_INDEX_FIELD_NUMBER: _ClassVar[int]
    APPLY_COMMAND_FIELD_NUMBER: _ClassVar[int]
    APPLY_COMMAND_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    session_open: SessionOpen
    session_heartbeat: SessionHeartbeat
    request_vote: RequestVote
    response_vote: ResponseVote
    pre_vote_request: PreVoteRequest
    pre_vote_granted: PreVoteGranted
    term_notice: TermNotice
    timeout_now: TimeoutNow
    append_entries: AppendEntries
    next_node_index: NextNodeIndex
    apply_command: ApplyCommand
    apply_command_response: ApplyCommandResponse
    def __init__(self, session_open: _Optional[_Union[SessionOpen, _Mapping]] = ..., session_heartbeat: _Optional[_Union[SessionHeartbeat, _Mapping]] = ..., request_vote: _Optional[_Union[RequestVote, _Mapping]] = ..., response_vote: _Optional[_Union[ResponseVote, _Mapping]] = ..., pre_vote_request: _Optional[_Union[PreVoteRequest, _Mapping]] = ..., pre_vote_granted: _Optional[_Union[PreVoteGranted, _Mapping]] = ..., term_notice: _Optional[_Union[TermNotice, _Mapping]] = ..., timeout_now: _Optional[_Union[TimeoutNow, _Mapping]] = ..., append_entries: _Optional[_Union[AppendEntries, _Mapping]] = ..., next_node_index: _Optional[_Union[NextNodeIndex, _Mapping]] = ..., apply_command: _Optional[_Union[ApplyCommand, _Mapping]] = ..., apply_command_response: _Optional[_Union[ApplyCommandResponse, _Mapping]] = ...) -> None: ...

class Renew(_message.Message):
    __slots__ = ("group", "epoch", "renewal", "position")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    RENEWAL_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    group: str
    epoch: int
    renewal: int
    position: _types_pb2.Position
    def __init__(self, group: _Optional[str] = ..., epoch: _Optional[int] = ..., renewal: _Optional[int] = ..., position: _Optional[_Union[_types_pb2.Position, _Mapping]] = ...) -> None: ...

class Acquire(_message.Message):
    __slots__ = ("group", "base_epoch", "base_renewal", "reason")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    BASE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    BASE_RENEWAL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    group: str
    base_epoch: int
    base_renewal: int
    reason: str
    def __init__(self, group: _Optional[str] = ..., base_epoch: _Optional[int] = ..., base_renewal: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class OpenEpoch(_message.Message):
    __slots__ = ("group", "epoch", "start_seq")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    START_SEQ_FIELD_NUMBER: _ClassVar[int]
    group: str
    epoch: int
    start_seq: int
    def __init__(self, group: _Optional[str] = ..., epoch: _Optional[int] = ..., start_seq: _Optional[int] = ...) -> None: ...

class Release(_message.Message):
    __slots__ = ("group", "epoch", "position", "reason")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    group: str
    epoch: int
    position: _types_pb2.Position
    reason: str
    def __init__(self, group: _Optional[str] = ..., epoch: _Optional[int] = ..., position: _Optional[_Union[_types_pb2.Position, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class SetInSync(_message.Message):
    __slots__ = ("group", "epoch", "expected", "members", "reason", "expected_index")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_INDEX_FIELD_NUMBER: _ClassVar[int]
    group: str
    epoch: int
    expected: _containers.RepeatedScalarFieldContainer[str]
    members: _containers.RepeatedScalarFieldContainer[str]
    reason: str
    expected_index: int
    def __init__(self, group: _Optional[str] = ..., epoch: _Optional[int] = ..., expected: _Optional[_Iterable[str]] = ..., members: _Optional[_Iterable[str]] = ..., reason: _Optional[str] = ..., expected_index: _Optional[int] = ...) -> None: ...

class Fenced(_message.Message):
    __slots__ = ("group", "epoch", "loser", "rung", "detail")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LOSER_FIELD_NUMBER: _ClassVar[int]
    RUNG_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    group: str
    epoch: int
    loser: str
    rung: FenceRung
    detail: str
    def __init__(self, group: _Optional[str] = ..., epoch: _Optional[int] = ..., loser: _Optional[str] = ..., rung: _Optional[_Union[FenceRung, str]] = ..., detail: _Optional[str] = ...) -> None: ...

class RequestSwitchover(_message.Message):
    __slots__ = ("group", "target", "requested_by", "reason", "schedule", "failback", "service")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    FAILBACK_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    group: str
    target: str
    requested_by: str
    reason: str
    schedule: int
    failback: bool
    service: str
    def __init__(self, group: _Optional[str] = ..., target: _Optional[str] = ..., requested_by: _Optional[str] = ..., reason: _Optional[str] = ..., schedule: _Optional[int] = ..., failback: _Optional[bool] = ..., service: _Optional[str] = ...) -> None: ...

class ClearFailures(_message.Message):
    __slots__ = ("group", "up_to", "requested_by")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    UP_TO_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    group: str
    up_to: int
    requested_by: str
    def __init__(self, group: _Optional[str] = ..., up_to: _Optional[int] = ..., requested_by: _Optional[str] = ...) -> None: ...

class ScheduleSwitchover(_message.Message):
    __slots__ = ("group", "target", "at_ms", "requested_by", "reason")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    group: str
    target: str
    at_ms: int
    requested_by: str
    reason: str
    def __init__(self, group: _Optional[str] = ..., target: _Optional[str] = ..., at_ms: _Optional[int] = ..., requested_by: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class DropSchedule(_message.Message):
    __slots__ = ("group", "schedule", "missed", "reason")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    MISSED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    group: str
    schedule: int
    missed: bool
    reason: str
    def __init__(self, group: _Optional[str] = ..., schedule: _Optional[int] = ..., missed: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...

class SettleFailback(_message.Message):
    __slots__ = ("group", "epoch")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    group: str
    epoch: int
    def __init__(self, group: _Optional[str] = ..., epoch: _Optional[int] = ...) -> None: ...

class CancelSwitchover(_message.Message):
    __slots__ = ("group", "reason")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    group: str
    reason: str
    def __init__(self, group: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class SetMaintenance(_message.Message):
    __slots__ = ("group", "enabled", "requested_by", "target", "reason")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    group: str
    enabled: bool
    requested_by: str
    target: str
    reason: str
    def __init__(self, group: _Optional[str] = ..., enabled: _Optional[bool] = ..., requested_by: _Optional[str] = ..., target: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class Rest(_message.Message):
    __slots__ = ("group", "epoch", "renewal", "rest_ms", "ends")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    RENEWAL_FIELD_NUMBER: _ClassVar[int]
    REST_MS_FIELD_NUMBER: _ClassVar[int]
    ENDS_FIELD_NUMBER: _ClassVar[int]
    group: str
    epoch: int
    renewal: int
    rest_ms: int
    ends: int
    def __init__(self, group: _Optional[str] = ..., epoch: _Optional[int] = ..., renewal: _Optional[int] = ..., rest_ms: _Optional[int] = ..., ends: _Optional[int] = ...) -> None: ...

class Farewell(_message.Message):
    __slots__ = ("group", "gone")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    GONE_FIELD_NUMBER: _ClassVar[int]
    group: str
    gone: bool
    def __init__(self, group: _Optional[str] = ..., gone: _Optional[bool] = ...) -> None: ...

class ForceActive(_message.Message):
    __slots__ = ("group", "base_epoch", "base_renewal", "target", "requested_by", "reason")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    BASE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    BASE_RENEWAL_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    group: str
    base_epoch: int
    base_renewal: int
    target: str
    requested_by: str
    reason: str
    def __init__(self, group: _Optional[str] = ..., base_epoch: _Optional[int] = ..., base_renewal: _Optional[int] = ..., target: _Optional[str] = ..., requested_by: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class NoteEvent(_message.Message):
    __slots__ = ("group", "kind", "text", "epoch", "position")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    group: str
    kind: str
    text: str
    epoch: int
    position: _types_pb2.Position
    def __init__(self, group: _Optional[str] = ..., kind: _Optional[str] = ..., text: _Optional[str] = ..., epoch: _Optional[int] = ..., position: _Optional[_Union[_types_pb2.Position, _Mapping]] = ...) -> None: ...

class Announce(_message.Message):
    __slots__ = ("version", "config_fingerprint", "format")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    version: str
    config_fingerprint: str
    format: int
    def __init__(self, version: _Optional[str] = ..., config_fingerprint: _Optional[str] = ..., format: _Optional[int] = ...) -> None: ...

class ReadBarrier(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Proposal(_message.Message):
    __slots__ = ("format", "id", "node", "wall_ms", "renew", "acquire", "open_epoch", "release", "set_in_sync", "fenced", "request_switchover", "cancel_switchover", "set_maintenance", "force_active", "note_event", "announce", "read_barrier", "rest", "farewell", "schedule_switchover", "drop_schedule", "settle_failback", "clear_failures")
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    WALL_MS_FIELD_NUMBER: _ClassVar[int]
    RENEW_FIELD_NUMBER: _ClassVar[int]
    ACQUIRE_FIELD_NUMBER: _ClassVar[int]
    OPEN_EPOCH_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    SET_IN_SYNC_FIELD_NUMBER: _ClassVar[int]
    FENCED_FIELD_NUMBER: _ClassVar[int]
    REQUEST_SWITCHOVER_FIELD_NUMBER: _ClassVar[int]
    CANCEL_SWITCHOVER_FIELD_NUMBER: _ClassVar[int]
    SET_MAINTENANCE_FIELD_NUMBER: _ClassVar[int]
    FORCE_ACTIVE_FIELD_NUMBER: _ClassVar[int]
    NOTE_EVENT_FIELD_NUMBER: _ClassVar[int]
    ANNOUNCE_FIELD_NUMBER: _ClassVar[int]
    READ_BARRIER_FIELD_NUMBER: _ClassVar[int]
    REST_FIELD_NUMBER: _ClassVar[int]
    FAREWELL_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_SWITCHOVER_FIELD_NUMBER: _ClassVar[int]
    DROP_SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    SETTLE_FAILBACK_FIELD_NUMBER: _ClassVar[int]
    CLEAR_FAILURES_FIELD_NUMBER: _ClassVar[int]
    format: int
    id: bytes
    node: str
    wall_ms: int
    renew: Renew
    acquire: Acquire
    open_epoch: OpenEpoch
    release: Release
    set_in_sync: SetInSync
    fenced: Fenced
    request_switchover: RequestSwitchover
    cancel_switchover: CancelSwitchover
    set_maintenance: SetMaintenance
    force_active: ForceActive
    note_event: NoteEvent
    announce: Announce
    read_barrier: ReadBarrier
    rest: Rest
    farewell: Farewell
    schedule_switchover: ScheduleSwitchover
    drop_schedule: DropSchedule
    settle_failback: SettleFailback
    clear_failures: ClearFailures
    def __init__(self, format: _Optional[int] = ..., id: _Optional[bytes] = ..., node: _Optional[str] = ..., wall_ms: _Optional[int] = ..., renew: _Optional[_Union[Renew, _Mapping]] = ..., acquire: _Optional[_Union[Acquire, _Mapping]] = ..., open_epoch: _Optional[_Union[OpenEpoch, _Mapping]] = ..., release: _Optional[_Union[Release, _Mapping]] = ..., set_in_sync: _Optional[_Union[SetInSync, _Mapping]] = ..., fenced: _Optional[_Union[Fenced, _Mapping]] = ..., request_switchover: _Optional[_Union[RequestSwitchover, _Mapping]] = ..., cancel_switchover: _Optional[_Union[CancelSwitchover, _Mapping]] = ..., set_maintenance: _Optional[_Union[SetMaintenance, _Mapping]] = ..., force_active: _Optional[_Union[ForceActive, _Mapping]] = ..., note_event: _Optional[_Union[NoteEvent, _Mapping]] = ..., announce: _Optional[_Union[Announce, _Mapping]] = ..., read_barrier: _Optional[_Union[ReadBarrier, _Mapping]] = ..., rest: _Optional[_Union[Rest, _Mapping]] = ..., farewell: _Optional[_Union[Farewell, _Mapping]] = ..., schedule_switchover: _Optional[_Union[ScheduleSwitchover, _Mapping]] = ..., drop_schedule: _Optional[_Union[DropSchedule, _Mapping]] = ..., settle_failback: _Optional[_Union[SettleFailback, _Mapping]] = ..., clear_failures: _Optional[_Union[ClearFailures, _Mapping]] = ...) -> None: ...

class FenceState(_message.Message):
    __slots__ = ("epoch", "loser", "rung", "log_index")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LOSER_FIELD_NUMBER: _ClassVar[int]
    RUNG_FIELD_NUMBER: _ClassVar[int]
    LOG_INDEX_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    loser: str
    rung: FenceRung
    log_index: int
    def __init__(self, epoch: _Optional[int] = ..., loser: _Optional[str] = ..., rung: _Optional[_Union[FenceRung, str]] = ..., log_index: _Optional[int] = ...) -> None: ...

class SwitchoverState(_message.Message):
    __slots__ = ("target", "requested_by", "reason", "log_index", "forced", "failback", "schedule", "service")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    LOG_INDEX_FIELD_NUMBER: _ClassVar[int]
    FORCED_FIELD_NUMBER: _ClassVar[int]
    FAILBACK_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    target: str
    requested_by: str
    reason: str
    log_index: int
    forced: bool
    failback: bool
    schedule: int
    service: str
    def __init__(self, target: _Optional[str] = ..., requested_by: _Optional[str] = ..., reason: _Optional[str] = ..., log_index: _Optional[int] = ..., forced: _Optional[bool] = ..., failback: _Optional[bool] = ..., schedule: _Optional[int] = ..., service: _Optional[str] = ...) -> None: ...

class ScheduledState(_message.Message):
    __slots__ = ("target", "at_ms", "requested_by", "reason", "log_index")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    LOG_INDEX_FIELD_NUMBER: _ClassVar[int]
    target: str
    at_ms: int
    requested_by: str
    reason: str
    log_index: int
    def __init__(self, target: _Optional[str] = ..., at_ms: _Optional[int] = ..., requested_by: _Optional[str] = ..., reason: _Optional[str] = ..., log_index: _Optional[int] = ...) -> None: ...

class GroupState(_message.Message):
    __slots__ = ("group", "epoch", "active", "renewal", "released", "in_sync", "position", "epoch_starts", "fence", "switchover", "maintenance", "in_sync_index", "resting_ms", "away", "resting_index", "scheduled", "chosen", "failbacks", "moves", "cleared_index")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    RENEWAL_FIELD_NUMBER: _ClassVar[int]
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    IN_SYNC_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_STARTS_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    SWITCHOVER_FIELD_NUMBER: _ClassVar[int]
    MAINTENANCE_FIELD_NUMBER: _ClassVar[int]
    IN_SYNC_INDEX_FIELD_NUMBER: _ClassVar[int]
    RESTING_MS_FIELD_NUMBER: _ClassVar[int]
    AWAY_FIELD_NUMBER: _ClassVar[int]
    RESTING_INDEX_FIELD_NUMBER: _ClassVar[int]
    SCHEDULED_FIELD_NUMBER: _ClassVar[int]
    CHOSEN_FIELD_NUMBER: _ClassVar[int]
    FAILBACKS_FIELD_NUMBER: _ClassVar[int]
    MOVES_FIELD_NUMBER: _ClassVar[int]
    CLEARED_INDEX_FIELD_NUMBER: _ClassVar[int]
    group: str
    epoch: int
    active: str
    renewal: int
    released: bool
    in_sync: _containers.RepeatedScalarFieldContainer[str]
    position: _types_pb2.Position
    epoch_starts: _containers.RepeatedCompositeFieldContainer[_types_pb2.EpochStart]
    fence: FenceState
    switchover: SwitchoverState
    maintenance: _containers.RepeatedCompositeFieldContainer[MaintenanceState]
    in_sync_index: int
    resting_ms: int
    away: _containers.RepeatedScalarFieldContainer[str]
    resting_index: int
    scheduled: ScheduledState
    chosen: str
    failbacks: int
    moves: _containers.RepeatedScalarFieldContainer[int]
    cleared_index: int
    def __init__(self, group: _Optional[str] = ..., epoch: _Optional[int] = ..., active: _Optional[str] = ..., renewal: _Optional[int] = ..., released: _Optional[bool] = ..., in_sync: _Optional[_Iterable[str]] = ..., position: _Optional[_Union[_types_pb2.Position, _Mapping]] = ..., epoch_starts: _Optional[_Iterable[_Union[_types_pb2.EpochStart, _Mapping]]] = ..., fence: _Optional[_Union[FenceState, _Mapping]] = ..., switchover: _Optional[_Union[SwitchoverState, _Mapping]] = ..., maintenance: _Optional[_Iterable[_Union[MaintenanceState, _Mapping]]] = ..., in_sync_index: _Optional[int] = ..., resting_ms: _Optional[int] = ..., away: _Optional[_Iterable[str]] = ..., resting_index: _Optional[int] = ..., scheduled: _Optional[_Union[ScheduledState, _Mapping]] = ..., chosen: _Optional[str] = ..., failbacks: _Optional[int] = ..., moves: _Optional[_Iterable[int]] = ..., cleared_index: _Optional[int] = ...) -> None: ...

class MaintenanceState(_message.Message):
    __slots__ = ("node", "requested_by", "reason", "since_ms", "log_index")
    NODE_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    LOG_INDEX_FIELD_NUMBER: _ClassVar[int]
    node: str
    requested_by: str
    reason: str
    since_ms: int
    log_index: int
    def __init__(self, node: _Optional[str] = ..., requested_by: _Optional[str] = ..., reason: _Optional[str] = ..., since_ms: _Optional[int] = ..., log_index: _Optional[int] = ...) -> None: ...

class MemberState(_message.Message):
    __slots__ = ("node", "version", "config_fingerprint", "log_index", "format")
    NODE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    LOG_INDEX_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    node: str
    version: str
    config_fingerprint: str
    log_index: int
    format: int
    def __init__(self, node: _Optional[str] = ..., version: _Optional[str] = ..., config_fingerprint: _Optional[str] = ..., log_index: _Optional[int] = ..., format: _Optional[int] = ...) -> None: ...

class EventState(_message.Message):
    __slots__ = ("index", "wall_ms", "group", "node", "kind", "text", "epoch", "position")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    WALL_MS_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    index: int
    wall_ms: int
    group: str
    node: str
    kind: str
    text: str
    epoch: int
    position: _types_pb2.Position
    def __init__(self, index: _Optional[int] = ..., wall_ms: _Optional[int] = ..., group: _Optional[str] = ..., node: _Optional[str] = ..., kind: _Optional[str] = ..., text: _Optional[str] = ..., epoch: _Optional[int] = ..., position: _Optional[_Union[_types_pb2.Position, _Mapping]] = ...) -> None: ...

class ClusterState(_message.Message):
    __slots__ = ("groups", "members", "events", "log_index")
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    LOG_INDEX_FIELD_NUMBER: _ClassVar[int]
    groups: _containers.RepeatedCompositeFieldContainer[GroupState]
    members: _containers.RepeatedCompositeFieldContainer[MemberState]
    events: _containers.RepeatedCompositeFieldContainer[EventState]
    log_index: int
    def __init__(self, groups: _Optional[_Iterable[_Union[GroupState, _Mapping]]] = ..., members: _Optional[_Iterable[_Union[MemberState, _Mapping]]] = ..., events: _Optional[_Iterable[_Union[EventState, _Mapping]]] = ..., log_index: _Optional[int] = ...) -> None: ...

class Snapshot(_message.Message):
    __slots__ = ("format", "cluster", "last", "previous", "state")
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    format: int
    cluster: str
    last: LogEntry
    previous: LogEntry
    state: ClusterState
    def __init__(self, format: _Optional[int] = ..., cluster: _Optional[str] = ..., last: _Optional[_Union[LogEntry, _Mapping]] = ..., previous: _Optional[_Union[LogEntry, _Mapping]] = ..., state: _Optional[_Union[ClusterState, _Mapping]] = ...) -> None: ...

class LogTransaction(_message.Message):
    __slots__ = ("cluster", "node", "term", "vote", "commit_index", "generation", "replace_from", "entries", "last_index")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    VOTE_FIELD_NUMBER: _ClassVar[int]
    COMMIT_INDEX_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    REPLACE_FROM_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    LAST_INDEX_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    node: str
    term: int
    vote: str
    commit_index: int
    generation: str
    replace_from: int
    entries: _containers.RepeatedCompositeFieldContainer[LogEntry]
    last_index: int
    def __init__(self, cluster: _Optional[str] = ..., node: _Optional[str] = ..., term: _Optional[int] = ..., vote: _Optional[str] = ..., commit_index: _Optional[int] = ..., generation: _Optional[str] = ..., replace_from: _Optional[int] = ..., entries: _Optional[_Iterable[_Union[LogEntry, _Mapping]]] = ..., last_index: _Optional[int] = ...) -> None: ...
