from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Finding(_message.Message):
    __slots__ = ("code", "subject", "severity", "text", "remedy", "lasts_ms", "node")
    CODE_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    REMEDY_FIELD_NUMBER: _ClassVar[int]
    LASTS_MS_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    code: str
    subject: str
    severity: str
    text: str
    remedy: str
    lasts_ms: int
    node: str
    def __init__(self, code: _Optional[str] = ..., subject: _Optional[str] = ..., severity: _Optional[str] = ..., text: _Optional[str] = ..., remedy: _Optional[str] = ..., lasts_ms: _Optional[int] = ..., node: _Optional[str] = ...) -> None: ...

class TakeoverRefusal(_message.Message):
    __slots__ = ("code", "reason", "remedy", "since_wall_ms")
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REMEDY_FIELD_NUMBER: _ClassVar[int]
    SINCE_WALL_MS_FIELD_NUMBER: _ClassVar[int]
    code: str
    reason: str
    remedy: str
    since_wall_ms: int
    def __init__(self, code: _Optional[str] = ..., reason: _Optional[str] = ..., remedy: _Optional[str] = ..., since_wall_ms: _Optional[int] = ...) -> None: ...

class Defect(_message.Message):
    __slots__ = ("kind", "text", "remedy", "bars", "sure")
    KIND_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    REMEDY_FIELD_NUMBER: _ClassVar[int]
    BARS_FIELD_NUMBER: _ClassVar[int]
    SURE_FIELD_NUMBER: _ClassVar[int]
    kind: str
    text: str
    remedy: str
    bars: bool
    sure: bool
    def __init__(self, kind: _Optional[str] = ..., text: _Optional[str] = ..., remedy: _Optional[str] = ..., bars: _Optional[bool] = ..., sure: _Optional[bool] = ...) -> None: ...

class GroupHealth(_message.Message):
    __slots__ = ("group", "refusals", "defects")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    DEFECTS_FIELD_NUMBER: _ClassVar[int]
    group: str
    refusals: _containers.RepeatedCompositeFieldContainer[TakeoverRefusal]
    defects: _containers.RepeatedCompositeFieldContainer[Defect]
    def __init__(self, group: _Optional[str] = ..., refusals: _Optional[_Iterable[_Union[TakeoverRefusal, _Mapping]]] = ..., defects: _Optional[_Iterable[_Union[Defect, _Mapping]]] = ...) -> None: ...

class RingSight(_message.Message):
    __slots__ = ("ring", "address", "interface", "carrier", "heard_ms")
    RING_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    INTERFACE_FIELD_NUMBER: _ClassVar[int]
    CARRIER_FIELD_NUMBER: _ClassVar[int]
    HEARD_MS_FIELD_NUMBER: _ClassVar[int]
    ring: str
    address: str
    interface: str
    carrier: bool
    heard_ms: int
    def __init__(self, ring: _Optional[str] = ..., address: _Optional[str] = ..., interface: _Optional[str] = ..., carrier: _Optional[bool] = ..., heard_ms: _Optional[int] = ...) -> None: ...

class TargetSight(_message.Message):
    __slots__ = ("address", "answers")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    address: str
    answers: bool
    def __init__(self, address: _Optional[str] = ..., answers: _Optional[bool] = ...) -> None: ...

class NodeHealth(_message.Message):
    __slots__ = ("node", "version", "config_fingerprint", "findings", "groups", "rings", "targets", "settings")
    class SettingsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NODE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    RINGS_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    node: str
    version: str
    config_fingerprint: str
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    groups: _containers.RepeatedCompositeFieldContainer[GroupHealth]
    rings: _containers.RepeatedCompositeFieldContainer[RingSight]
    targets: _containers.RepeatedCompositeFieldContainer[TargetSight]
    settings: _containers.ScalarMap[str, str]
    def __init__(self, node: _Optional[str] = ..., version: _Optional[str] = ..., config_fingerprint: _Optional[str] = ..., findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ..., groups: _Optional[_Iterable[_Union[GroupHealth, _Mapping]]] = ..., rings: _Optional[_Iterable[_Union[RingSight, _Mapping]]] = ..., targets: _Optional[_Iterable[_Union[TargetSight, _Mapping]]] = ..., settings: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ExchangeHealthRequest(_message.Message):
    __slots__ = ("cluster", "ring", "health", "ahead_us", "round_trip_us")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    RING_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    AHEAD_US_FIELD_NUMBER: _ClassVar[int]
    ROUND_TRIP_US_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    ring: str
    health: NodeHealth
    ahead_us: int
    round_trip_us: int
    def __init__(self, cluster: _Optional[str] = ..., ring: _Optional[str] = ..., health: _Optional[_Union[NodeHealth, _Mapping]] = ..., ahead_us: _Optional[int] = ..., round_trip_us: _Optional[int] = ...) -> None: ...

class ExchangeHealthResponse(_message.Message):
    __slots__ = ("health", "wall_us")
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    WALL_US_FIELD_NUMBER: _ClassVar[int]
    health: NodeHealth
    wall_us: int
    def __init__(self, health: _Optional[_Union[NodeHealth, _Mapping]] = ..., wall_us: _Optional[int] = ...) -> None: ...
