"""The private names of Starlette and FastAPI that this package uses, all of them here.

`tests/contract/test_private_names.py` lists them, and says which a new version no longer has.
"""

from __future__ import annotations

import copy
import copyreg
from collections.abc import Callable
from typing import Any

from starlette.datastructures import State
from starlette.requests import Request
from starlette.routing import Mount

__all__ = ["body_at_once", "dependants", "included_router", "lifespan_for", "with_application"]


def body_at_once(request: Request, take: Callable[[], bytes | None]) -> bytes | None:
    """Return the body that a request has read before, or has now from `take`; None for neither.

    What `take` returns is kept, for `stream` and `form` as well.
    """
    if not hasattr(request, "_body"):
        body = None if request._stream_consumed else take()
        if body is None:
            return None
        request._stream_consumed = True
        request._body = body
    return request._body


def with_application(mount: Mount, app: Any) -> Mount:
    """Return a copy of a mount that leads to another application."""
    new = copy.copy(mount)
    new.app = new._base_app = app
    return new


def lifespan_for(router: Any, old: Any) -> Any:
    """Return the lifespan of `old` for its copy `router`: the default one holds its router."""
    lifespan = old.lifespan_context
    return type(lifespan)(router) if getattr(lifespan, "_router", None) is old else lifespan


def dependants(route: Any) -> list[Any]:
    """Return what FastAPI reads a route's parameters from; newer versions keep it flat as well."""
    found = (route.dependant, getattr(route, "_flat_dependant", None))
    return [each for each in found if each is not None]


def included_router() -> type[Any] | None:
    """Return FastAPI's class for a router that another one includes; older versions have none."""
    from fastapi import routing  # which a replica without a FastAPI application may not have

    found: type[Any] | None = getattr(routing, "_IncludedRouter", None)
    return found


def _reduce_state(state: State) -> Any:
    return State, (state._state,)


# An empty `State`, as pickle makes one first, calls itself without end.
copyreg.pickle(State, _reduce_state)
