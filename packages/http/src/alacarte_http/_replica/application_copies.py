"""Copies of Starlette and FastAPI applications, for each replica of a process."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Router

from .._starlette import lifespan_for

__all__ = ["copy_app", "copy_router"]

AppT = TypeVar("AppT", bound=Starlette)
RouterT = TypeVar("RouterT", bound=Router)


def copy_app(app: AppT) -> AppT:
    """Return a copy with its own lists of routes, handlers and middleware; the rest is shared.

    Replicas of the local cluster share the user's modules, but each needs its own application.
    """
    new = copy.copy(app)
    new.router = copy_router(app.router, list(app.router.routes))
    new.exception_handlers = dict(app.exception_handlers)
    new.user_middleware = list(app.user_middleware)
    new.middleware_stack = None
    return new


def copy_router(router: RouterT, routes: list[BaseRoute]) -> RouterT:
    """Return a copy of a router with other routes."""
    new = copy.copy(router)
    new.routes = routes
    new.middleware_stack = _rebase_stack(router.middleware_stack, router, new)
    new.lifespan_context = lifespan_for(new, router)
    return new


def _rebase_stack(stack: Any, router: Router, new: Router) -> Any:
    """Return a copy of a router's middleware that calls the new router instead of the old one."""
    if getattr(stack, "__self__", None) is router:
        return getattr(new, stack.__name__)
    inner = getattr(stack, "app", None)
    if inner is None:
        return stack
    moved = copy.copy(stack)
    moved.app = _rebase_stack(inner, router, new)
    return moved
