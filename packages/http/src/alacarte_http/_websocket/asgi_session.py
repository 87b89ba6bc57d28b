"""WebSocket calls in a replica: the user's ASGI application at one end of a connection.

Runs on the replica's event loop. The application runs in a task of its own, one message ahead of
what the proxy takes, and is ended with the call. Its exceptions become a 500 or a close with code
1011, with the traceback in this replica's log only.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.websockets import WebSocketDisconnect

from alacarte.aio import TaskSet
from alacarte.errors import RequestError
from alacarte.types import Call, Message, Reply, Service, UserCallable

from .._head_codec import unpack_request
from .._replica.failure_log import begin_at_user
from .._replica.ingress import application_of
from .websocket_codec import (
    BINARY,
    BODY,
    CLOSE,
    KIND,
    TEXT,
    WEBSOCKET,
    pack_accept,
    pack_close,
    pack_denial,
    unpack_close,
)

__all__ = ["WebSocketDisconnected", "WebSocketProtocol"]

log = logging.getLogger("alacarte.replica")

ASGIApp = Callable[[Any, Any, Any], Awaitable[Any]]

_PLAIN = ((b"content-type", b"text/plain; charset=utf-8"),)
_NORMAL, _ABNORMAL, _FAILED = 1000, 1006, 1011
# Section 7.4 of RFC 6455 and IANA's registry: those that may stand in a close frame.
_CODES = frozenset((*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)))

_CONNECTING, _OPEN, _DENYING, _CLOSED = "connecting", "open", "answering", "closed"


class WebSocketDisconnected(OSError):
    """The application sends to a client that is gone."""


class WebSocketProtocol:
    """The `CallProtocol` of WebSockets."""

    name = WEBSOCKET

    def bind(self, served: UserCallable) -> Service:
        application = application_of(served)

        async def respond(call: Call) -> Reply:
            if application is None:
                return _refused(served, call)
            return await WebSocketSession(application, served, call).start()

        return respond


def _refused(served: UserCallable, call: Call) -> Reply:
    log.warning(
        "%s takes no WebSockets, request %s: they need an ASGI application behind "
        "@serve.ingress(app).",
        served.deployment,
        call.request_id,
    )
    text = b"This application takes no WebSockets."
    return Reply(pack_denial(403, (*_PLAIN, (b"content-length", b"%d" % len(text))), text))


class WebSocketSession:
    """One connection: ASGI's `receive` and `send`, and the messages of the reply."""

    def __init__(self, application: ASGIApp, served: UserCallable, call: Call) -> None:
        assert call.body is not None
        self._application = application
        self._served = served
        self._call = call
        self._scope = _scope(call)
        self._body = call.body
        self._state = _CONNECTING
        self._begun = False
        self._gone: dict[str, Any] | None = None
        self._receiving = False
        self._sent_unasked = 0
        self._ahead: asyncio.Task[Message | None] | None = None
        self._outgoing: asyncio.Queue[Message | BaseException | None] = asyncio.Queue(maxsize=1)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> Reply:
        """Run the application until it has answered the handshake."""
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
            end = await self._failed(RuntimeError("it waited for something that was cancelled"))
        except BaseException as error:  # the user's code; SystemExit ends no replica
            end = await self._failed(error)
        else:
            await self._returned()
        finally:
            if self._ahead is not None:
                self._ahead.cancel()
        await self._outgoing.put(end)

    async def _failed(self, error: BaseException) -> BaseException | None:
        """End the connection over an exception; return the one that tells the proxy more."""
        if self._gone is not None and isinstance(
            error, (WebSocketDisconnected, WebSocketDisconnect)
        ):
            return None  # the usual way for a handler to end
        if self._state is _CONNECTING and isinstance(error, RequestError):
            return error
        shown = begin_at_user(error)
        log.error(
            "%s failed, request %s", self._served.deployment, self._call.request_id, exc_info=shown
        )
        if self._state is _CONNECTING:
            await self._deny(500, b"Internal Server Error")
        elif self._state is _OPEN and self._gone is None:
            await self._outgoing.put(pack_close(_FAILED, "internal error"))
        return None

    async def _returned(self) -> None:
        if self._state is _CONNECTING:
            log.error(
                "%s returned from a WebSocket, request %s, without accepting or closing it",
                self._served.deployment,
                self._call.request_id,
            )
            await self._deny(500, b"Internal Server Error")
        elif self._state is _OPEN and self._gone is None:
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
        """End the application; return when it has ended."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    # --- ASGI ---------------------------------------------------------------------------

    async def _receive(self) -> dict[str, Any]:
        if not self._begun:
            self._begun = True
            return {"type": "websocket.connect"}
        if self._gone is not None:
            return self._gone
        self._sent_unasked = 0
        return self._event(await self._next())

    async def _next(self) -> Message | None:
        try:
            self._receiving = True
            if self._ahead is None:
                return await anext(self._body, None)
            # Shielded: who stops waiting for a message must not lose it.
            message = await asyncio.shield(self._ahead)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or not task.cancelling():
                # The call was cancelled, and ends this in a moment.
                await asyncio.get_running_loop().create_future()
            raise
        finally:
            self._receiving = False
        self._ahead = None
        return message

    def _event(self, message: Message | None) -> dict[str, Any]:
        if message is None:
            self._gone = _disconnect(_ABNORMAL, "")
            return self._gone
        data = memoryview(message[0])
        kind = data[0]
        if kind == TEXT:
            return {"type": "websocket.receive", "text": str(data[1:], "utf-8")}
        if kind == BINARY:
            return {"type": "websocket.receive", "bytes": bytes(data[1:])}
        assert kind == CLOSE
        code, reason = unpack_close(data)
        self._gone = _disconnect(code, reason)
        return self._gone

    async def _send(self, event: Any) -> None:
        kind = event["type"]
        state = self._state
        if state is _OPEN:
            if kind == "websocket.send":
                await self._message(event)
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
                self._gone = _disconnect(_ABNORMAL, "")
                return
            if kind == "websocket.http.response.start":
                denial = pack_denial(event["status"], event.get("headers") or ())
                self._state = _DENYING
                self._gone = _disconnect(_ABNORMAL, "")
                await self._outgoing.put(denial)
                return
        elif state is _DENYING and kind == "websocket.http.response.body":
            if not event.get("more_body"):
                self._state = _CLOSED
            body = event.get("body", b"")
            if body:
                await self._outgoing.put((KIND[BODY], body))
            return
        raise RuntimeError(f"{kind!r} was sent to a WebSocket that is {state}.")

    async def _message(self, event: Any) -> None:
        if self._gone is not None:
            raise WebSocketDisconnected("the WebSocket's client is gone")
        data = event.get("bytes")
        if data is not None:
            message = (KIND[BINARY], data)
        else:
            message = (KIND[TEXT], event["text"].encode())
        await self._outgoing.put(message)
        if not self._receiving:
            self._sent_unasked += 1
            if self._sent_unasked > 1:
                self._look_ahead()

    def _look_ahead(self) -> None:
        """Notice that the client is gone, for an application that only sends."""
        if self._ahead is None:
            self._ahead = asyncio.create_task(_first(self._body))
        elif self._ahead.done() and self._gone is None:
            message = self._ahead.result()
            if message is None or memoryview(message[0])[0] == CLOSE:
                self._event(message)

    async def _close(self, event: Any) -> None:
        code, reason = event.get("code", _NORMAL), event.get("reason") or ""
        if code not in _CODES:
            raise ValueError(
                f"{code!r} is no code to close a WebSocket with; allowed are 1000 to 1003, "
                "1007 to 1014 and 3000 to 4999."
            )
        close = pack_close(code, reason)
        self._state = _CLOSED
        if self._gone is None:
            self._gone = _disconnect(code, reason)
            await self._outgoing.put(close)


def _disconnect(code: int, reason: str) -> dict[str, Any]:
    return {"type": "websocket.disconnect", "code": code, "reason": reason}


def _scope(call: Call) -> dict[str, Any]:
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


async def _first(body: AsyncIterator[Message]) -> Message | None:
    return await anext(body, None)


_running = TaskSet()
"""Applications at work."""
