"""Starlette applications (FastAPI's are such) in a replica: a copy, and errors of nested calls."""

from __future__ import annotations

import copy
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from alacarte.errors import RequestError, ServeError

from .._errors import answer_to
from .._starlette import lifespan_for

__all__ = ["add_handlers", "copied", "copied_router"]


def copied(app: Any) -> Any:
    """Return a copy with routes, handlers and middleware lists of its own; the rest is shared.

    Replicas of the local cluster share the user's modules, and each needs its own.
    """
    new = copy.copy(app)
    new.router = copied_router(app.router, list(app.router.routes))
    new.exception_handlers = dict(app.exception_handlers)
    new.user_middleware = list(app.user_middleware)
    new.middleware_stack = None
    return new


def copied_router(router: Any, routes: list[Any]) -> Any:
    """Return a copy of a router with other routes."""
    new = copy.copy(router)
    new.routes = routes
    new.middleware_stack = _moved(router.middleware_stack, router, new)
    new.lifespan_context = lifespan_for(new, router)
    return new


def _moved(stack: Any, router: Any, new: Any) -> Any:
    """Return a router's stack of middleware, leading to the copy rather than to the router."""
    if getattr(stack, "__self__", None) is router:
        return getattr(new, stack.__name__)
    inner = getattr(stack, "app", None)
    if inner is None:
        return stack
    moved = copy.copy(stack)
    moved.app = _moved(inner, router, new)
    return moved


def add_handlers(app: Starlette) -> None:
    """Answer errors of nested calls that nobody catches, unless the user's handlers do.

    More specific handlers of the user's go first by themselves.
    """
    if not {RequestError, ServeError} & app.exception_handlers.keys():
        app.exception_handlers[RequestError] = _answer


async def _answer(request: Request, error: Exception) -> Response:
    answer = answer_to(error)
    if answer.status == 500 or request.scope["type"] != "http":
        raise error
    headers = {name.decode(): value.decode() for name, value in answer.headers}
    return Response(answer.text, answer.status, headers, "text/plain")
