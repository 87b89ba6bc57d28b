"""Node service with a gRPC server on every node."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc

from alacarte.calls import new_request_id
from alacarte.errors import ConfigError, ErrorCode, RequestError, request_code
from alacarte.types import ApplicationTable, Call, Runtime

from .protocol import PROTOCOL, messages

__all__ = ["GrpcServer"]

log = logging.getLogger("grpc_door")
_TABLE_TIMEOUT_S = 15.0


class GrpcServer:
    """Calls applications for gRPC clients. A `NodeService`."""

    async def start(self, runtime: Runtime) -> Mapping[str, str]:
        """Listen on the port of the previous process, once the applications are known."""
        self._runtime = runtime
        self._table: ApplicationTable | None = None
        self._known = asyncio.Event()
        runtime.watch_applications(self._set_table)
        async with asyncio.timeout(_TABLE_TIMEOUT_S):
            await self._known.wait()
        options = runtime.config.section("grpc")
        assert runtime.service_context is not None
        port = options.port or int(runtime.service_context.metadata.get("port", 0))
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers((_Methods(self),))
        try:
            port = self._server.add_insecure_port(f"{options.host}:{port}")
        except RuntimeError as error:
            raise ConfigError(f"grpc_options: port {port} cannot be used: {error}") from error
        await self._server.start()
        return {"url": f"grpc://{options.host}:{port}", "port": str(port)}

    async def drain(self, limit_s: float, *, replaced: bool) -> None:
        """Refuse new calls; return when the calls in flight have ended."""
        await self._server.stop(limit_s)

    async def stop(self) -> None:
        """Cancel the calls in flight."""
        if hasattr(self, "_server"):
            await self._server.stop(0)

    def _set_table(self, table: ApplicationTable) -> None:
        self._table = table
        self._known.set()

    async def call(self, method: str, request: bytes, context: Any) -> AsyncIterator[bytes]:
        """Call a method of an application; yield the messages of the reply."""
        name = dict(context.invocation_metadata()).get("application", "")
        assert self._table is not None
        found = self._table.applications
        if name not in found and (name or len(found) != 1):
            existing = ", ".join(sorted(found)) or "none"
            problem = f"There is no application {name!r}" if name else "No application is named"
            await context.abort(grpc.StatusCode.NOT_FOUND, f"{problem}; there are: {existing}.")
        info = found.get(name) or next(iter(found.values()))
        left_s = context.time_remaining()
        call = Call(
            PROTOCOL,
            (request,),
            method,
            streaming=True,
            request_id=new_request_id(),
            app=info.name,
            deadline=None if left_s is None else time.monotonic() + left_s,
            timeout_s=left_s,
        )
        try:
            reply = await self._runtime.service(info.ingress.id)(call)
            async for message in messages(reply):
                yield message
        except Exception as error:
            message = error.client_message if isinstance(error, RequestError) else ""
            code = request_code(error)
            if code is ErrorCode.INTERNAL:
                log.warning("%s of %s failed: %s", method, info.name, error)
            await context.abort(grpc.StatusCode[code.name], message or "The application failed.")


class _Methods(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Handles every method as a stream; a unary reply is a stream of one message."""

    def __init__(self, server: GrpcServer) -> None:
        self._server = server

    def service(self, handler_call_details: Any) -> Any:
        """Return the handler of a method."""
        method = handler_call_details.method.rpartition("/")[2]

        async def handle(request: bytes, context: Any) -> AsyncIterator[bytes]:
            async for message in self._server.call(method, request, context):
                yield message

        return grpc.unary_stream_rpc_method_handler(handle)
