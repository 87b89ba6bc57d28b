"""`@serve.ingress`: an ASGI application that serves the HTTP requests of a class.

The decorator stores the application on the class and returns the class, which is pickled like any
other. Each replica builds its own application from it, bound to the replica's instance.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard, TypeVar, overload
from weakref import WeakKeyDictionary

from starlette.types import ASGIApp, Receive, Scope, Send

from alacarte.context import get_replica_context
from alacarte.errors import ConfigError
from alacarte.types import UserCallable

from .lifespan import Lifespan

if TYPE_CHECKING:
    from fastapi import APIRouter, FastAPI
    from starlette.applications import Starlette

__all__ = ["Application", "ingress", "replica_application"]

Target = TypeVar("Target", bound=type)

_MARK = "__alacarte_ingress__"
_BUILD = "__serve_build_asgi_app__"


class IngressDecorator(Protocol):
    """The decorator that `ingress` returns."""

    @overload
    def __call__(self, target: Target, /) -> Target: ...
    @overload
    def __call__(self) -> type: ...


def ingress(app: object = None) -> IngressDecorator:
    """Serve the HTTP requests of a class with an ASGI application; place it below `deployment`.

    FastAPI routes that are methods of the class or its bases get the replica's instance as `self`.
    The decorator copies the application: routes that are added later are not served.
    `ingress(app)()` returns a new class for an application without a class.

    Args:
        app: A FastAPI or Starlette application, an `APIRouter`, any ASGI callable, or a function
            without parameters that returns one of these and is called in each replica. If omitted,
            the method `__serve_build_asgi_app__` of the class returns the application.

    Raises:
        ConfigError: The decorated object is not a class, or is a class with `__call__` or with a
            route method without `self`; or there is no application.
    """
    if inspect.isclass(app):
        raise ConfigError(
            f"serve.ingress got the class {app.__name__} instead of an ASGI application. "
            f"Write @serve.ingress(app) above the class {app.__name__}."
        )
    if app is not None and not callable(app) and not _is_router(app):
        raise ConfigError(
            "serve.ingress takes a FastAPI or Starlette application, an APIRouter, an ASGI "
            f"callable or a function that returns one of these, not {app!r}."
        )

    def decorate(target: Target | None = None) -> Target:
        found: Any = _empty_class() if target is None else target
        _check(found, app)
        setattr(found, _MARK, Ingress(_snapshot(app, found)))
        return found  # type: ignore[no-any-return]

    return decorate


class Ingress:
    """The application of a class, copied when the class was decorated.

    Attributes:
        app: The application, None if the class builds it.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    def build(self, instance: object) -> ASGIApp:
        """Return the application for a replica with this instance."""
        app, source = self.app, "the function given to serve.ingress"
        if app is None:
            app, source = getattr(instance, _BUILD)(), f"{type(instance).__qualname__}.{_BUILD}"
        elif _is_builder(app):
            app = app()
        else:
            return _for_replica(app, instance)
        if _is_router(app):
            app = _snapshot(app, type(instance))
        if not callable(app) or inspect.isclass(app):
            if inspect.iscoroutine(app):
                app.close()
            raise TypeError(f"{source} must return an ASGI application, not {app!r}.")
        return _for_replica(app, instance)


class Application:
    """A replica's ASGI application, with the state of its lifespan in each request's scope.

    Attributes:
        app: The user's application.
        lifespan: Lifespan of the application.
    """

    def __init__(self, app: ASGIApp, name: str) -> None:
        self.app = app
        self.lifespan = Lifespan(app, name)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        scope["state"] = self.lifespan.state.copy()
        return self.app(scope, receive, send)


_applications: WeakKeyDictionary[UserCallable, Application] = WeakKeyDictionary()


def replica_application(user_callable: UserCallable) -> Application | None:
    """Return this replica's ASGI application, built by the first call; None for a plain handler.

    Raises:
        TypeError: The user's function returned no application.
        Exception: The exception of the user's function.
    """
    mark = getattr(user_callable.instance, _MARK, None)
    if not isinstance(mark, Ingress) or inspect.isfunction(user_callable.instance):
        return None
    found = _applications.get(user_callable)
    if found is None:
        found = Application(mark.build(user_callable.instance), str(user_callable.deployment))
        _applications[user_callable] = found
        replica = get_replica_context()
        replica.on_open(found.lifespan.start)
        replica.on_close(found.lifespan.stop)
    return found


# --- kinds of applications --------------------------------------------------------------


def _check(target: object, app: object) -> None:
    if not inspect.isclass(target):
        hint = ""
        if hasattr(target, "func_or_class"):
            hint = " Put @serve.deployment above @serve.ingress, not below."
        raise ConfigError(f"@serve.ingress must decorate a class, not {target!r}.{hint}")
    if "__call__" in _attribute_names(target):
        raise ConfigError(
            f"Class {target.__qualname__} has __call__ and is decorated with @serve.ingress, so "
            "__call__ would never run. Rename __call__ and make it a route of the application."
        )
    if app is None and not hasattr(target, _BUILD):
        raise ConfigError(
            f"@serve.ingress() has no application for class {target.__qualname__}. Pass an "
            f"application, or define a method {_BUILD}(self) that returns one."
        )


def _attribute_names(target: type) -> set[str]:
    return {name for kind in target.__mro__ for name in vars(kind)}


def _snapshot(app: Any, target: type) -> object:
    """Return a copy of the application with routes of this class and of no other class."""
    if _is_fastapi(app) or _is_router(app):
        from .route_methods import snapshot_app

        return snapshot_app(app, target)
    return _copy(app)


def _for_replica(app: ASGIApp, instance: object) -> ASGIApp:
    """Return a copy of the application with its routes bound to the instance."""
    if _is_fastapi(app):
        from .route_methods import bind_app

        app = bind_app(app, instance)
    else:
        app = _copy(app)
    if _is_starlette(app):
        from .error_handlers import add_error_handlers

        add_error_handlers(app)
    return app


def _copy(app: ASGIApp) -> ASGIApp:
    """Return a shallow copy of a Starlette application; any other application itself."""
    if not _is_starlette(app):
        return app
    from .application_copies import copy_app

    return copy_app(app)


def _is_builder(app: object) -> bool:
    """Return whether `app` is a function without parameters that builds an application."""
    if not inspect.isroutine(app) or inspect.iscoroutinefunction(app):
        return False
    try:
        inspect.signature(app).bind()
    except (TypeError, ValueError):
        return False
    return True


def _is_fastapi(app: object) -> TypeGuard[FastAPI]:
    return _is_instance("fastapi", "FastAPI", app)


def _is_router(app: object) -> TypeGuard[APIRouter]:
    return _is_instance("fastapi", "APIRouter", app)


def _is_starlette(app: object) -> TypeGuard[Starlette]:
    return _is_instance("starlette.applications", "Starlette", app)


def _is_instance(module: str, name: str, app: object) -> bool:
    # Without an import: if the module was never imported, `app` is not an instance.
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(app, kind)


def _empty_class() -> type:
    """Return a new class for an application without a class."""

    class Ingress:
        """A class that stores its arguments."""

        def __init__(self, *args: object, **kwargs: object) -> None:
            self.args = args
            self.kwargs = kwargs

    return Ingress
