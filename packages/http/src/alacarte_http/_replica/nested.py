"""Starlette and FastAPI applications in a replica: copies, and handlers for errors of calls."""

from __future__ import annotations

import copy
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from alacarte.errors import RequestError, ServeError

from .._errors import error_response
from .._starlette import lifespan_for

__all__ = ["add_error_handlers", "copy_app", "copy_router"]


def copy_app(app: Any) -> Any:
    """Return a copy with its own lists of routes, handlers and middleware; the rest is shared.

    Replicas of the local cluster share the user's modules, but each needs its own application.
    """
    new = copy.copy(app)
    new.router = copy_router(app.router, list(app.router.routes))
    new.exception_handlers = dict(app.exception_handlers)
    new.user_middleware = list(app.user_middleware)
    new.middleware_stack = None
    return new


def copy_router(router: Any, routes: list[Any]) -> Any:
    """Return a copy of a router with other routes."""
    new = copy.copy(router)
    new.routes = routes
    new.middleware_stack = _rebase_stack(router.middleware_stack, router, new)
    new.lifespan_context = lifespan_for(new, router)
    return new


def _rebase_stack(stack: Any, router: Any, new: Any) -> Any:
    """Return a copy of a router's middleware that calls the new router instead of the old one."""
    if getattr(stack, "__self__", None) is router:
        return getattr(new, stack.__name__)
    inner = getattr(stack, "app", None)
    if inner is None:
        return stack
    moved = copy.copy(stack)
    moved.app = _rebase_stack(inner, router, new)
    return moved


def add_error_handlers(app: Starlette) -> None:
    """Respond to uncaught errors of calls to other deployments, unless a user's handler does.

    Starlette prefers a user's handler of a more specific type.
    """
    if not {RequestError, ServeError} & app.exception_handlers.keys():
        app.exception_handlers[RequestError] = _respond_to_error


async def _respond_to_error(request: Request, error: Exception) -> Response:
    response = error_response(error)
    if response.status == 500 or request.scope["type"] != "http":
        raise error
    headers = {name.decode(): value.decode() for name, value in response.headers}
    return Response(response.text, response.status, headers, "text/plain")
