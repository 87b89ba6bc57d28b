"""The facade: the functions and classes that `from alacarte import serve` offers to users.

Each name is loaded on first use, so that the import itself costs nothing. The names that plugins
provide (`serve.batch`, `serve.get_app_handle`) resolve here, too.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .._model.deployment import Application, Deployment, deployment
    from ..context import (
        ReplicaContext,
        RequestContext,
        get_replica_context,
        get_request_context,
    )
    from ._api import (
        RunTarget,
        attach,
        delete,
        restart_services,
        run,
        run_many,
        shutdown,
        shutdown_async,
        start,
        status,
    )

__all__ = [
    "Application",
    "Deployment",
    "ReplicaContext",
    "RequestContext",
    "RunTarget",
    "attach",
    "delete",
    "deployment",
    "get_replica_context",
    "get_request_context",
    "restart_services",
    "run",
    "run_many",
    "shutdown",
    "shutdown_async",
    "start",
    "status",
]

_CORE_NAMES = {
    "Application": "alacarte._model.deployment",
    "Deployment": "alacarte._model.deployment",
    "ReplicaContext": "alacarte.context",
    "RequestContext": "alacarte.context",
    "RunTarget": "alacarte.serve._api",
    "attach": "alacarte.serve._api",
    "delete": "alacarte.serve._api",
    "deployment": "alacarte._model.deployment",
    "get_replica_context": "alacarte.context",
    "get_request_context": "alacarte.context",
    "restart_services": "alacarte.serve._api",
    "run": "alacarte.serve._api",
    "run_many": "alacarte.serve._api",
    "shutdown": "alacarte.serve._api",
    "shutdown_async": "alacarte.serve._api",
    "start": "alacarte.serve._api",
    "status": "alacarte.serve._api",
}


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "deployment":
        from ..plugins import load_plugins

        # Before the annotations of the decorated class or function are evaluated.
        load_plugins().import_modules()
    if name in _CORE_NAMES:
        value = getattr(importlib.import_module(_CORE_NAMES[name]), name)
    else:
        from ._api_names import resolve_name

        value = resolve_name(name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    from ._api_names import plugin_names

    return sorted({*__all__, *plugin_names("")})
