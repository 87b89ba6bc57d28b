"""The proxy's ASGI application: from a request to a replica, and back.

Every request passes through here, so nothing is done twice that can be done once: no framework, no
hook, no pickle, no logging. Runs on the proxy's event loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from alacarte.types import Call, Message, Reply, Route, RouteTable, Runtime

from .._calls import Way, request_call
from .._errors import TEXT, Answer, answer_to
from .._message import HTTP, status_of, unpack_response
from .._websocket.relay import failed as websocket_failed
from .._websocket.relay import serve_websocket
from .._wishes import Wishes, read_wishes
from .access import AccessLog
from .routes import RouteIndex
from .system import NO_ROUTES, PREFIX, SystemPaths

__all__ = ["ProxyApp"]

log = logging.getLogger("alacarte.http")

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

_CLIENT_LEFT = 499
"""Not sent, only noted: nginx's number for a client that did not wait."""
_SOON = ((b"retry-after", b"1"),)
_BUSY = Answer(503, "The proxy has as many requests in progress as it takes.", _SOON)
_NOTHING_YET = Answer(503, "No application is deployed yet; try again in a moment.", _SOON)


class ClientGone(Exception):
    """The client hung up in the middle of its request."""


class ProxyApp:
    """Routes requests by the runtime's route table.

    Args:
        runtime: Of this process.
        options: The `HTTPOptions`.
        access: Where requests are noted, None for nowhere.

    Attributes:
        ongoing: Requests being worked on, those for `/-/` left out.
    """

    def __init__(self, runtime: Runtime, options: Any, access: AccessLog | None = None) -> None:
        self.ongoing = 0
        self.draining = False
        self._runtime = runtime
        self._root_path: str = options.root_path
        self._timeout_s: float | None = options.request_timeout_s
        self._retried: frozenset[str] = frozenset(options.retry_methods)
        self._most: int = options.max_concurrent_requests
        self._allows_stay: bool = options.allow_disconnect_disabled
        self._system = SystemPaths(options)
        self._access = access
        self._routes: RouteIndex | None = None
        self._any_route = False

    def update(self, table: RouteTable) -> None:
        """Take over a newer route table, and connect to what it leads to."""
        self._routes = RouteIndex(
            table.routes,
            lambda route: self._runtime.route_service(route, _failed),
            lambda route: self._runtime.route_service(route, websocket_failed),
            table.starting,
        )
        self._any_route = self._any_route or bool(table.routes)

    async def close(self) -> None:
        """Write out what has been noted."""
        if self._access is not None:
            await self._access.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._websocket(scope)
            return
        if scope["raw_path"].startswith(PREFIX):
            answer = self._system.answer(scope, self._routes, draining=self.draining)
            await _answer(send, answer, b"")
            return
        wishes = read_wishes(scope["headers"])
        if wishes.stays and self._allows_stay:
            send.__self__.stays = True  # type: ignore[attr-defined]  # see `_respond`
        began = time.perf_counter()
        status = _CLIENT_LEFT
        self.ongoing += 1
        try:
            status = await self._serve(scope, receive, send, wishes)
        except asyncio.CancelledError:
            if not scope["alacarte.connection"].lost:
                raise
            # Its client is gone, and so is the reason to finish; nobody waits for us.
        finally:
            self.ongoing -= 1
            if self._access is not None:
                self._note(self._access, scope, status, began, wishes)

    async def _websocket(self, scope: Scope) -> None:
        wishes = read_wishes(scope["headers"])
        began = time.perf_counter()
        status = _CLIENT_LEFT
        try:
            status = await serve_websocket(
                scope, self._find, self._root_path, self._timeout_s, wishes
            )
        finally:
            if self._access is not None:
                self._note(self._access, scope, status, began, wishes)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, wishes: Wishes) -> int:
        """Answer a request; return the status that was sent."""
        request_id = wishes.request_id
        try:
            found = wishes.refusal or self._find(scope)
            if isinstance(found, Answer):
                await _answer(send, found, request_id)
                return found.status
            call = await self._call(scope, receive, wishes, found.route)
            try:
                reply = await found.http(call)
            finally:
                scope["alacarte.app"] = call.app  # who has answered, where a route leads to several
            if reply.rest is None:
                return await self._respond(reply, scope, send, request_id)
        except ClientGone:
            return _CLIENT_LEFT
        except Exception as error:  # whatever went wrong, the client gets an answer
            answer = answer_to(error)
            if answer.status == 500:
                log.error("request %s failed", request_id.decode(), exc_info=error)
            await _answer(send, answer, request_id)
            return answer.status
        return await self._stream(reply, reply.rest, send, request_id)

    def _find(self, scope: Scope) -> Way | Answer:
        path = scope["path"]
        if self.ongoing > self._most:
            return _BUSY
        if self._routes is None:
            return NO_ROUTES
        way = self._routes.match(path)
        if way is None:
            if not self._any_route:
                return _NOTHING_YET
            return Answer(
                404, f"No application serves {path!r}. GET /-/routes lists the routes there are."
            )
        if way.methods is not None and scope["method"] not in way.methods:
            allowed = ", ".join(sorted(way.methods))
            return Answer(
                405,
                f"{scope['method']} is not allowed for {way.route.prefix}; allowed: {allowed}.",
                ((b"allow", allowed.encode()),),
            )
        if way.starting:
            text = f"The application {way.route.app!r} is starting; try again in a moment."
            return Answer(503, text, _SOON)
        return way

    async def _call(self, scope: Scope, receive: Receive, wishes: Wishes, route: Route) -> Call:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        rest = _rest_of_body(receive) if message["more_body"] else None
        return request_call(
            HTTP,
            scope,
            route,
            wishes,
            self._root_path,
            self._timeout_s,
            message["body"],
            rest,
            scope["method"] in self._retried,
        )

    async def _respond(self, reply: Reply, scope: Scope, send: Send, request_id: bytes) -> int:
        """Send a response that is all here."""
        head, body = unpack_response(reply.payload[0])
        # `send` is a method of this very request's `Exchange`.
        cycle = send.__self__  # type: ignore[attr-defined]
        extra = b"x-request-id: %b\r\n" % request_id
        await scope["alacarte.connection"].respond(cycle, head, extra, body)
        return head.status

    async def _stream(
        self, reply: Reply, rest: AsyncIterator[Message], send: Send, request_id: bytes
    ) -> int:
        """Send a response part by part, as its parts come."""
        head, body = unpack_response(reply.payload[0])
        headers = [*head.headers, (b"x-request-id", request_id)]
        try:
            await send({"type": "http.response.start", "status": head.status, "headers": headers})
            if body:
                await send({"type": "http.response.body", "body": body, "more_body": True})
            async for message in rest:
                await send({"type": "http.response.body", "body": message[0], "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except Exception as error:
            # The response has begun: all that is left is to cut it, so that the client sees it.
            log.error("request %s: the response broke off: %s", request_id.decode(), error)
        finally:
            close = getattr(rest, "aclose", None)
            if close is not None:
                await close()
        return head.status

    def _note(
        self, access: AccessLog, scope: Scope, status: int, began: float, wishes: Wishes
    ) -> None:
        way = None if self._routes is None else self._routes.match(scope["path"])
        access.note(
            scope["method"],
            scope["raw_path"],
            "" if way is None else way.route.prefix,
            status,
            time.perf_counter() - began,
            wishes.request_id,
            scope.get("alacarte.app", "" if way is None else way.route.app),
        )


def _failed(reply: Reply) -> bool:
    return status_of(reply.payload[0]) >= 500


async def _rest_of_body(receive: Receive) -> AsyncIterator[Message]:
    """Yield the body's further parts as they arrive."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        if message["body"]:
            yield (message["body"],)
        if not message["more_body"]:
            return


async def _answer(send: Send, answer: Answer, request_id: bytes) -> None:
    body = answer.text.encode()
    headers = [(b"content-length", b"%d" % len(body)), *answer.headers]
    if not any(name == b"content-type" for name, _ in answer.headers):
        headers.append(TEXT)
    if request_id:
        headers.append((b"x-request-id", request_id))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
