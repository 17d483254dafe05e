from staqraft.wire.v1 import data_worker_pb2 as _data_worker_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RestoreQuarantineRequest(_message.Message):
    __slots__ = ("group", "wish", "requested_by")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    WISH_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    group: str
    wish: _data_worker_pb2.RestoreQuarantinedRequest
    requested_by: str
    def __init__(self, group: _Optional[str] = ..., wish: _Optional[_Union[_data_worker_pb2.RestoreQuarantinedRequest, _Mapping]] = ..., requested_by: _Optional[str] = ...) -> None: ...

class RestoreQuarantineResponse(_message.Message):
    __slots__ = ("outcome",)
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    outcome: _data_worker_pb2.RestoreQuarantinedResponse
    def __init__(self, outcome: _Optional[_Union[_data_worker_pb2.RestoreQuarantinedResponse, _Mapping]] = ...) -> None: ...

class DropQuarantineRequest(_message.Message):
    __slots__ = ("group", "wish", "requested_by")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    WISH_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    group: str
    wish: _data_worker_pb2.DropQuarantinedRequest
    requested_by: str
    def __init__(self, group: _Optional[str] = ..., wish: _Optional[_Union[_data_worker_pb2.DropQuarantinedRequest, _Mapping]] = ..., requested_by: _Optional[str] = ...) -> None: ...

class DropQuarantineResponse(_message.Message):
    __slots__ = ("outcome",)
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    outcome: _data_worker_pb2.DropQuarantinedResponse
    def __init__(self, outcome: _Optional[_Union[_data_worker_pb2.DropQuarantinedResponse, _Mapping]] = ...) -> None: ...

class VerifyRequest(_message.Message):
    __slots__ = ("group", "wish", "requested_by")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    WISH_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    group: str
    wish: _data_worker_pb2.VerifyTreesRequest
    requested_by: str
    def __init__(self, group: _Optional[str] = ..., wish: _Optional[_Union[_data_worker_pb2.VerifyTreesRequest, _Mapping]] = ..., requested_by: _Optional[str] = ...) -> None: ...

class VerifyResponse(_message.Message):
    __slots__ = ("step", "node")
    STEP_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    step: _data_worker_pb2.VerifyTreesResponse
    node: str
    def __init__(self, step: _Optional[_Union[_data_worker_pb2.VerifyTreesResponse, _Mapping]] = ..., node: _Optional[str] = ...) -> None: ...

class ResyncRequest(_message.Message):
    __slots__ = ("group", "node", "trees", "from_scratch", "requested_by", "told")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    TREES_FIELD_NUMBER: _ClassVar[int]
    FROM_SCRATCH_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    TOLD_FIELD_NUMBER: _ClassVar[int]
    group: str
    node: str
    trees: _containers.RepeatedScalarFieldContainer[str]
    from_scratch: bool
    requested_by: str
    told: bool
    def __init__(self, group: _Optional[str] = ..., node: _Optional[str] = ..., trees: _Optional[_Iterable[str]] = ..., from_scratch: _Optional[bool] = ..., requested_by: _Optional[str] = ..., told: _Optional[bool] = ...) -> None: ...

class ResyncResponse(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class AllowRemovalsRequest(_message.Message):
    __slots__ = ("tree", "requested_by")
    TREE_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    tree: str
    requested_by: str
    def __init__(self, tree: _Optional[str] = ..., requested_by: _Optional[str] = ...) -> None: ...

class AllowRemovalsResponse(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...
