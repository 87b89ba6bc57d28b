"""HTTP calls in a replica: from the wire to the user's code, and back.

Runs on the replica's event loop. A plain class or function gets a Starlette `Request`; what it
returns becomes a response. User exceptions become a 500 here, with the traceback in this replica's
log only; errors of alacarte's own go back to the proxy, which knows their status.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import traceback
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from alacarte.errors import RemoteError, RequestError
from alacarte.types import Call, Entry, Message, Reply, Served, Service

from ._app import HTTP
from ._message import pack_response, unpack_request
from ._values import encode_value

__all__ = ["HttpProtocol"]

log = logging.getLogger("alacarte.replica")


class HttpProtocol:
    """The `CallProtocol` of HTTP requests."""

    name = HTTP

    def bind(self, served: Served) -> Service:
        handler: Handler | None = None

        async def respond(call: Call) -> Reply:
            nonlocal handler
            if handler is None:
                handler = Handler(served)
            try:
                return await handler(call)
            except RequestError:
                raise
            except Exception as error:  # the user's code
                _log_failure(served, call, error)
                return _reply(500, b"Internal Server Error", _TEXT)

        return respond


_TEXT = (b"content-type", b"text/plain; charset=utf-8")


def _log_failure(served: Served, call: Call, error: Exception) -> None:
    log.error("%s failed, request %s", served.deployment, call.request_id, exc_info=error)


class Handler:
    """Calls the user's `__call__` with requests."""

    def __init__(self, served: Served) -> None:
        entry = served.entry("__call__")
        self._served = served
        self._entry = entry
        self._takes_request = _takes_request(entry)
        # Bound once: this is the way of nearly every request.
        self._function: Callable[..., Any] = entry.function

    async def __call__(self, call: Call) -> Reply:
        scope, body = unpack_request(call.payload[0])
        receive = Body(body, call.body)
        args = (Request(scope, receive),) if self._takes_request else ()
        if self._entry.is_async:
            result = await self._function(*args)
        elif self._entry.is_generator:
            result = self._function(*args)
        else:
            result = await self._served.in_thread(self._function, *args)
        if isinstance(result, Response):
            return await self._from_response(result, scope, receive, call)
        content, content_type = encode_value(result)
        return _reply(200, content, content_type)

    async def _from_response(
        self, response: Response, scope: dict[str, Any], receive: Body, call: Call
    ) -> Reply:
        """Return the reply for a Starlette response, streaming where it streams."""
        if type(response).__call__ is Response.__call__ and response.background is None:
            # It would send one start and one body; both are here already.
            return Reply((pack_response(response.status_code, response.raw_headers), response.body))
        messages = ResponseMessages(response, scope, receive)
        try:
            start = await anext(messages)
            head = pack_response(start["status"], start.get("headers", ()))
            first = await anext(messages)
        except BaseException:
            await messages.close()
            raise
        if not first.get("more_body"):
            return Reply((head, first.get("body", b"")))
        return Reply((head, first.get("body", b"")), Bodies(messages, self._served, call))


class Body:
    """The `receive` of one request: its body, then silence until the client is gone."""

    __slots__ = ("_first", "_rest")

    def __init__(self, first: memoryview, rest: AsyncIterator[Message] | None) -> None:
        self._first: memoryview | None = first
        self._rest = rest

    async def __call__(self) -> dict[str, Any]:
        if self._first is not None:
            body, self._first = bytes(self._first), None
            return {"type": "http.request", "body": body, "more_body": self._rest is not None}
        if self._rest is not None:
            try:
                message = await anext(self._rest)
            except StopAsyncIteration:
                self._rest = None
                return {"type": "http.request", "body": b"", "more_body": False}
            return {"type": "http.request", "body": bytes(message[0]), "more_body": True}
        # A client that leaves cancels this very task, so there is nothing more to hear.
        await asyncio.get_running_loop().create_future()
        return {"type": "http.disconnect"}


def _takes_request(entry: Entry) -> bool:
    """Whether the handler takes a request; one without parameters is called without."""
    try:
        parameters = inspect.signature(entry.function).parameters.values()
    except (TypeError, ValueError):  # some callables of C have no signature
        return True
    return any(
        parameter.kind not in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD)
        for parameter in parameters
    )


def _reply(status: int, content: bytes, content_type: tuple[bytes, bytes]) -> Reply:
    headers = ((b"content-length", b"%d" % len(content)), content_type)
    return Reply((pack_response(status, headers), content))


class ResponseMessages:
    """The ASGI messages a response sends, as an iterator that holds it back.

    The response runs in a task and may be one message ahead of its reader. When its last message
    is on its way, the task goes on by itself with the response's background task.
    """

    def __init__(self, response: Response, scope: dict[str, Any], receive: Body) -> None:
        self._messages: asyncio.Queue[Any] = asyncio.Queue(maxsize=1)
        self._complete = False
        self._task = asyncio.create_task(self._run(response, scope, receive))
        _running.add(self._task)
        self._task.add_done_callback(_running.discard)

    async def _run(self, response: Response, scope: dict[str, Any], receive: Body) -> None:
        end: Exception | None = None
        try:
            await response(scope, receive, self._send)
        except asyncio.CancelledError as error:
            # A sync generator lives in a frame of Starlette's, and the traceback holds that.
            traceback.clear_frames(error.__traceback__)
            raise
        except Exception as error:  # the user's generator, or a background task
            end = error
        finally:
            await _close(response)
        if not self._complete:
            await self._messages.put(end)
        elif end is not None:
            log.error("a background task of a response failed", exc_info=end)

    async def _send(self, message: Any) -> None:
        await self._messages.put(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self._complete = True

    def __aiter__(self) -> ResponseMessages:
        return self

    async def __anext__(self) -> Any:
        message = await self._messages.get()
        if message is None:
            raise StopAsyncIteration
        if isinstance(message, Exception):
            raise message
        return message

    async def close(self) -> None:
        """End the response, unless all of it has been produced; return when it has ended."""
        if not self._complete:
            self._task.cancel()
            await asyncio.wait([self._task])


class Bodies:
    """The rest of a streaming response, as a reply's messages.

    No generator: closing one that has not begun would run nothing, and leave the response behind.
    """

    def __init__(self, messages: ResponseMessages, served: Served, call: Call) -> None:
        self._messages = messages
        self._served = served
        self._call = call
        self._ended = False

    def __aiter__(self) -> Bodies:
        return self

    async def __anext__(self) -> Message:
        while not self._ended:
            try:
                message = await anext(self._messages)
            except StopAsyncIteration:
                break
            except Exception as error:  # the user's generator
                _log_failure(self._served, self._call, error)
                # In place of the user's own, which would be pickled to travel.
                raise RemoteError(type(error).__qualname__, str(error), "") from None
            self._ended = not message.get("more_body")
            body = message.get("body", b"")
            if body:
                return (body,)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        await self._messages.close()


_running: set[asyncio.Task[None]] = set()
"""Responses at work: a loop holds its tasks only weakly."""


async def _close(response: Response) -> None:
    """Close a streaming response's generator, which Starlette leaves to the garbage collector."""
    close = getattr(getattr(response, "body_iterator", None), "aclose", None)
    if close is None:
        return
    try:
        await close()
    except Exception as error:  # the user's `finally`
        log.error("the generator of a response failed while it was closed", exc_info=error)
