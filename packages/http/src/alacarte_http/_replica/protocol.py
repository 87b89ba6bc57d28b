"""HTTP calls in a replica: from the wire to the user's code, and back.

Runs on the replica's event loop. A plain class or function gets a Starlette `Request`; what it
returns becomes a response. A class under `@serve.ingress` is served by its ASGI application. User
exceptions become a 500 here, with the traceback in this replica's log only; errors of alacarte's
own go back to the proxy, which knows their status.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from anyio.to_thread import current_default_thread_limiter
from starlette.requests import Request
from starlette.responses import Response

from alacarte.context import get_replica_context
from alacarte.errors import RequestError
from alacarte.types import Call, Entry, Reply, Served, Service

from .._message import HTTP, pack_response, unpack_request
from .asgi import Exchange
from .failures import handler_name, log_failure
from .ingress import Application, hosted
from .receive import Body
from .values import NoJsonFormError, encode_value

__all__ = ["HttpProtocol"]

log = logging.getLogger("alacarte.replica")
_THREADS = 40
"""AnyIO's number where nobody sets another."""
_TEXT = (b"content-type", b"text/plain; charset=utf-8")


class HttpProtocol:
    """The `CallProtocol` of HTTP requests."""

    name = HTTP

    def bind(self, served: Served) -> Service:
        # AnyIO has so many threads for the loop, whatever the deployment takes at a time.
        get_replica_context().on_resize(_set_threads)
        app = hosted(served)
        handler: Service | None = None if app is None else Hosted(served, app)

        async def respond(call: Call) -> Reply:
            nonlocal handler
            try:
                if handler is None:
                    handler = Handler(served)
                return await handler(call)
            except RequestError:
                raise
            except NoJsonFormError as error:
                # No traceback: the handler has returned, and the message names its line.
                log.error("%s failed, request %s: %s", served.deployment, call.request_id, error)
                return _reply(500, b"Internal Server Error", _TEXT)
            except Exception as error:  # the user's code
                log_failure(served, call, error)
                return _reply(500, b"Internal Server Error", _TEXT)

        return respond


class Hosted:
    """Answers with the user's ASGI application."""

    def __init__(self, served: Served, app: Application) -> None:
        self._served = served
        self._app = app

    def __call__(self, call: Call) -> Awaitable[Reply]:
        scope, body = unpack_request(call.payload[0])
        return Exchange(self._app, scope, Body(body, call.body), self._served, call).reply()


class Handler:
    """Calls the user's `__call__` with requests."""

    def __init__(self, served: Served) -> None:
        entry = served.entry("__call__")
        self._served = served
        self._entry = entry
        self._takes_request = _takes_request(entry)
        self._name = f"{served.deployment}: {handler_name(entry.function)}"
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
        content, content_type = encode_value(result, self._name)
        return _reply(200, content, content_type)

    async def _from_response(
        self, response: Response, scope: dict[str, Any], receive: Body, call: Call
    ) -> Reply:
        """Return the reply for a Starlette response, streaming where it streams."""
        if type(response).__call__ is Response.__call__ and response.background is None:
            # It would send one start and one body; both are here already.
            return Reply((pack_response(response.status_code, response.raw_headers), response.body))
        finish = functools.partial(_close, response)
        return await Exchange(response, scope, receive, self._served, call, finish).reply()


def _set_threads(max_ongoing_requests: int) -> None:
    """Let Starlette and FastAPI run as many sync functions as the replica takes requests.

    Never fewer than AnyIO's own number: background tasks, which run on after their request, and
    files take threads as well.
    """
    current_default_thread_limiter().total_tokens = max(_THREADS, max_ongoing_requests)


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


async def _close(response: Response) -> None:
    """Close a streaming response's generator, which Starlette leaves to the garbage collector."""
    close = getattr(getattr(response, "body_iterator", None), "aclose", None)
    if close is None:
        return
    try:
        await close()
    except Exception as error:  # the user's `finally`
        log.error("the generator of a response failed while it was closed", exc_info=error)
