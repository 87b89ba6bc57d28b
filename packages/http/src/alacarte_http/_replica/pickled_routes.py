"""FastAPI applications as pickle takes them: what they were made with, and nothing derived.

What FastAPI derives holds locks, and addresses that differ each time, so that equal programs would
not be seen to be equal. A route that was unpickled derives it when it is first asked for. Not
earlier: its endpoint refers to the application, so each is loaded while the other is half there.
"""

from __future__ import annotations

import copyreg
import functools
import inspect
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute, APIWebSocketRoute
from starlette.routing import Mount

from .._starlette import dependants, included_router

__all__ = ["ROUTES", "arguments_of", "hide_self", "kind_of", "teach_pickle"]

ROUTES = (APIRoute, APIWebSocketRoute)
_KIND = "__alacarte_kind__"
_METHOD = "__alacarte_method__"


def arguments_of(route: Any) -> dict[str, Any]:
    """Return the arguments a route was made with: its attributes have the parameters' names."""
    base = APIRoute if isinstance(route, APIRoute) else APIWebSocketRoute
    names = list(inspect.signature(base.__init__).parameters)[1:]
    found = {name: getattr(route, name) for name in names if hasattr(route, name)}
    if getattr(route, "stream_item_type", None) is not None:
        del found["response_model"]  # it was found in the annotation, and will be again
    return found


def kind_of(route: Any) -> Any:
    """Return the class of a route, also of one that was unpickled and not used yet."""
    return getattr(route, _KIND, type(route))


def hide_self(route: Any) -> None:
    """Let the user's own application document a route method without `self`, for good."""
    setattr(route, _METHOD, True)
    name = next(iter(inspect.signature(route.endpoint).parameters))
    for dependant in dependants(route):
        shown = [field for field in dependant.query_params if field.name != name]
        dependant.query_params[:] = shown


def teach_pickle(app: FastAPI) -> None:
    """Let pickle take an application, and routes of the user's own classes in it."""
    copyreg.pickle(type(app), _reduce_app)
    _teach_routes(app.router)


def _teach_routes(router: Any) -> None:
    for route in router.routes:
        if isinstance(route, ROUTES):
            copyreg.pickle(type(route), _reduce_route)
        elif hasattr(route, "original_router"):
            _teach_routes(route.original_router)
        elif isinstance(route, Mount) and isinstance(route.app, FastAPI):
            teach_pickle(route.app)


def _reduce_app(app: Any) -> Any:
    state = {**vars(app), "openapi_schema": None, "middleware_stack": None}
    return _blank, (type(app),), state


def _reduce_route(route: Any) -> Any:
    state = arguments_of(route)
    if hasattr(route, _METHOD):
        state[_METHOD] = True
    return _unfinished, (kind_of(route),), state


def _reduce_included(route: Any) -> Any:
    parts = {
        "original_router": route.original_router,
        "include_context": route.include_context,
    }
    return _unfinished, (kind_of(route),), parts


def _blank(kind: type) -> Any:
    return object.__new__(kind)


def _unfinished(kind: type) -> Any:
    """Return a route without attributes; unpickling gives it the arguments it is made with."""
    return object.__new__(_unfinished_kind(kind))


@functools.lru_cache(maxsize=64)
def _unfinished_kind(kind: type) -> type:
    """Return a class whose instances become those of `kind` when an attribute is missed."""
    members = {
        "__slots__": (),
        "__init__": _make,
        "__getattr__": _finish,
        "__module__": kind.__module__,
        _KIND: kind,
    }
    found = type(kind.__name__, (kind,), members)
    copyreg.pickle(found, _reduce_route if issubclass(kind, ROUTES) else _reduce_included)
    return found


def _make(route: Any, *args: Any, **kwargs: Any) -> None:
    """Make another route of the same class, as FastAPI does where it includes a router."""
    route.__class__ = kind_of(route)
    route.__init__(*args, **kwargs)


def _finish(route: Any, name: str) -> Any:
    """Make the route, and return the attribute that was missed."""
    if name.startswith("__"):  # asked for by pickle and copy, before the arguments are there
        raise AttributeError(name)
    unfinished = type(route)
    kind, arguments = getattr(unfinished, _KIND), dict(vars(route))
    is_method = arguments.pop(_METHOD, False)
    route.__class__ = kind
    try:
        kind.__init__(route, **arguments)
    except BaseException:
        route.__class__ = unfinished
        raise
    if is_method:
        hide_self(route)
    return getattr(route, name)


for _kind in ROUTES:
    copyreg.pickle(_kind, _reduce_route)
copyreg.pickle(FastAPI, _reduce_app)
_included = included_router()
if _included is not None:
    copyreg.pickle(_included, _reduce_included)
