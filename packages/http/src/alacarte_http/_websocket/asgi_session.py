"""WebSocket calls in a replica: sessions of the user's ASGI application.

Runs on the replica's event loop. The application runs in a task of its own, at most one message
ahead of the proxy, and ends with the call. Its exceptions become a 500 or a close with code 1011;
only this replica's log has the traceback.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

from starlette.types import ASGIApp, Scope
from starlette.types import Message as ASGIMessage
from starlette.websockets import WebSocketDisconnect

from alacarte.aio import TaskSet
from alacarte.errors import RequestError
from alacarte.types import Call, Message, Reply, Service, UserCallable

from .._head_codec import unpack_request
from .._replica.failure_log import begin_at_user
from .._replica.ingress import replica_application
from .websocket_codec import (
    BINARY,
    BODY,
    CLOSE,
    KIND,
    TEXT,
    pack_accept,
    pack_close,
    pack_denial,
    unpack_close,
)

__all__ = ["WebSocketDisconnected", "WebSocketServiceBuilder"]

log = logging.getLogger("alacarte.replica")


_PLAIN = ((b"content-type", b"text/plain; charset=utf-8"),)
_NORMAL, _ABNORMAL, _FAILED = 1000, 1006, 1011
# Codes that a close frame may contain (RFC 6455, section 7.4, and IANA's registry).
_CODES = frozenset((*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)))

_CONNECTING, _OPEN, _DENYING, _CLOSED = "connecting", "open", "answering", "closed"


class WebSocketDisconnected(OSError):
    """The application sends to a client that has disconnected."""


class WebSocketServiceBuilder:
    """Builds the service of WebSockets, in a replica."""

    def bind(self, user_callable: UserCallable) -> Service:
        application = replica_application(user_callable)

        async def respond(call: Call) -> Reply:
            if application is None:
                return _deny_unsupported(user_callable, call)
            return await WebSocketSession(application, user_callable, call).start()

        return respond


def _deny_unsupported(user_callable: UserCallable, call: Call) -> Reply:
    log.warning(
        "%s does not support WebSockets, request %s. Serve an ASGI application with "
        "@serve.ingress(app).",
        user_callable.deployment,
        call.request_id,
    )
    text = b"This application does not support WebSockets."
    return Reply(pack_denial(403, (*_PLAIN, (b"content-length", b"%d" % len(text))), text))


class WebSocketSession:
    """The ASGI session of one WebSocket: `receive`, `send`, and the messages of the reply."""

    def __init__(self, application: ASGIApp, user_callable: UserCallable, call: Call) -> None:
        assert call.body is not None
        self._application = application
        self._user_callable = user_callable
        self._call = call
        self._scope = _scope(call)
        self._body = call.body
        self._state = _CONNECTING
        self._has_connected = False
        self._disconnect_event: ASGIMessage | None = None
        self._receiving = False
        self._num_sends_since_receive = 0
        self._prefetch: asyncio.Task[Message | None] | None = None
        self._outgoing: asyncio.Queue[Message | BaseException | None] = asyncio.Queue(maxsize=1)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> Reply:
        """Run the application until it accepts or denies the WebSocket handshake."""
        self._task = _running.start(self._run())
        try:
            first = await anext(self)
        except BaseException:
            await self.aclose()
            raise
        return Reply(first, self)

    async def _run(self) -> None:
        end: BaseException | None = None
        try:
            await self._application(self._scope, self._receive, self._send)
        except asyncio.CancelledError:
            assert self._task is not None
            if self._task.cancelling():
                raise
            end = await self._failed(RuntimeError("an operation it awaited was cancelled"))
        except BaseException as error:  # user code; SystemExit must not end the replica
            end = await self._failed(error)
        else:
            await self._returned()
        finally:
            if self._prefetch is not None:
                self._prefetch.cancel()
        await self._outgoing.put(end)

    async def _failed(self, error: BaseException) -> BaseException | None:
        """End the session after an exception; return the exception if the proxy handles it."""
        if self._disconnect_event is not None and isinstance(
            error, (WebSocketDisconnected, WebSocketDisconnect)
        ):
            return None  # how handlers usually end
        if self._state is _CONNECTING and isinstance(error, RequestError):
            return error
        shown = begin_at_user(error)
        log.error(
            "%s failed, request %s",
            self._user_callable.deployment,
            self._call.request_id,
            exc_info=shown,
        )
        if self._state is _CONNECTING:
            await self._deny(500, b"Internal Server Error")
        elif self._state is _OPEN and self._disconnect_event is None:
            await self._outgoing.put(pack_close(_FAILED, "internal error"))
        return None

    async def _returned(self) -> None:
        if self._state is _CONNECTING:
            log.error(
                "%s returned without accepting or closing the WebSocket, request %s",
                self._user_callable.deployment,
                self._call.request_id,
            )
            await self._deny(500, b"Internal Server Error")
        elif self._state is _OPEN and self._disconnect_event is None:
            await self._outgoing.put(pack_close(_NORMAL, ""))

    async def _deny(self, status: int, text: bytes) -> None:
        self._state = _CLOSED
        length = (b"content-length", b"%d" % len(text))
        await self._outgoing.put(pack_denial(status, (*_PLAIN, length), text))

    # --- the reply ----------------------------------------------------------------------

    def __aiter__(self) -> WebSocketSession:
        return self

    async def __anext__(self) -> Message:
        message = await self._outgoing.get()
        if message is None:
            raise StopAsyncIteration
        if isinstance(message, BaseException):
            raise message
        return message

    async def aclose(self) -> None:
        """Cancel the application and wait for its end."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    # --- ASGI ---------------------------------------------------------------------------

    async def _receive(self) -> ASGIMessage:
        if not self._has_connected:
            self._has_connected = True
            return {"type": "websocket.connect"}
        if self._disconnect_event is not None:
            return self._disconnect_event
        self._num_sends_since_receive = 0
        return self._to_event(await self._next_message())

    async def _next_message(self) -> Message | None:
        try:
            self._receiving = True
            if self._prefetch is None:
                return await anext(self._body, None)
            # Shielded: a caller that is cancelled must not lose the message.
            message = await asyncio.shield(self._prefetch)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or not task.cancelling():
                # The call was cancelled, and is about to cancel this task.
                await asyncio.get_running_loop().create_future()
            raise
        finally:
            self._receiving = False
        self._prefetch = None
        return message

    def _to_event(self, message: Message | None) -> ASGIMessage:
        if message is None:
            self._disconnect_event = _disconnect(_ABNORMAL, "")
            return self._disconnect_event
        data = memoryview(message[0])
        kind = data[0]
        if kind == TEXT:
            return {"type": "websocket.receive", "text": str(data[1:], "utf-8")}
        if kind == BINARY:
            return {"type": "websocket.receive", "bytes": bytes(data[1:])}
        assert kind == CLOSE
        code, reason = unpack_close(data)
        self._disconnect_event = _disconnect(code, reason)
        return self._disconnect_event

    async def _send(self, event: ASGIMessage) -> None:
        kind = event["type"]
        state = self._state
        if state is _OPEN:
            if kind == "websocket.send":
                await self._send_message(event)
                return
            if kind == "websocket.close":
                await self._close(event)
                return
        elif state is _CONNECTING:
            if kind == "websocket.accept":
                headers = event.get("headers") or ()
                accept = pack_accept(event.get("subprotocol"), headers)
                self._state = _OPEN
                await self._outgoing.put(accept)
                return
            if kind == "websocket.close":
                await self._deny(403, b"Forbidden")
                self._disconnect_event = _disconnect(_ABNORMAL, "")
                return
            if kind == "websocket.http.response.start":
                denial = pack_denial(event["status"], event.get("headers") or ())
                self._state = _DENYING
                self._disconnect_event = _disconnect(_ABNORMAL, "")
                await self._outgoing.put(denial)
                return
        elif state is _DENYING and kind == "websocket.http.response.body":
            if not event.get("more_body"):
                self._state = _CLOSED
            body = event.get("body", b"")
            if body:
                await self._outgoing.put((KIND[BODY], body))
            return
        raise RuntimeError(f"the application sent {kind!r} to a WebSocket that is {state}.")

    async def _send_message(self, event: ASGIMessage) -> None:
        if self._disconnect_event is not None:
            raise WebSocketDisconnected("the WebSocket's client has disconnected")
        data = event.get("bytes")
        if data is not None:
            message = (KIND[BINARY], data)
        else:
            message = (KIND[TEXT], event["text"].encode())
        await self._outgoing.put(message)
        if not self._receiving:
            self._num_sends_since_receive += 1
            if self._num_sends_since_receive > 1:
                self._check_for_disconnect()

    def _check_for_disconnect(self) -> None:
        """Detect a disconnect for an application that sends without receiving."""
        if self._prefetch is None:
            self._prefetch = asyncio.create_task(_first_message(self._body))
        elif self._prefetch.done() and self._disconnect_event is None:
            message = self._prefetch.result()
            if message is None or memoryview(message[0])[0] == CLOSE:
                self._to_event(message)

    async def _close(self, event: ASGIMessage) -> None:
        code, reason = event.get("code", _NORMAL), event.get("reason") or ""
        if code not in _CODES:
            raise ValueError(
                f"{code!r} is not a valid close code; valid are 1000 to 1003, 1007 to 1014 and "
                "3000 to 4999."
            )
        close = pack_close(code, reason)
        self._state = _CLOSED
        if self._disconnect_event is None:
            self._disconnect_event = _disconnect(code, reason)
            await self._outgoing.put(close)


def _disconnect(code: int, reason: str) -> ASGIMessage:
    return {"type": "websocket.disconnect", "code": code, "reason": reason}


def _scope(call: Call) -> Scope:
    scope, _ = unpack_request(call.payload[0])
    del scope["method"]
    offered = b",".join(v for n, v in scope["headers"] if n == b"sec-websocket-protocol")
    scope["type"] = "websocket"
    scope["scheme"] = scope["scheme"].replace("http", "ws")
    scope["subprotocols"] = [
        token.strip() for token in offered.decode("latin-1").split(",") if token.strip()
    ]
    scope["extensions"] = {"websocket.http.response": {}}
    return scope


async def _first_message(body: AsyncIterator[Message]) -> Message | None:
    return await anext(body, None)


_running = TaskSet()
"""Tasks of running applications."""
