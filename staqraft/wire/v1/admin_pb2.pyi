from staqraft.wire.v1 import data_worker_pb2 as _data_worker_pb2
from staqraft.wire.v1 import health_pb2 as _health_pb2
from staqraft.wire.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FenceAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FENCE_ACTION_UNSPECIFIED: _ClassVar[FenceAction]
    FENCE_ACTION_OFF: _ClassVar[FenceAction]
    FENCE_ACTION_ON: _ClassVar[FenceAction]
    FENCE_ACTION_CONFIRM_OFF: _ClassVar[FenceAction]
FENCE_ACTION_UNSPECIFIED: FenceAction
FENCE_ACTION_OFF: FenceAction
FENCE_ACTION_ON: FenceAction
FENCE_ACTION_CONFIRM_OFF: FenceAction

class ListClustersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ClusterStatus(_message.Message):
    __slots__ = ("cluster", "source", "served", "reachable", "raft", "problems")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    SERVED_FIELD_NUMBER: _ClassVar[int]
    REACHABLE_FIELD_NUMBER: _ClassVar[int]
    RAFT_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    source: str
    served: bool
    reachable: _containers.RepeatedScalarFieldContainer[str]
    raft: RaftStatus
    problems: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, cluster: _Optional[str] = ..., source: _Optional[str] = ..., served: _Optional[bool] = ..., reachable: _Optional[_Iterable[str]] = ..., raft: _Optional[_Union[RaftStatus, _Mapping]] = ..., problems: _Optional[_Iterable[str]] = ...) -> None: ...

class ListClustersResponse(_message.Message):
    __slots__ = ("clusters", "problems")
    CLUSTERS_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    clusters: _containers.RepeatedCompositeFieldContainer[ClusterStatus]
    problems: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, clusters: _Optional[_Iterable[_Union[ClusterStatus, _Mapping]]] = ..., problems: _Optional[_Iterable[str]] = ...) -> None: ...

class TestNotificationsRequest(_message.Message):
    __slots__ = ("requested_by",)
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    requested_by: str
    def __init__(self, requested_by: _Optional[str] = ...) -> None: ...

class Notified(_message.Message):
    __slots__ = ("receiver", "problem")
    RECEIVER_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    receiver: str
    problem: str
    def __init__(self, receiver: _Optional[str] = ..., problem: _Optional[str] = ...) -> None: ...

class TestNotificationsResponse(_message.Message):
    __slots__ = ("receivers",)
    RECEIVERS_FIELD_NUMBER: _ClassVar[int]
    receivers: _containers.RepeatedCompositeFieldContainer[Notified]
    def __init__(self, receivers: _Optional[_Iterable[_Union[Notified, _Mapping]]] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class NodeStatus(_message.Message):
    __slots__ = ("node", "role", "reachable", "version", "config_differs")
    NODE_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    REACHABLE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CONFIG_DIFFERS_FIELD_NUMBER: _ClassVar[int]
    node: str
    role: str
    reachable: bool
    version: str
    config_differs: bool
    def __init__(self, node: _Optional[str] = ..., role: _Optional[str] = ..., reachable: _Optional[bool] = ..., version: _Optional[str] = ..., config_differs: _Optional[bool] = ...) -> None: ...

class RaftStatus(_message.Message):
    __slots__ = ("leader", "term", "commit_index", "applied_index", "has_quorum", "late_ticks", "problem")
    LEADER_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    COMMIT_INDEX_FIELD_NUMBER: _ClassVar[int]
    APPLIED_INDEX_FIELD_NUMBER: _ClassVar[int]
    HAS_QUORUM_FIELD_NUMBER: _ClassVar[int]
    LATE_TICKS_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    leader: str
    term: int
    commit_index: int
    applied_index: int
    has_quorum: bool
    late_ticks: int
    problem: str
    def __init__(self, leader: _Optional[str] = ..., term: _Optional[int] = ..., commit_index: _Optional[int] = ..., applied_index: _Optional[int] = ..., has_quorum: _Optional[bool] = ..., late_ticks: _Optional[int] = ..., problem: _Optional[str] = ...) -> None: ...

class ServiceStatus(_message.Message):
    __slots__ = ("name", "state", "detail", "last_failure", "restarts_used", "restarts_most")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    LAST_FAILURE_FIELD_NUMBER: _ClassVar[int]
    RESTARTS_USED_FIELD_NUMBER: _ClassVar[int]
    RESTARTS_MOST_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: str
    detail: str
    last_failure: str
    restarts_used: int
    restarts_most: int
    def __init__(self, name: _Optional[str] = ..., state: _Optional[str] = ..., detail: _Optional[str] = ..., last_failure: _Optional[str] = ..., restarts_used: _Optional[int] = ..., restarts_most: _Optional[int] = ...) -> None: ...

class VipStatus(_message.Message):
    __slots__ = ("address", "interface", "held")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    INTERFACE_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    address: str
    interface: str
    held: bool
    def __init__(self, address: _Optional[str] = ..., interface: _Optional[str] = ..., held: _Optional[bool] = ...) -> None: ...

class GroupStatus(_message.Message):
    __slots__ = ("group", "epoch", "active", "phase", "in_sync", "lease_left_ms", "summary", "not_eligible", "switchover_target", "maintenance", "vips", "services", "trees", "stream", "problems", "last_fence", "gate", "maintained", "resting_ms", "away", "scheduled", "failback", "takeovers", "service_moves", "service_moves_most", "lease_over_ms")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    IN_SYNC_FIELD_NUMBER: _ClassVar[int]
    LEASE_LEFT_MS_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    NOT_ELIGIBLE_FIELD_NUMBER: _ClassVar[int]
    SWITCHOVER_TARGET_FIELD_NUMBER: _ClassVar[int]
    MAINTENANCE_FIELD_NUMBER: _ClassVar[int]
    VIPS_FIELD_NUMBER: _ClassVar[int]
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    TREES_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    LAST_FENCE_FIELD_NUMBER: _ClassVar[int]
    GATE_FIELD_NUMBER: _ClassVar[int]
    MAINTAINED_FIELD_NUMBER: _ClassVar[int]
    RESTING_MS_FIELD_NUMBER: _ClassVar[int]
    AWAY_FIELD_NUMBER: _ClassVar[int]
    SCHEDULED_FIELD_NUMBER: _ClassVar[int]
    FAILBACK_FIELD_NUMBER: _ClassVar[int]
    TAKEOVERS_FIELD_NUMBER: _ClassVar[int]
    SERVICE_MOVES_FIELD_NUMBER: _ClassVar[int]
    SERVICE_MOVES_MOST_FIELD_NUMBER: _ClassVar[int]
    LEASE_OVER_MS_FIELD_NUMBER: _ClassVar[int]
    group: str
    epoch: int
    active: str
    phase: str
    in_sync: _containers.RepeatedScalarFieldContainer[str]
    lease_left_ms: int
    summary: str
    not_eligible: _containers.RepeatedScalarFieldContainer[str]
    switchover_target: str
    maintenance: bool
    vips: _containers.RepeatedCompositeFieldContainer[VipStatus]
    services: _containers.RepeatedCompositeFieldContainer[ServiceStatus]
    trees: _data_worker_pb2.GetTreesStatusResponse
    stream: _data_worker_pb2.GetStreamStatusResponse
    problems: _containers.RepeatedCompositeFieldContainer[_data_worker_pb2.WorkerProblem]
    last_fence: str
    gate: str
    maintained: _containers.RepeatedCompositeFieldContainer[MaintenanceStatus]
    resting_ms: int
    away: _containers.RepeatedScalarFieldContainer[str]
    scheduled: ScheduledSwitchover
    failback: str
    takeovers: _containers.RepeatedCompositeFieldContainer[TakeoverStatus]
    service_moves: int
    service_moves_most: int
    lease_over_ms: int
    def __init__(self, group: _Optional[str] = ..., epoch: _Optional[int] = ..., active: _Optional[str] = ..., phase: _Optional[str] = ..., in_sync: _Optional[_Iterable[str]] = ..., lease_left_ms: _Optional[int] = ..., summary: _Optional[str] = ..., not_eligible: _Optional[_Iterable[str]] = ..., switchover_target: _Optional[str] = ..., maintenance: _Optional[bool] = ..., vips: _Optional[_Iterable[_Union[VipStatus, _Mapping]]] = ..., services: _Optional[_Iterable[_Union[ServiceStatus, _Mapping]]] = ..., trees: _Optional[_Union[_data_worker_pb2.GetTreesStatusResponse, _Mapping]] = ..., stream: _Optional[_Union[_data_worker_pb2.GetStreamStatusResponse, _Mapping]] = ..., problems: _Optional[_Iterable[_Union[_data_worker_pb2.WorkerProblem, _Mapping]]] = ..., last_fence: _Optional[str] = ..., gate: _Optional[str] = ..., maintained: _Optional[_Iterable[_Union[MaintenanceStatus, _Mapping]]] = ..., resting_ms: _Optional[int] = ..., away: _Optional[_Iterable[str]] = ..., scheduled: _Optional[_Union[ScheduledSwitchover, _Mapping]] = ..., failback: _Optional[str] = ..., takeovers: _Optional[_Iterable[_Union[TakeoverStatus, _Mapping]]] = ..., service_moves: _Optional[int] = ..., service_moves_most: _Optional[int] = ..., lease_over_ms: _Optional[int] = ...) -> None: ...

class ScheduledSwitchover(_message.Message):
    __slots__ = ("target", "at_ms", "requested_by", "reason")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    target: str
    at_ms: int
    requested_by: str
    reason: str
    def __init__(self, target: _Optional[str] = ..., at_ms: _Optional[int] = ..., requested_by: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class MaintenanceStatus(_message.Message):
    __slots__ = ("node", "requested_by", "reason", "lasts_ms", "long")
    NODE_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    LASTS_MS_FIELD_NUMBER: _ClassVar[int]
    LONG_FIELD_NUMBER: _ClassVar[int]
    node: str
    requested_by: str
    reason: str
    lasts_ms: int
    long: bool
    def __init__(self, node: _Optional[str] = ..., requested_by: _Optional[str] = ..., reason: _Optional[str] = ..., lasts_ms: _Optional[int] = ..., long: _Optional[bool] = ...) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("cluster", "node", "version", "nodes", "raft", "groups", "problems", "findings", "links")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    RAFT_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    LINKS_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    node: str
    version: str
    nodes: _containers.RepeatedCompositeFieldContainer[NodeStatus]
    raft: RaftStatus
    groups: _containers.RepeatedCompositeFieldContainer[GroupStatus]
    problems: _containers.RepeatedCompositeFieldContainer[_data_worker_pb2.WorkerProblem]
    findings: _containers.RepeatedCompositeFieldContainer[_health_pb2.Finding]
    links: _containers.RepeatedCompositeFieldContainer[LinkStatus]
    def __init__(self, cluster: _Optional[str] = ..., node: _Optional[str] = ..., version: _Optional[str] = ..., nodes: _Optional[_Iterable[_Union[NodeStatus, _Mapping]]] = ..., raft: _Optional[_Union[RaftStatus, _Mapping]] = ..., groups: _Optional[_Iterable[_Union[GroupStatus, _Mapping]]] = ..., problems: _Optional[_Iterable[_Union[_data_worker_pb2.WorkerProblem, _Mapping]]] = ..., findings: _Optional[_Iterable[_Union[_health_pb2.Finding, _Mapping]]] = ..., links: _Optional[_Iterable[_Union[LinkStatus, _Mapping]]] = ...) -> None: ...

class TakeoverStatus(_message.Message):
    __slots__ = ("node", "active", "known", "refusals", "heard_ms")
    NODE_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    HEARD_MS_FIELD_NUMBER: _ClassVar[int]
    node: str
    active: bool
    known: bool
    refusals: _containers.RepeatedCompositeFieldContainer[_health_pb2.TakeoverRefusal]
    heard_ms: int
    def __init__(self, node: _Optional[str] = ..., active: _Optional[bool] = ..., known: _Optional[bool] = ..., refusals: _Optional[_Iterable[_Union[_health_pb2.TakeoverRefusal, _Mapping]]] = ..., heard_ms: _Optional[int] = ...) -> None: ...

class LinkStatus(_message.Message):
    __slots__ = ("peer", "ring", "address", "peer_address", "way", "round_trip_us")
    PEER_FIELD_NUMBER: _ClassVar[int]
    RING_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PEER_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    WAY_FIELD_NUMBER: _ClassVar[int]
    ROUND_TRIP_US_FIELD_NUMBER: _ClassVar[int]
    peer: str
    ring: str
    address: str
    peer_address: str
    way: str
    round_trip_us: int
    def __init__(self, peer: _Optional[str] = ..., ring: _Optional[str] = ..., address: _Optional[str] = ..., peer_address: _Optional[str] = ..., way: _Optional[str] = ..., round_trip_us: _Optional[int] = ...) -> None: ...

class BarrierRequest(_message.Message):
    __slots__ = ("group", "timeout_ms", "min_replicas", "anywhere")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    MIN_REPLICAS_FIELD_NUMBER: _ClassVar[int]
    ANYWHERE_FIELD_NUMBER: _ClassVar[int]
    group: str
    timeout_ms: int
    min_replicas: int
    anywhere: bool
    def __init__(self, group: _Optional[str] = ..., timeout_ms: _Optional[int] = ..., min_replicas: _Optional[int] = ..., anywhere: _Optional[bool] = ...) -> None: ...

class BarrierResponse(_message.Message):
    __slots__ = ("position", "replicas", "degraded", "elapsed_us")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_US_FIELD_NUMBER: _ClassVar[int]
    position: _types_pb2.Position
    replicas: _containers.RepeatedScalarFieldContainer[str]
    degraded: bool
    elapsed_us: int
    def __init__(self, position: _Optional[_Union[_types_pb2.Position, _Mapping]] = ..., replicas: _Optional[_Iterable[str]] = ..., degraded: _Optional[bool] = ..., elapsed_us: _Optional[int] = ...) -> None: ...

class SwitchOverRequest(_message.Message):
    __slots__ = ("group", "target", "reason", "timeout_ms", "requested_by", "dry_run", "at_ms", "cancel")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    group: str
    target: str
    reason: str
    timeout_ms: int
    requested_by: str
    dry_run: bool
    at_ms: int
    cancel: bool
    def __init__(self, group: _Optional[str] = ..., target: _Optional[str] = ..., reason: _Optional[str] = ..., timeout_ms: _Optional[int] = ..., requested_by: _Optional[str] = ..., dry_run: _Optional[bool] = ..., at_ms: _Optional[int] = ..., cancel: _Optional[bool] = ...) -> None: ...

class SwitchOverResponse(_message.Message):
    __slots__ = ("step", "done", "succeeded", "epoch", "elapsed_ms")
    STEP_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    SUCCEEDED_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_MS_FIELD_NUMBER: _ClassVar[int]
    step: str
    done: bool
    succeeded: bool
    epoch: int
    elapsed_ms: int
    def __init__(self, step: _Optional[str] = ..., done: _Optional[bool] = ..., succeeded: _Optional[bool] = ..., epoch: _Optional[int] = ..., elapsed_ms: _Optional[int] = ...) -> None: ...

class ListEventsRequest(_message.Message):
    __slots__ = ("after", "follow")
    AFTER_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    after: int
    follow: bool
    def __init__(self, after: _Optional[int] = ..., follow: _Optional[bool] = ...) -> None: ...

class ListEventsResponse(_message.Message):
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

class FenceNodeRequest(_message.Message):
    __slots__ = ("node", "action", "requested_by")
    NODE_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    node: str
    action: FenceAction
    requested_by: str
    def __init__(self, node: _Optional[str] = ..., action: _Optional[_Union[FenceAction, str]] = ..., requested_by: _Optional[str] = ...) -> None: ...

class FenceNodeResponse(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class ForceActiveRequest(_message.Message):
    __slots__ = ("node", "group", "requested_by", "accept_data_loss")
    NODE_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    ACCEPT_DATA_LOSS_FIELD_NUMBER: _ClassVar[int]
    node: str
    group: str
    requested_by: str
    accept_data_loss: bool
    def __init__(self, node: _Optional[str] = ..., group: _Optional[str] = ..., requested_by: _Optional[str] = ..., accept_data_loss: _Optional[bool] = ...) -> None: ...

class ForceActiveResponse(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class SetMaintenanceModeRequest(_message.Message):
    __slots__ = ("node", "enabled", "reason", "requested_by")
    NODE_FIELD_NUMBER: _ClassVar[int]
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    node: str
    enabled: bool
    reason: str
    requested_by: str
    def __init__(self, node: _Optional[str] = ..., enabled: _Optional[bool] = ..., reason: _Optional[str] = ..., requested_by: _Optional[str] = ...) -> None: ...

class ClearServiceFailuresRequest(_message.Message):
    __slots__ = ("group", "requested_by")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    group: str
    requested_by: str
    def __init__(self, group: _Optional[str] = ..., requested_by: _Optional[str] = ...) -> None: ...

class ClearServiceFailuresResponse(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class SetMaintenanceModeResponse(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class FenceRequest(_message.Message):
    __slots__ = ("cluster", "group", "epoch", "loser", "relayed")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LOSER_FIELD_NUMBER: _ClassVar[int]
    RELAYED_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    group: str
    epoch: int
    loser: str
    relayed: bool
    def __init__(self, cluster: _Optional[str] = ..., group: _Optional[str] = ..., epoch: _Optional[int] = ..., loser: _Optional[str] = ..., relayed: _Optional[bool] = ...) -> None: ...

class FenceResponse(_message.Message):
    __slots__ = ("let_go", "detail")
    LET_GO_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    let_go: bool
    detail: str
    def __init__(self, let_go: _Optional[bool] = ..., detail: _Optional[str] = ...) -> None: ...
