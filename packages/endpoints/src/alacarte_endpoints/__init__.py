"""Backends behind endpoints, and traffic split between them: the client of `serve.start`."""

from __future__ import annotations

from ._callable import accept_batch
from ._client import Client, connect
from ._handle import EndpointHandle
from ._here import get_current_backend_tag, get_current_replica_tag
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
