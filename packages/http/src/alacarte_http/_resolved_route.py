"""The route of a request, resolved to its services. Values only."""

from __future__ import annotations

from typing import NamedTuple

from alacarte.types import Route, Service

__all__ = ["ResolvedRoute"]


class ResolvedRoute(NamedTuple):
    """A route with its services.

    Attributes:
        http: Service of the route's requests.
        websocket: Service of the route's WebSockets.
        methods: Allowed HTTP methods, None for all. GET includes HEAD, as in Starlette.
        starting: None of the route's applications has been ready yet.
        is_task_free: `http` may be called outside a task, unless the call has a deadline; see
            `Runtime.is_task_free`.
        root_path: Path under which the application is mounted, sent in each request.
    """

    route: Route
    http: Service
    websocket: Service
    methods: frozenset[str] | None
    starting: bool
    is_task_free: bool = False
    root_path: bytes = b""
