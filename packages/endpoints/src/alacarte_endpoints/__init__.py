"""Backends, endpoints and split traffic, with the client that `serve.start` returns."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._callable import accept_batch
    from ._client import Client, connect
    from ._current_replica import get_current_backend_tag, get_current_replica_tag
    from ._handle import EndpointHandle
    from ._request import Arguments, ServeRequest
    from .config import BackendConfig, CondaEnv
    from .traffic import delete_traffic, set_traffic, shadow_traffic

__all__ = [
    "Arguments",
    "BackendConfig",
    "Client",
    "CondaEnv",
    "EndpointHandle",
    "ServeRequest",
    "accept_batch",
    "connect",
    "delete_traffic",
    "get_current_backend_tag",
    "get_current_replica_tag",
    "set_traffic",
    "shadow_traffic",
]

_MODULES = {
    "Arguments": "_request",
    "BackendConfig": "config",
    "Client": "_client",
    "CondaEnv": "config",
    "EndpointHandle": "_handle",
    "ServeRequest": "_request",
    "accept_batch": "_callable",
    "connect": "_client",
    "delete_traffic": "traffic",
    "get_current_backend_tag": "_current_replica",
    "get_current_replica_tag": "_current_replica",
    "set_traffic": "traffic",
    "shadow_traffic": "traffic",
}


def __getattr__(name: str) -> object:
    # Lazy, since every process imports this package for its hooks, and few need pydantic.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
