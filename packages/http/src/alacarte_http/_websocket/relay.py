"""The relay of WebSockets in the proxy: messages between a client's connection and a replica.

One call carries one connection: the client's messages are the call's body, the application's
messages its reply. The flow-control windows of both streams slow down the faster side. The call's
deadline applies only to the WebSocket handshake, so a connection may stay open.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

from alacarte.aio import close_iterator
from alacarte.errors import PluginError, ReplicaUnavailableError, ServeError
from alacarte.foreign import is_cancellation
from alacarte.types import Buffer, Call, Message, Reply, Service

from .._head_codec import ResponseHead
from .._local_response import LocalResponse, error_response
from .websocket_codec import (
    ACCEPT,
    BINARY,
    CLOSE,
    TEXT,
    denied_with,
    unpack_accept,
    unpack_close,
    unpack_denial,
)
from .websocket_connection import WebSocketConnection

__all__ = ["websocket_error_response", "is_failure", "serve_websocket"]

log = logging.getLogger("alacarte.http")
_SWITCHING = 101
_FAILED, _RESTART = 1011, 1012
_INTERNAL = "internal error"


async def serve_websocket(connection: WebSocketConnection, call: Call, service: Service) -> int:
    """Serve one connection to its end; return the status of its WebSocket handshake.

    Args:
        call: The call of the WebSocket handshake, with the client's messages as body.
        service: Returns the application's reply to the call.
    """
    request_id = call.request_id
    try:
        reply = await service(call)
    except GeneratorExit:
        raise
    except BaseException as error:  # the client gets a response to any failure
        if is_cancellation(error):
            raise
        response = websocket_error_response(error, request_id)
        connection.deny(response, request_id)
        return response.status
    return await _relay(connection, reply, request_id)


def websocket_error_response(error: BaseException, request_id: str) -> LocalResponse:
    """Return the response to a failed WebSocket handshake; log the error if the status is 500."""
    response = error_response(error)
    if isinstance(error, PluginError):  # its traceback is logged once, with the plugin's name
        log.error("WebSocket %s failed: %s", request_id, error)
    elif response.status == 500:
        log.error("WebSocket %s failed", request_id, exc_info=error)
    return response


def is_failure(reply: Reply) -> bool:
    """Return whether the application denied the WebSocket handshake with 500 or more."""
    status = denied_with(reply.payload[0])
    return status is not None and status >= 500


async def _relay(connection: WebSocketConnection, reply: Reply, request_id: str) -> int:
    """Forward the application's messages to the end of its reply; return the handshake's status."""
    rest: AsyncIterator[Message] | None = None
    status = _SWITCHING
    try:
        rest = reply.rest
        first = reply.payload[0]
        if first[0] == ACCEPT:
            connection.accept(unpack_accept(first), request_id)
            await _forward_messages(connection, rest or _no_messages())
        else:
            head, body = unpack_denial(first)
            status = head.status
            await _forward_denial(connection, head, body, rest or _no_messages(), request_id)
    except Exception as error:
        if not connection.answered and not connection.disconnected:
            # A layer or the application returned an invalid reply.
            response = websocket_error_response(error, request_id)
            connection.deny(response, request_id)
            return response.status
        code, reason = _close_for(error)
        # A replica that stops may have thousands of WebSockets; the controller logs why, once.
        level = logging.ERROR if reason == _INTERNAL else logging.DEBUG
        log.log(level, "WebSocket %s was aborted: %s", request_id, error)
        connection.close(code, reason)
    finally:
        await close_iterator(rest)
    return status


async def _forward_messages(connection: WebSocketConnection, rest: AsyncIterator[Message]) -> None:
    async for message in rest:
        data = memoryview(message[0])
        kind = data[0]
        if kind == TEXT or kind == BINARY:
            await connection.send(kind, data[1:])
        elif kind == CLOSE:
            connection.closed_by_application = True
            connection.close(*unpack_close(data))
    # Each reply ends with a close, unless the client has closed before.


async def _forward_denial(
    connection: WebSocketConnection,
    head: ResponseHead,
    body: Buffer,
    rest: AsyncIterator[Message],
    request_id: str,
) -> None:
    connection.start_denial(head.status, head.block, request_id)
    try:
        await connection.write(bytes(body))
        async for message in rest:
            await connection.write(bytes(memoryview(message[0])[1:]))
    finally:
        connection.finish()


def _close_for(error: Exception) -> tuple[int, str]:
    """Return the close code and reason for a client whose reply failed."""
    if type(error) is ServeError:
        # The error of calls that a replica cancels while it stops.
        return _RESTART, "service restart"
    if isinstance(error, ServeError) and not isinstance(error, ReplicaUnavailableError):
        return _FAILED, _INTERNAL
    return _FAILED, "the replica was lost"


async def _no_messages() -> AsyncIterator[Message]:
    return
    yield
