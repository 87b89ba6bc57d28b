"""WebSockets at the proxy: from a client's connection to a replica, and back.

One call carries one connection. The call's body is what the client sends, its reply what the
application sends; the windows of both streams hold back whoever is faster than the other. The
call's deadline ends with the application's answer to the handshake, so a connection may last.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

from alacarte.errors import ReplicaUnavailableError, ServeError
from alacarte.types import Buffer, Message, Reply

from .._calls import Way, request_call
from .._errors import Answer, answer_to
from .._message import ResponseHead
from .._wishes import Wishes
from .connection import WebSocketConnection
from .message import (
    ACCEPT,
    BINARY,
    CLOSE,
    TEXT,
    WEBSOCKET,
    denied_with,
    unpack_accept,
    unpack_close,
    unpack_denial,
)

__all__ = ["failed", "serve_websocket"]

log = logging.getLogger("alacarte.http")
_SWITCHING = 101
_FAILED, _RESTART = 1011, 1012
_INTERNAL = "internal error"

Find = Callable[[dict[str, Any]], Way | Answer]


async def serve_websocket(
    scope: dict[str, Any],
    find: Find,
    root_path: str,
    timeout_s: float | None,
    wishes: Wishes,
) -> int:
    """Serve one connection to its end; return the status that its handshake was answered with.

    Args:
        scope: ASGI's, with the `WebSocketConnection`.
        find: Finds the way that it takes.
        root_path: See `HTTPOptions`.
        timeout_s: See `HTTPOptions.request_timeout_s`.
        wishes: What its headers ask for.
    """
    connection: WebSocketConnection = scope["alacarte.websocket"]
    request_id = wishes.request_id
    found = wishes.refusal or _reserved(scope["raw_path"]) or find(scope)
    if isinstance(found, Answer):
        connection.deny(found, request_id)
        return found.status
    try:
        call = request_call(
            WEBSOCKET,
            scope,
            found.route,
            wishes,
            root_path,
            timeout_s,
            rest=connection.messages,
            alone=True,
        )
        try:
            reply = await found.websocket(call)
        finally:
            scope["alacarte.app"] = call.app  # who has answered, where a route leads to several
    except Exception as error:  # whatever went wrong, the client gets an answer
        answer = answer_to(error)
        if answer.status == 500:
            log.error("WebSocket %s failed", request_id.decode(), exc_info=error)
        connection.deny(answer, request_id)
        return answer.status
    return await _relay(connection, reply, request_id)


def failed(reply: Reply) -> bool:
    """Whether the application's answer to a handshake is an error of its own."""
    status = denied_with(reply.payload[0])
    return status is not None and status >= 500


def _reserved(raw_path: bytes) -> Answer | None:
    if raw_path.startswith(b"/-/"):
        return Answer(404, f"There is no WebSocket at {raw_path.decode('latin-1')}.")
    return None


async def _relay(connection: WebSocketConnection, reply: Reply, request_id: bytes) -> int:
    """Send on what the application sends, to the end of its reply."""
    rest = reply.rest
    status = _SWITCHING
    try:
        first = reply.payload[0]
        if first[0] == ACCEPT:
            connection.accept(unpack_accept(first), request_id)
            await _messages(connection, rest or _nothing())
        else:
            head, body = unpack_denial(first)
            status = head.status
            await _denial(connection, head, body, rest or _nothing(), request_id)
    except Exception as error:
        code, reason = _end_for(error)
        # A replica that goes may have thousands: the controller says why, once.
        level = logging.ERROR if reason == _INTERNAL else logging.DEBUG
        log.log(level, "WebSocket %s broke off: %s", request_id.decode(), error)
        connection.close(code, reason)
    finally:
        close = getattr(rest, "aclose", None)
        if close is not None:
            await close()
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
    request_id: bytes,
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
