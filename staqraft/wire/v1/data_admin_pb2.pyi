from staqraft.wire.v1 import data_worker_pb2 as _data_worker_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
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
