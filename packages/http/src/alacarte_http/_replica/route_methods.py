"""FastAPI routes that are methods of a class, which FastAPI itself does not support.

Each route is created again with the method bound to the replica's instance. FastAPI then sees no
`self`, and a request has no extra cost. Dependencies that are methods are bound as well.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import typing
from collections import ChainMap
from collections.abc import Callable, Mapping
from types import FunctionType, MethodType
from typing import Any, TypeGuard

from fastapi import APIRouter, FastAPI, params
from starlette.routing import BaseRoute, Mount

from alacarte.errors import ConfigError

from .._starlette import mount_with_app
from .application_copies import copy_app, copy_router
from .pickled_routes import ROUTES, Route, arguments_of, hide_self, register_reducers, route_class

__all__ = ["bind_app", "snapshot_app"]

Change = Callable[[BaseRoute], BaseRoute | None]
"""Returns the replacement of a route, None to remove the route."""


def snapshot_app(app: FastAPI | APIRouter, target: type) -> FastAPI:
    """Return a copy with the application's present routes, without methods of other classes.

    Raises:
        ConfigError: A route method of the class has no `self`.
    """
    owner = Owner(target)
    seen: set[FunctionType] = set()

    def change(route: BaseRoute) -> BaseRoute | None:
        if not isinstance(route, ROUTES):
            return route
        if owner.owns(route.endpoint):
            owner.check(route)
            hide_self(route)
        elif owner.is_foreign(route.endpoint):
            return None
        for function in (route.endpoint, *(item.dependency for item in route.dependencies or ())):
            _resolve_annotations(function, owner, seen)
        return route

    if isinstance(app, APIRouter):
        whole = FastAPI()
        whole.include_router(_copy_changed(app, change, owner))
        app = whole
    new = _copy_application(app, change, owner)
    register_reducers(new)
    return new


def bind_app(app: FastAPI, instance: object) -> FastAPI:
    """Return a copy of the application whose routes call methods of the instance."""
    owner = Owner(type(instance))
    binder = Binder(instance, owner)
    return _copy_application(app, binder.route, owner)


class Owner:
    """A class with its bases, which own functions as methods."""

    def __init__(self, target: type) -> None:
        self._target = target
        self._classes = {
            (kind.__module__, name) for kind in target.__mro__ for name in _qualified_names(kind)
        }
        self._statics = {
            id(value.__func__)
            for kind in target.__mro__
            for value in vars(kind).values()
            if isinstance(value, staticmethod)
        }

    @property
    def names(self) -> Mapping[str, object]:
        """The names that the classes' bodies define."""
        return ChainMap(*(dict(vars(kind)) for kind in self._target.__mro__))

    def owns(self, function: object) -> TypeGuard[FunctionType]:
        """Return whether a function is a method of the class or of a base, by qualified name.

        Not by identity: a class may define a method's name several times, with a route each.
        """
        if not isinstance(function, FunctionType) or id(function) in self._statics:
            return False
        return (function.__module__, _parent(function)) in self._classes

    def is_foreign(self, function: object) -> bool:
        """Return whether a function is a method of another class."""
        if not isinstance(function, FunctionType) or id(function) in self._statics:
            return False
        parent = _parent(function)
        if not parent or parent.endswith("<locals>") or self.owns(function):
            return False
        names = list(inspect.signature(function).parameters)
        return names[:1] == ["self"]

    def check(self, route: Route) -> None:
        """Check that a route method takes `self`.

        Raises:
            ConfigError: The method's first parameter is not `self`.
        """
        first = next(iter(inspect.signature(route.endpoint).parameters.values()), None)
        if first is not None and first.kind in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD):
            if first.name == "self":
                return
            if first.annotation is first.empty and first.default is first.empty:
                return
        raise ConfigError(
            f"Method {route.endpoint.__qualname__} of route {route.path!r} must take self as its "
            "first parameter, or be a staticmethod: its class is decorated with @serve.ingress."
        )


def _qualified_names(kind: type) -> set[str]:
    """Return the names of a class within the qualified names of its methods.

    After pickling by value, a class defined in a function is called `Model` instead of
    `main.<locals>.Model`, but the qualified names of its methods are unchanged.
    """
    functions = (getattr(value, "__func__", value) for value in vars(kind).values())
    parents = {_parent(item) for item in functions if isinstance(item, FunctionType)}
    own = {name for name in parents if name.rpartition(".")[2] == kind.__name__}
    return {kind.__qualname__, *own}


def _parent(function: FunctionType) -> str:
    return function.__qualname__.rpartition(".")[0]


class Binder:
    """Binds routes and their dependencies to one instance."""

    def __init__(self, instance: object, owner: Owner) -> None:
        self._instance = instance
        self._owner = owner
        self._methods: dict[FunctionType, MethodType] = {}

    def route(self, route: BaseRoute) -> BaseRoute:
        """Return a copy of the route with its method and dependencies bound."""
        if not isinstance(route, ROUTES):
            return route
        arguments = arguments_of(route)
        arguments["endpoint"] = self._bind(route.endpoint)
        if arguments.get("dependencies"):
            arguments["dependencies"] = [self._depends(item) for item in arguments["dependencies"]]
        new: BaseRoute = route_class(route)(**arguments)
        for name, value in vars(route).items():
            if name not in vars(new):  # attributes that the user has set
                setattr(new, name, value)
        return new

    def _bind(self, function: object) -> object:
        if not self._owner.owns(function):
            return function
        if function not in self._methods:
            self._methods[function] = MethodType(self._with_bound(function), self._instance)
        return self._methods[function]

    def _with_bound(self, function: FunctionType) -> FunctionType:
        """Return the function, or a copy whose dependencies are bound methods."""
        signature = inspect.signature(function)
        changed = [self._parameter(item) for item in signature.parameters.values()]
        if all(a is b for a, b in zip(changed, signature.parameters.values(), strict=True)):
            return function
        new = FunctionType(
            function.__code__,
            function.__globals__,
            function.__name__,
            function.__defaults__,
            function.__closure__,
        )
        new.__dict__.update(function.__dict__)
        new.__kwdefaults__ = function.__kwdefaults__
        new.__annotations__ = function.__annotations__
        new.__qualname__, new.__module__ = function.__qualname__, function.__module__
        new.__doc__ = function.__doc__
        new.__signature__ = signature.replace(parameters=changed)  # type: ignore[attr-defined]
        return new

    def _parameter(self, parameter: inspect.Parameter) -> inspect.Parameter:
        default = self._depends(parameter.default)
        if default is not parameter.default:
            parameter = parameter.replace(default=default)
        if typing.get_origin(parameter.annotation) is typing.Annotated:
            kind, *extras = typing.get_args(parameter.annotation)
            new = [self._depends(item) for item in extras]
            if any(a is not b for a, b in zip(new, extras, strict=True)):
                parameter = parameter.replace(annotation=typing.Annotated[(kind, *new)])
        return parameter

    def _depends(self, value: object) -> object:
        if not isinstance(value, params.Depends):
            return value
        method = self._bind(value.dependency)
        if method is value.dependency:
            return value
        new = copy.copy(value)
        object.__setattr__(new, "dependency", method)  # frozen in newer versions
        return new


def _resolve_annotations(function: object, owner: Owner, seen: set[FunctionType]) -> None:
    """Replace string annotations by the objects that they name, also in dependencies.

    A string needs the globals of its module, but a function that is pickled by value keeps only the
    globals that its code uses. A string may also name another method of the class.
    """
    if not isinstance(function, FunctionType) or function in seen:
        return
    seen.add(function)
    for name, annotation in list(function.__annotations__.items()):
        if isinstance(annotation, str):
            function.__annotations__[name] = _resolve_annotation(annotation, function, owner)
    for parameter in inspect.signature(function).parameters.values():
        for item in (parameter.default, *typing.get_args(parameter.annotation)):
            if isinstance(item, params.Depends):
                _resolve_annotations(item.dependency, owner, seen)


def _resolve_annotation(annotation: str, function: FunctionType, owner: Owner) -> object:
    for names in ({}, owner.names if owner.owns(function) else {}):
        try:
            return eval(annotation, function.__globals__, names)  # noqa: S307  the user's code
        except Exception:  # a name defined later, or only for type checkers
            continue
    return annotation


# --- copies -----------------------------------------------------------------------------


def _copy_application(app: FastAPI, change: Change, owner: Owner) -> FastAPI:
    new = copy_app(app)
    new.openapi_schema = None
    # FastAPI's own pages are closures over the original application.
    new.router = copy_router(app.router, [])
    new.setup()
    pages = {route.path: route for route in new.router.routes if hasattr(route, "path")}
    old = _copy_changed(app.router, change, owner)
    new.router.routes = [
        pages.get(getattr(route, "path", None), route) if _is_page(route) else route
        for route in old.routes
    ]
    return new


def _is_page(route: object) -> bool:
    name = getattr(getattr(route, "endpoint", None), "__qualname__", "")
    return str(name).startswith("FastAPI.setup.<locals>.")


def _copy_changed(router: APIRouter, change: Change, owner: Owner) -> APIRouter:
    """Return a copy of a router with each route changed, also routes of included routers."""
    changed = [_change_route(route, change, owner) for route in router.routes]
    return copy_router(router, _drop_replaced([new for new in changed if new is not None], owner))


def _change_route(route: Any, change: Change, owner: Owner) -> BaseRoute | None:
    if isinstance(route, Mount) and isinstance(route.app, FastAPI):
        return mount_with_app(route, _copy_application(route.app, change, owner))
    inner = getattr(route, "original_router", None)
    if inner is None:
        return change(route)
    # Newer versions of FastAPI keep included routers as objects of their own.
    router = _copy_changed(inner, change, owner)
    context = dataclasses.replace(route.include_context, included_router=router)
    new: BaseRoute = route_class(route)(original_router=router, include_context=context)
    return new


def _drop_replaced(routes: list[BaseRoute], owner: Owner) -> list[BaseRoute]:
    """Drop route methods that a later method with the same path replaces.

    Duplicates come from a class body that runs again in a notebook, and from a route that a
    subclass overrides.
    """
    seen: set[tuple[str, frozenset[str]]] = set()
    kept = []
    for route in reversed(routes):
        if isinstance(route, ROUTES):
            function = getattr(route.endpoint, "__func__", route.endpoint)
            key = (route.path, frozenset(getattr(route, "methods", None) or ("websocket",)))
            if owner.owns(function):
                if key in seen:
                    continue
                seen.add(key)
        kept.append(route)
    return kept[::-1]
