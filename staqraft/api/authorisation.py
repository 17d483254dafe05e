"""Who may call what over TCP, decided before any handler runs."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from enum import Enum
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection

from staqraft.config.schema import Config
from staqraft.wire import tls
from staqraft.wire.v1 import admin_pb2, data_admin_pb2

# The stubs know parameters that the classes do not have at run time.
if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]
    Interceptor = grpc.aio.ServerInterceptor[Any, Any]
else:
    Handler = grpc.RpcMethodHandler
    Interceptor = grpc.aio.ServerInterceptor


class Callers(Enum):
    """Whose certificates are good enough."""

    NODES = "nodes"
    NODES_AND_ADMINISTRATORS = "nodes and administrators"


ADMIN_SERVICE: str = admin_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name
DATA_ADMIN_SERVICE: str = data_admin_pb2.DESCRIPTOR.services_by_name["DataAdminService"].full_name

# What is not named here is for nodes only: Raft, fencing, and whatever is added and forgotten.
POLICY = {
    ADMIN_SERVICE: Callers.NODES_AND_ADMINISTRATORS,
    DATA_ADMIN_SERVICE: Callers.NODES_AND_ADMINISTRATORS,
    health.SERVICE_NAME: Callers.NODES_AND_ADMINISTRATORS,
    reflection.SERVICE_NAME: Callers.NODES_AND_ADMINISTRATORS,
}


class Authorisation(Interceptor):
    """Puts a check of the caller's certificate before every handler of a server."""

    def __init__(self, config: Config) -> None:
        self._cluster = config.cluster
        self._nodes = frozenset(config.nodes)
        self._guarded: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """The handler with the check before it; a method that does not exist stays so."""
        method = handler_call_details.method
        if method not in self._guarded:
            handler: Handler | None = await continuation(handler_call_details)
            if handler is None:  # not remembered: a stranger may invent methods for ever
                return handler  # type: ignore[return-value]  # gRPC says UNIMPLEMENTED; the stub forgets
            self._guarded[method] = self._guard(handler, method.rpartition("/")[0].lstrip("/"))
        return self._guarded[method]

    def _guard(self, handler: Handler, service: str) -> Handler:
        admins = POLICY.get(service, Callers.NODES) is Callers.NODES_AND_ADMINISTRATORS

        async def check(context: tls.Context) -> None:
            await tls.require_peer(context, self._cluster, self._nodes, admins=admins)

        kinds = {
            (False, False): (handler.unary_unary, grpc.unary_unary_rpc_method_handler),
            (False, True): (handler.unary_stream, grpc.unary_stream_rpc_method_handler),
            (True, False): (handler.stream_unary, grpc.stream_unary_rpc_method_handler),
            (True, True): (handler.stream_stream, grpc.stream_stream_rpc_method_handler),
        }
        behaviour, make = kinds[handler.request_streaming, handler.response_streaming]
        guarded: Handler = make(
            _after(check, behaviour),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
        return guarded


def _after(check: Callable[[tls.Context], Awaitable[None]], behaviour: Any) -> Any:
    """`behaviour` after `check`, of the same kind: gRPC looks at the kind of function."""
    if inspect.isasyncgenfunction(behaviour):

        async def generator(request: Any, context: tls.Context) -> AsyncIterator[Any]:
            await check(context)
            async for response in behaviour(request, context):
                yield response

        return generator
    if not inspect.iscoroutinefunction(behaviour):
        # gRPC would run it in a thread, where the check cannot be awaited.
        raise TypeError(f"{behaviour!r} is not an async handler")

    async def coroutine(request: Any, context: tls.Context) -> Any:
        await check(context)
        return await behaviour(request, context)

    return coroutine
