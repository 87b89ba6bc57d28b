"""From a client's request to the call that carries it, of whichever protocol, and where it goes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from alacarte.types import Buffer, Call, Message, Route, Service

from ._message import pack_request
from ._wishes import Wishes

__all__ = ["Way", "request_call"]


class Way(NamedTuple):
    """Where a path leads.

    Attributes:
        http: Answers requests.
        websocket: Answers WebSockets.
        methods: HTTP methods allowed, None for all. GET brings HEAD along, as in Starlette.
        starting: None of the applications that it leads to has answered yet.
    """

    route: Route
    http: Service
    websocket: Service
    methods: frozenset[str] | None
    starting: bool


def request_call(
    protocol: str,
    scope: Any,
    route: Route,
    wishes: Wishes,
    root_path: str,
    timeout_s: float | None,
    body: Buffer = b"",
    rest: AsyncIterator[Message] | None = None,
    idempotent: bool = False,
    alone: bool = False,
) -> Call:
    """Return the call for a request that takes `route`.

    Args:
        scope: ASGI's.
        root_path: See `HTTPOptions`.
        timeout_s: See `HTTPOptions.request_timeout_s`; a client may only shorten it.
        body: The part of its body that is here.
        rest: What follows.
        idempotent: See `HTTPOptions.retry_methods`.
        alone: See `Call`.
    """
    head = pack_request(scope, root_path + ("" if route.prefix == "/" else route.prefix))
    if wishes.timeout_s is not None and (timeout_s is None or wishes.timeout_s < timeout_s):
        timeout_s = wishes.timeout_s
    return Call(
        protocol,
        (head, body) if body else (head,),
        "__call__",
        rest,
        True,
        wishes.request_id.decode(),
        route.app,
        route.prefix,
        wishes.model_id,
        wishes.routing_key,
        None if timeout_s is None else time.monotonic() + timeout_s,
        timeout_s,
        False,
        idempotent,
        alone,
    )
