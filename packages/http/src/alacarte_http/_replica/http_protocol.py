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
from collections.abc import Callable
from typing import Any

from anyio.to_thread import current_default_thread_limiter
from starlette.responses import Response

from alacarte.aio import close_iterator
from alacarte.context import get_replica_context
from alacarte.errors import RequestError
from alacarte.types import Call, Method, Reply, Service, UserCallable

from .._head_codec import (
    HTTP,
    pack_response,
    pack_value_head,
    split_request,
    unpack_request,
    unpack_scope,
)
from .asgi import ASGIExchange
from .failure_log import handler_name, log_failure
from .ingress import Application, hosted
from .receive import ReceivedBody
from .request import LazyRequest
from .values import NoJsonFormError, encode_value

__all__ = ["HttpProtocol"]

log = logging.getLogger("alacarte.replica")
_THREADS = 40
"""AnyIO's number where nobody sets another."""


class HttpProtocol:
    """The `CallProtocol` of HTTP requests."""

    name = HTTP

    def bind(self, served: UserCallable) -> Service:
        # AnyIO has so many threads for the loop, whatever the deployment takes at a time.
        get_replica_context().on_resize(_set_threads)
        app = hosted(served)
        return Handler(served).respond if app is None else Hosted(served, app).respond


class Hosted:
    """Answers with the user's ASGI application."""

    def __init__(self, served: UserCallable, app: Application) -> None:
        self._served = served
        self._app = app

    async def respond(self, call: Call) -> Reply:
        """The `Service` of these calls."""
        scope, body = unpack_request(call.payload[0])
        exchange = ASGIExchange(self._app, scope, ReceivedBody(body, call.body), self._served, call)
        try:
            return await exchange.reply()
        except RequestError:
            raise
        except Exception as error:  # the user's code
            return _failed(self._served, call, error)


class Handler:
    """Calls the user's `__call__` with requests."""

    # Bound once, with the first request: this is the way of nearly every one.
    _function: Callable[..., Any] | None = None
    _takes_request = True
    _is_async = False
    _is_generator = False
    _name = ""

    def __init__(self, served: UserCallable) -> None:
        self._served = served

    async def respond(self, call: Call) -> Reply:
        """The `Service` of these calls. One coroutine: each costs a twentieth of a short call."""
        try:
            function = self._function or self._bind()
            request_head, body = split_request(call.payload[0])
            receive = ReceivedBody(body, call.body)
            args = (LazyRequest(request_head, receive),) if self._takes_request else ()
            if self._is_async:
                result = await function(*args)
            elif self._is_generator:
                result = function(*args)
            else:
                result = await self._served.in_thread(function, *args)
            if isinstance(result, Response):
                if _is_whole(result):
                    head = pack_response(result.status_code, result.raw_headers)
                    return Reply((head, result.body))
                scope = args[0].scope if args else unpack_scope(request_head)
                finish = functools.partial(_close, result)
                return await ASGIExchange(
                    result, scope, receive, self._served, call, finish
                ).reply()
            content, (_, content_type) = encode_value(result, self._name)
            return Reply((pack_value_head(content_type, len(content)), content))
        except RequestError:
            raise
        except NoJsonFormError as error:
            # No traceback: the handler has returned, and the message names its line.
            log.error("%s failed, request %s: %s", self._served.deployment, call.request_id, error)
            return _server_error()
        except Exception as error:  # the user's code
            return _failed(self._served, call, error)

    def _bind(self) -> Callable[..., Any]:
        entry = self._served.entry("__call__")
        self._takes_request = _takes_request(entry)
        self._is_async, self._is_generator = entry.is_async, entry.is_generator
        self._name = f"{self._served.deployment}: {handler_name(entry.function)}"
        self._function = entry.function
        return entry.function


def _set_threads(max_ongoing_requests: int) -> None:
    """Let Starlette and FastAPI run as many sync functions as the replica takes requests.

    Never fewer than AnyIO's own number: background tasks, which run on after their request, and
    files take threads as well.
    """
    current_default_thread_limiter().total_tokens = max(_THREADS, max_ongoing_requests)


def _takes_request(entry: Method) -> bool:
    """Whether the handler takes a request; one without parameters is called without."""
    try:
        parameters = inspect.signature(entry.function).parameters.values()
    except (TypeError, ValueError):  # some callables of C have no signature
        return True
    return any(
        parameter.kind not in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD)
        for parameter in parameters
    )


def _failed(served: UserCallable, call: Call, error: Exception) -> Reply:
    log_failure(served, call, error)
    return _server_error()


def _server_error() -> Reply:
    text = b"Internal Server Error"
    return Reply((pack_value_head(b"text/plain; charset=utf-8", len(text), 500), text))


def _is_whole(response: Response) -> bool:
    """Whether a response would send one start and one body, both of which are here already."""
    return type(response).__call__ is Response.__call__ and response.background is None


async def _close(response: Response) -> None:
    """Close a streaming response's generator, which Starlette leaves to the garbage collector."""
    try:
        await close_iterator(getattr(response, "body_iterator", None))
    except Exception as error:  # the user's `finally`
        log.error("the generator of a response failed while it was closed", exc_info=error)
