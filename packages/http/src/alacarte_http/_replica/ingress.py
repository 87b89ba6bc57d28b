"""`@serve.ingress`: an ASGI application in front of the user's class.

The decorator notes the application on the class and returns the class itself, so that it travels
like any other. Each replica makes an application of its own from it, bound to its instance.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from alacarte.context import get_replica_context
from alacarte.errors import ConfigError
from alacarte.types import UserCallable

from .lifespan import Lifespan

__all__ = ["Application", "application_of", "hosted", "ingress"]

ASGIApp = Callable[[Any, Any, Any], Awaitable[Any]]
Target = TypeVar("Target", bound=type)

_MARK = "__alacarte_ingress__"
_BUILD = "__serve_build_asgi_app__"


def ingress(app: Any = None) -> Callable[..., Any]:
    """Let an ASGI application answer the HTTP requests of a class; put it under `deployment`.

    FastAPI routes that are methods of the class, or of its bases, get the replica's instance as
    `self`. The application is taken as it is now: what is added to it later is not seen. Without a
    class, `ingress(app)()` returns an empty one to be deployed.

    Args:
        app: A FastAPI or Starlette application, an `APIRouter`, any ASGI callable, or a function
            without parameters that returns one and is called in each replica. Left out, the
            class has a method `__serve_build_asgi_app__` that returns one.

    Raises:
        ConfigError: It decorates no class, a class that has `__call__`, or a route method that
            has no `self`; or there is no application.
    """
    if inspect.isclass(app):
        raise ConfigError(
            f"serve.ingress takes an ASGI application, and was given the class {app.__name__}: "
            "write @serve.ingress(app) above it."
        )
    if app is not None and not callable(app) and not _is_router(app):
        raise ConfigError(
            f"serve.ingress takes a FastAPI or Starlette application, an APIRouter, an ASGI "
            f"callable or a function that returns one, not {app!r}."
        )

    def decorate(target: Target | None = None) -> Target:
        found: Any = _shell() if target is None else target
        _check(found, app)
        setattr(found, _MARK, Ingress(_taken(app, found)))
        return found  # type: ignore[no-any-return]

    return decorate


class Ingress:
    """The application of a class, as it was when the class was decorated.

    Attributes:
        app: None when the class builds it.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    def build(self, instance: Any) -> ASGIApp:
        """Return the application for a replica with this instance."""
        app, source = self.app, "the function given to serve.ingress"
        if app is None:
            app, source = getattr(instance, _BUILD)(), f"{type(instance).__qualname__}.{_BUILD}"
        elif _is_builder(app):
            app = app()
        else:
            return _for_replica(app, instance)
        if _is_router(app):
            app = _taken(app, type(instance))
        if not callable(app) or inspect.isclass(app):
            if inspect.iscoroutine(app):
                app.close()
            raise TypeError(f"{source} must return an ASGI application, not {app!r}.")
        return _for_replica(app, instance)


class Application:
    """A replica's application, with the state of its lifespan in each request.

    Attributes:
        app: The user's.
        lifespan: Of it.
    """

    def __init__(self, app: ASGIApp, name: str) -> None:
        self.app = app
        self.lifespan = Lifespan(app, name)

    def __call__(self, scope: Any, receive: Any, send: Any) -> Awaitable[Any]:
        scope["state"] = self.lifespan.state.copy()
        return self.app(scope, receive, send)


_applications: WeakKeyDictionary[Any, Application] = WeakKeyDictionary()


def application_of(served: UserCallable) -> ASGIApp | None:
    """Return the ASGI application of this replica; None for a plain handler.

    It takes scopes of `http` and `websocket`, and puts the state of its lifespan into them.
    """
    return hosted(served)


def hosted(served: UserCallable) -> Application | None:
    """Return the application of this replica, made when first asked for; None if it has none.

    Raises:
        TypeError: The user's function returned none.
        Exception: What the user's function raised.
    """
    mark = getattr(served.instance, _MARK, None)
    if not isinstance(mark, Ingress) or inspect.isfunction(served.instance):
        return None
    found = _applications.get(served)
    if found is None:
        found = Application(mark.build(served.instance), str(served.deployment))
        _applications[served] = found
        replica = get_replica_context()
        replica.on_open(found.lifespan.start)
        replica.on_close(found.lifespan.stop)
    return found


# --- what was given ---------------------------------------------------------------------


def _check(target: Any, app: Any) -> None:
    if not inspect.isclass(target):
        hint = ""
        if hasattr(target, "func_or_class"):
            hint = " Put @serve.deployment above @serve.ingress, not below."
        raise ConfigError(f"@serve.ingress decorates a class, not {target!r}.{hint}")
    if "__call__" in _names(target):
        raise ConfigError(
            f"{target.__qualname__} has __call__ and is decorated with @serve.ingress; its "
            "requests go to the application, so rename __call__ and make it a route."
        )
    if app is None and not hasattr(target, _BUILD):
        raise ConfigError(
            f"@serve.ingress() was given no application for {target.__qualname__}: pass one, or "
            f"define a method {_BUILD}(self) that returns one."
        )


def _names(target: type) -> set[str]:
    return {name for kind in target.__mro__ for name in vars(kind)}


def _taken(app: Any, target: type) -> Any:
    """Return the application as it is now, with routes of this class and of no other."""
    if _is_fastapi(app) or _is_router(app):
        from .fastapi import taken

        return taken(app, target)
    return _copied(app)


def _for_replica(app: Any, instance: Any) -> ASGIApp:
    """Return the application with its routes bound to the instance."""
    if _is_fastapi(app):
        from .fastapi import bound

        app = bound(app, instance)
    else:
        app = _copied(app)
    if _is_starlette(app):
        from .nested import add_handlers

        add_handlers(app)
    return app  # type: ignore[no-any-return]


def _copied(app: Any) -> Any:
    """Return a Starlette application of its own, with the parts shared; all else as it is."""
    if not _is_starlette(app):
        return app
    from .nested import copied

    return copied(app)


def _is_builder(app: Any) -> bool:
    """Whether it is a function to be called without arguments, rather than an application."""
    if not inspect.isroutine(app) or inspect.iscoroutinefunction(app):
        return False
    try:
        inspect.signature(app).bind()
    except (TypeError, ValueError):
        return False
    return True


def _is_fastapi(app: Any) -> bool:
    return _is_of("fastapi", "FastAPI", app)


def _is_router(app: Any) -> bool:
    return _is_of("fastapi", "APIRouter", app)


def _is_starlette(app: Any) -> bool:
    return _is_of("starlette.applications", "Starlette", app)


def _is_of(module: str, name: str, app: Any) -> bool:
    # Not imported: who has an object of it has imported it already.
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(app, kind)


def _shell() -> type:
    """Return a new class for an application that needs none."""

    class Ingress:
        """Keeps what it is constructed with."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.args = args
            self.kwargs = kwargs

    return Ingress
