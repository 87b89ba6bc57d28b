"""HTTP calls in a replica: calls of user code with requests, and responses from its results.

Runs on the replica's event loop. A plain class or function gets a Starlette `Request`, and its
result becomes the response. A class decorated with `@serve.ingress` is served by its ASGI
application. An exception of user code becomes a 500 here, and only this replica's log has the
traceback; errors of alacarte go back to the proxy, which chooses their status.
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
    pack_response,
    pack_value_head,
    split_request,
    unpack_request,
    unpack_scope,
)
from .asgi_exchange import ASGIExchange
from .failure_log import handler_name, log_failure
from .ingress import Application, replica_application
from .lazy_request import LazyRequest
from .received_body import ReceivedBody
from .value_encoding import NoJsonFormError, encode_value

__all__ = ["HttpServiceBuilder"]

log = logging.getLogger("alacarte.replica")
_THREADS = 40
"""AnyIO's default number of threads."""


class HttpServiceBuilder:
    """Builds the service of HTTP requests, in a replica."""

    def bind(self, user_callable: UserCallable) -> Service:
        # AnyIO's default limit does not depend on max_ongoing_requests.
        get_replica_context().on_resize(_set_threads)
        app = replica_application(user_callable)
        if app is None:
            return FunctionHandler(user_callable).respond
        return ASGIHandler(user_callable, app).respond


class ASGIHandler:
    """Serves calls with the user's ASGI application."""

    def __init__(self, user_callable: UserCallable, app: Application) -> None:
        self._user_callable = user_callable
        self._app = app

    async def respond(self, call: Call) -> Reply:
        """Return the application's response. A `Service`."""
        scope, body = unpack_request(call.payload[0])
        receive = ReceivedBody(body, call.body)
        exchange = ASGIExchange(self._app, scope, receive, self._user_callable, call)
        try:
            return await exchange.reply()
        except RequestError:
            raise
        except Exception as error:  # user code
            return _internal_error(self._user_callable, call, error)


class FunctionHandler:
    """Serves calls with the user's `__call__`."""

    # Set by the first request.
    _function: Callable[..., Any] | None = None
    _takes_request = True
    _is_async = False
    _is_generator = False
    _name = ""

    def __init__(self, user_callable: UserCallable) -> None:
        self._user_callable = user_callable

    async def respond(self, call: Call) -> Reply:
        """Return the handler's response. A `Service`.

        One coroutine without helpers: each further coroutine adds 5 % to a short call.
        """
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
                result = await self._user_callable.in_thread(function, *args)
            if isinstance(result, Response):
                if _is_whole(result):
                    head = pack_response(result.status_code, result.raw_headers)
                    return Reply((head, result.body))
                scope = args[0].scope if args else unpack_scope(request_head)
                finish = functools.partial(_close_body, result)
                return await ASGIExchange(
                    result, scope, receive, self._user_callable, call, finish
                ).reply()
            content, (_, content_type) = encode_value(result, self._name)
            return Reply((pack_value_head(content_type, len(content)), content))
        except RequestError:
            raise
        except NoJsonFormError as error:
            # No traceback: the handler has returned, and the message names its line.
            deployment = self._user_callable.deployment
            log.error("%s failed, request %s: %s", deployment, call.request_id, error)
            return _server_error()
        except Exception as error:  # user code
            return _internal_error(self._user_callable, call, error)

    def _bind(self) -> Callable[..., Any]:
        method = self._user_callable.method("__call__")
        self._takes_request = _takes_request(method)
        self._is_async, self._is_generator = method.is_async, method.is_generator
        self._name = f"{self._user_callable.deployment}: {handler_name(method.function)}"
        self._function = method.function
        return method.function


def _set_threads(max_ongoing_requests: int) -> None:
    """Set the threads for sync functions of Starlette and FastAPI to `max_ongoing_requests`.

    At least AnyIO's default: background tasks and files need threads as well.
    """
    current_default_thread_limiter().total_tokens = max(_THREADS, max_ongoing_requests)


def _takes_request(method: Method) -> bool:
    """Return whether the handler has a parameter for the request."""
    try:
        parameters = inspect.signature(method.function).parameters.values()
    except (TypeError, ValueError):  # some callables written in C have no signature
        return True
    return any(
        parameter.kind not in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD)
        for parameter in parameters
    )


def _internal_error(user_callable: UserCallable, call: Call, error: Exception) -> Reply:
    log_failure(user_callable, call, error)
    return _server_error()


def _server_error() -> Reply:
    text = b"Internal Server Error"
    return Reply((pack_value_head(b"text/plain; charset=utf-8", len(text), 500), text))


def _is_whole(response: Response) -> bool:
    """Return whether a response's body is complete and the response has no background task."""
    return type(response).__call__ is Response.__call__ and response.background is None


async def _close_body(response: Response) -> None:
    """Close the generator of a streaming response, which Starlette does not close."""
    try:
        await close_iterator(getattr(response, "body_iterator", None))
    except Exception as error:  # raised by the user's `finally` block
        log.error("the generator of a response failed while closing", exc_info=error)
