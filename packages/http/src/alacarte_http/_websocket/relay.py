"""WebSockets at the proxy: from a client's connection to a replica, and back.

One call carries one connection. The call's body is what the client sends, its reply what the
application sends; the windows of both streams hold back whoever is faster than the other. The
call's deadline ends with the application's answer to the handshake, so a connection may last.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

from alacarte.aio import close_iterator
from alacarte.errors import PluginError, ReplicaUnavailableError, ServeError
from alacarte.foreign import is_cancellation
from alacarte.types import Buffer, Call, Message, Reply, Service

from .._errors import Answer, answer_to
from .._head_codec import ResponseHead
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

__all__ = ["answer_of", "failed", "serve_websocket"]

log = logging.getLogger("alacarte.http")
_SWITCHING = 101
_FAILED, _RESTART = 1011, 1012
_INTERNAL = "internal error"


async def serve_websocket(connection: WebSocketConnection, call: Call, service: Service) -> int:
    """Serve one connection to its end; return the status that its handshake was answered with.

    Args:
        call: Its body is what the client sends.
        service: Answers the call.
    """
    request_id = call.request_id
    try:
        reply = await service(call)
    except GeneratorExit:
        raise
    except BaseException as error:  # whatever went wrong, the client gets an answer
        if is_cancellation(error):
            raise
        answer = answer_of(error, request_id)
        connection.deny(answer, request_id)
        return answer.status
    return await _relay(connection, reply, request_id)


def answer_of(error: BaseException, request_id: str) -> Answer:
    """Return the answer to a handshake that failed, and log what is nobody's answer."""
    answer = answer_to(error)
    if isinstance(error, PluginError):  # with its traceback it is logged once, by its plugin
        log.error("WebSocket %s failed: %s", request_id, error)
    elif answer.status == 500:
        log.error("WebSocket %s failed", request_id, exc_info=error)
    return answer


def failed(reply: Reply) -> bool:
    """Whether the application's answer to a handshake is an error of its own."""
    status = denied_with(reply.payload[0])
    return status is not None and status >= 500


async def _relay(connection: WebSocketConnection, reply: Reply, request_id: str) -> int:
    """Send on what the application sends, to the end of its reply."""
    rest: AsyncIterator[Message] | None = None
    status = _SWITCHING
    try:
        rest = reply.rest
        first = reply.payload[0]
        if first[0] == ACCEPT:
            connection.accept(unpack_accept(first), request_id)
            await _messages(connection, rest or _nothing())
        else:
            head, body = unpack_denial(first)
            status = head.status
            await _denial(connection, head, body, rest or _nothing(), request_id)
    except Exception as error:
        if not connection.answered and not connection.lost:
            # What a layer or the application gave is no answer.
            answer = answer_of(error, request_id)
            connection.deny(answer, request_id)
            return answer.status
        code, reason = _end_for(error)
        # A replica that goes may have thousands: the controller says why, once.
        level = logging.ERROR if reason == _INTERNAL else logging.DEBUG
        log.log(level, "WebSocket %s broke off: %s", request_id, error)
        connection.close(code, reason)
    finally:
        await close_iterator(rest)
    return status


async def _messages(connection: WebSocketConnection, rest: AsyncIterator[Message]) -> None:
    async for message in rest:
        data = memoryview(message[0])
        kind = data[0]
        if kind == TEXT or kind == BINARY:
            await connection.send(kind, data[1:])
        elif kind == CLOSE:
            connection.dismissed = True
            connection.close(*unpack_close(data))
    # Every application's reply ends with a close, unless the client's came first.


async def _denial(
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
        connection.hang_up()


def _end_for(error: Exception) -> tuple[int, str]:
    """Return the code and reason that a client is told when its replica does not go on."""
    if type(error) is ServeError:
        # What a replica says of what it cancels while it stops.
        return _RESTART, "service restart"
    if isinstance(error, ServeError) and not isinstance(error, ReplicaUnavailableError):
        return _FAILED, _INTERNAL
    return _FAILED, "the replica went away"


async def _nothing() -> AsyncIterator[Message]:
    return
    yield
