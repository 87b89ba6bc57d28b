"""All uses of private names of Starlette and FastAPI.

`tests/contract/test_private_names.py` lists these names, and fails when a new version lacks one.
"""

from __future__ import annotations

import copy
import copyreg
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.datastructures import State
from starlette.requests import Request
from starlette.routing import Mount, Router
from starlette.types import ASGIApp

if TYPE_CHECKING:
    from fastapi.dependencies.models import Dependant
    from fastapi.routing import APIRoute, APIWebSocketRoute

__all__ = ["dependants", "included_router_class", "lifespan_for", "mount_with_app", "take_body"]


def take_body(request: Request, take: Callable[[], bytes | None]) -> bytes | None:
    """Return the body that a request has read already, or the result of `take`; None without both.

    The request keeps the result of `take`, also for `stream` and `form`.
    """
    if not hasattr(request, "_body"):
        body = None if request._stream_consumed else take()
        if body is None:
            return None
        request._stream_consumed = True
        request._body = body
    return request._body


def mount_with_app(mount: Mount, app: ASGIApp) -> Mount:
    """Return a copy of a mount with another application."""
    new = copy.copy(mount)
    new.app = new._base_app = app
    return new


def lifespan_for(router: Router, old: Router) -> Any:
    """Return the lifespan of `old` for its copy `router`: the default lifespan holds its router."""
    lifespan: Any = old.lifespan_context
    return type(lifespan)(router) if getattr(lifespan, "_router", None) is old else lifespan


def dependants(route: APIRoute | APIWebSocketRoute) -> list[Dependant]:
    """Return the dependants of a FastAPI route; newer versions have a flat one as well."""
    found = (route.dependant, getattr(route, "_flat_dependant", None))
    return [each for each in found if each is not None]


def included_router_class() -> type | None:
    """Return FastAPI's class for an included router, None in older versions."""
    from fastapi import routing  # lazy: FastAPI is optional

    found: type | None = getattr(routing, "_IncludedRouter", None)
    return found


def _reduce_state(state: State) -> tuple[type[State], tuple[object, ...]]:
    return State, (state._state,)


# Without a reducer, unpickling creates an empty `State`, whose `__getattr__` recurses endlessly.
copyreg.pickle(State, _reduce_state)
