"""FastAPI routes that are methods of a class: FastAPI knows functions only.

A route is made again with the method bound to the replica's instance, so FastAPI sees no `self` and
a request costs nothing more. Where a dependency is a method too, it is bound as well.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import typing
from collections import ChainMap
from collections.abc import Callable, Mapping
from types import FunctionType, MethodType
from typing import Any

from fastapi import APIRouter, FastAPI, params
from starlette.routing import Mount

from alacarte.errors import ConfigError

from .._starlette import with_application
from .nested import copied, copied_router
from .pickled_routes import ROUTES, arguments_of, hide_self, kind_of, teach_pickle

__all__ = ["bound", "taken"]

Change = Callable[[Any], Any]
"""From a route to what stands in its place, None for nothing."""


def taken(app: FastAPI | APIRouter, target: type) -> FastAPI:
    """Return an application with the routes there are now, those of other classes left out.

    Raises:
        ConfigError: A route method of the class has no `self`.
    """
    owner = Owner(target)
    seen: set[Any] = set()

    def change(route: Any) -> Any:
        if not isinstance(route, ROUTES):
            return route
        if owner.owns(route.endpoint):
            owner.check(route)
            hide_self(route)
        elif owner.is_foreign(route.endpoint):
            return None
        for function in (route.endpoint, *(item.dependency for item in route.dependencies or ())):
            _settle(function, owner, seen)
        return route

    if isinstance(app, APIRouter):
        whole = FastAPI()
        whole.include_router(_router(app, change, owner))
        app = whole
    new = _application(app, change, owner)
    teach_pickle(new)
    return new


def bound(app: FastAPI, instance: Any) -> FastAPI:
    """Return an application whose routes of the instance's class call its methods."""
    owner = Owner(type(instance))
    binder = Binder(instance, owner)
    return _application(app, binder.route, owner)


class Owner:
    """A class and its bases, as the owner of functions."""

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
    def names(self) -> Mapping[str, Any]:
        """What the bodies of the classes define."""
        return ChainMap(*(dict(vars(kind)) for kind in self._target.__mro__))

    def owns(self, function: Any) -> bool:
        """Whether it is a method of the class or of a base, by its name.

        Not by identity: several methods may have the same name, and each its route.
        """
        if not isinstance(function, FunctionType) or id(function) in self._statics:
            return False
        return (function.__module__, _parent(function)) in self._classes

    def is_foreign(self, function: Any) -> bool:
        """Whether it is a method of some other class."""
        if not isinstance(function, FunctionType) or id(function) in self._statics:
            return False
        parent = _parent(function)
        if not parent or parent.endswith("<locals>") or self.owns(function):
            return False
        names = list(inspect.signature(function).parameters)
        return names[:1] == ["self"]

    def check(self, route: Any) -> None:
        """Raise ConfigError for a route method that does not take `self`."""
        first = next(iter(inspect.signature(route.endpoint).parameters.values()), None)
        if first is not None and first.kind in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD):
            if first.name == "self":
                return
            if first.annotation is first.empty and first.default is first.empty:
                return
        raise ConfigError(
            f"{route.endpoint.__qualname__}, route {route.path!r}: methods of a class behind "
            "@serve.ingress must take self as their first parameter (or be a staticmethod)."
        )


def _qualified_names(kind: type) -> set[str]:
    """Return the names a class has in the qualified names of its methods.

    A class that was made in a function, `main.<locals>.Model`, is called `Model` only once it has
    travelled by value. Its methods are not.
    """
    functions = (getattr(value, "__func__", value) for value in vars(kind).values())
    parents = {_parent(item) for item in functions if isinstance(item, FunctionType)}
    own = {name for name in parents if name.rpartition(".")[2] == kind.__name__}
    return {kind.__qualname__, *own}


def _parent(function: FunctionType) -> str:
    return function.__qualname__.rpartition(".")[0]


class Binder:
    """Binds routes and their dependencies to one instance."""

    def __init__(self, instance: Any, owner: Owner) -> None:
        self._instance = instance
        self._owner = owner
        self._methods: dict[Any, Any] = {}

    def route(self, route: Any) -> Any:
        """Return the route, made again: with its method bound where it has one."""
        if not isinstance(route, ROUTES):
            return route
        arguments = arguments_of(route)
        arguments["endpoint"] = self._bind(route.endpoint)
        if arguments.get("dependencies"):
            arguments["dependencies"] = [self._depends(item) for item in arguments["dependencies"]]
        new = kind_of(route)(**arguments)
        for name, value in vars(route).items():
            if name not in vars(new):  # of the user's own
                setattr(new, name, value)
        return new

    def _bind(self, function: Any) -> Any:
        if not self._owner.owns(function):
            return function
        if function not in self._methods:
            self._methods[function] = MethodType(self._with_bound(function), self._instance)
        return self._methods[function]

    def _with_bound(self, function: FunctionType) -> FunctionType:
        """Return the function, or a copy that asks for bound methods where it asks for methods."""
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

    def _depends(self, value: Any) -> Any:
        if not isinstance(value, params.Depends):
            return value
        method = self._bind(value.dependency)
        if method is value.dependency:
            return value
        new = copy.copy(value)
        object.__setattr__(new, "dependency", method)  # frozen in newer versions
        return new


def _settle(function: Any, owner: Owner, seen: set[Any]) -> None:
    """Put what is meant in place of annotations that are text; in dependencies, too.

    Text means something only among the globals of its module, and a function that travels by
    value takes along but those that its code uses. Text may name other methods of the class, too.
    """
    if not isinstance(function, FunctionType) or function in seen:
        return
    seen.add(function)
    for name, annotation in list(function.__annotations__.items()):
        if isinstance(annotation, str):
            function.__annotations__[name] = _meaning(annotation, function, owner)
    for parameter in inspect.signature(function).parameters.values():
        for item in (parameter.default, *typing.get_args(parameter.annotation)):
            if isinstance(item, params.Depends):
                _settle(item.dependency, owner, seen)


def _meaning(annotation: str, function: FunctionType, owner: Owner) -> Any:
    for names in ({}, owner.names if owner.owns(function) else {}):
        try:
            return eval(annotation, function.__globals__, names)  # noqa: S307  the user's code
        except Exception:  # a name that is not defined yet, or only for type checkers
            continue
    return annotation


# --- copies -----------------------------------------------------------------------------


def _application(app: FastAPI, change: Change, owner: Owner) -> FastAPI:
    new: FastAPI = copied(app)
    new.openapi_schema = None
    # FastAPI's own pages are functions that hold the application they were made for.
    new.router = copied_router(app.router, [])
    new.setup()
    pages = {route.path: route for route in new.router.routes if hasattr(route, "path")}
    old = _router(app.router, change, owner)
    new.router.routes = [
        pages.get(route.path, route) if _is_page(route) else route for route in old.routes
    ]
    return new


def _is_page(route: Any) -> bool:
    name = getattr(getattr(route, "endpoint", None), "__qualname__", "")
    return str(name).startswith("FastAPI.setup.<locals>.")


def _router(router: Any, change: Change, owner: Owner) -> Any:
    """Return a copy of a router with each of its routes changed, those of its routers too."""
    changed = [_changed(route, change, owner) for route in router.routes]
    return copied_router(router, _latest([new for new in changed if new is not None], owner))


def _changed(route: Any, change: Change, owner: Owner) -> Any:
    if isinstance(route, Mount) and isinstance(route.app, FastAPI):
        return with_application(route, _application(route.app, change, owner))
    inner = getattr(route, "original_router", None)
    if inner is None:
        return change(route)
    # Newer versions of FastAPI keep an included router as it is.
    router = _router(inner, change, owner)
    context = dataclasses.replace(route.include_context, included_router=router)
    return kind_of(route)(original_router=router, include_context=context)


def _latest(routes: list[Any], owner: Owner) -> list[Any]:
    """Leave out methods that a later one of the same path replaces.

    That is what a class body executed again in a notebook gives, and a route overridden in a
    subclass.
    """
    seen: set[Any] = set()
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
