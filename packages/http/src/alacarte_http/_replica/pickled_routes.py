"""Pickling of FastAPI applications by the arguments of their routes, without derived attributes.

Attributes that FastAPI derives contain locks, and addresses that differ between processes, so equal
programs would have different fingerprints. An unpickled route derives its attributes on first use.
Not earlier: its endpoint refers to the application, so each is loaded before the other is complete.
"""

from __future__ import annotations

import copyreg
import functools
import inspect
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute, APIWebSocketRoute
from starlette.routing import Mount

from .._starlette import dependants, included_router_class

__all__ = ["ROUTES", "Route", "arguments_of", "hide_self", "register_reducers", "route_class"]

Route = APIRoute | APIWebSocketRoute
"""A route of FastAPI, whose endpoint may be a method."""

ROUTES: tuple[type[Route], ...] = (APIRoute, APIWebSocketRoute)

Reduced = tuple[Callable[..., Any], tuple[object, ...], dict[str, object]]
"""A pickled object, as `__reduce__` returns it: a function, its arguments, and the state."""

_KIND = "__alacarte_kind__"
_METHOD = "__alacarte_method__"


def arguments_of(route: Route) -> dict[str, Any]:
    """Return the arguments that created a route, from the attributes of the same names."""
    base = APIRoute if isinstance(route, APIRoute) else APIWebSocketRoute
    names = list(inspect.signature(base.__init__).parameters)[1:]
    found = {name: getattr(route, name) for name in names if hasattr(route, name)}
    if getattr(route, "stream_item_type", None) is not None:
        del found["response_model"]  # FastAPI derives it from the annotation again
    return found


def route_class(route: object) -> type[Any]:
    """Return the class of a route, even of an unpickled route before its first use."""
    found: type[Any] = getattr(route, _KIND, type(route))
    return found


def hide_self(route: Route) -> None:
    """Remove `self` from the documented parameters of a route method, also after pickling."""
    setattr(route, _METHOD, True)
    name = next(iter(inspect.signature(route.endpoint).parameters))
    for dependant in dependants(route):
        shown = [field for field in dependant.query_params if field.name != name]
        dependant.query_params[:] = shown


def register_reducers(app: FastAPI) -> None:
    """Register reducers for an application, and for subclasses of routes in it."""
    copyreg.pickle(type(app), _reduce_app)
    _register_route_reducers(app.router)


def _register_route_reducers(router: APIRouter) -> None:
    for route in router.routes:
        if isinstance(route, ROUTES):
            copyreg.pickle(type(route), _reduce_route)
        elif hasattr(route, "original_router"):
            _register_route_reducers(route.original_router)
        elif isinstance(route, Mount) and isinstance(route.app, FastAPI):
            register_reducers(route.app)


def _reduce_app(app: FastAPI) -> Reduced:
    state = {**vars(app), "openapi_schema": None, "middleware_stack": None}
    return _new_instance, (type(app),), state


def _reduce_route(route: Route) -> Reduced:
    state = arguments_of(route)
    if hasattr(route, _METHOD):
        state[_METHOD] = True
    return _new_lazy_route, (route_class(route),), state


def _reduce_included(route: Any) -> Reduced:
    parts = {
        "original_router": route.original_router,
        "include_context": route.include_context,
    }
    return _new_lazy_route, (route_class(route),), parts


def _new_instance(kind: type) -> object:
    return object.__new__(kind)


def _new_lazy_route(kind: type) -> object:
    """Return a route without attributes; unpickling sets its arguments as attributes."""
    return object.__new__(_lazy_route_class(kind))


@functools.lru_cache(maxsize=64)
def _lazy_route_class(kind: type) -> type:
    """Return a class whose instances become instances of `kind` at the first missing attribute."""
    members = {
        "__slots__": (),
        "__init__": _remake,
        "__getattr__": _complete,
        "__module__": kind.__module__,
        _KIND: kind,
    }
    found = type(kind.__name__, (kind,), members)
    copyreg.pickle(found, _reduce_route if issubclass(kind, ROUTES) else _reduce_included)
    return found


def _remake(route: Any, *args: object, **kwargs: object) -> None:
    """Initialize another route of the same class, which FastAPI creates to include a router."""
    route.__class__ = route_class(route)
    route.__init__(*args, **kwargs)


def _complete(route: Route, name: str) -> object:
    """Initialize the route, and return its attribute."""
    if name.startswith("__"):  # looked up by pickle and copy before the arguments are set
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
_included = included_router_class()
if _included is not None:
    copyreg.pickle(_included, _reduce_included)
