"""From a client's request to the call that carries it, of whichever protocol, and where it goes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable
from typing import NamedTuple

from alacarte.types import Buffer, Call, Message, Route, Service

from ._edge.head import Head, Peer
from ._head_codec import HTTP, pack_request
from ._request_options import RequestOptions
from ._websocket.websocket_codec import WEBSOCKET

__all__ = ["Calls", "ResolvedRoute"]


class ResolvedRoute(NamedTuple):
    """Where a path leads.

    Attributes:
        http: Answers requests.
        websocket: Answers WebSockets.
        methods: HTTP methods allowed, None for all. GET brings HEAD along, as in Starlette.
        starting: None of the applications that it leads to has answered yet.
        is_plain: A call of `http` may be begun outside of a task, unless it has a deadline; see
            `Runtime.is_plain`.
        root_path: What the application is told that it is mounted under.
    """

    route: Route
    http: Service
    websocket: Service
    methods: frozenset[str] | None
    starting: bool
    is_plain: bool = False
    root_path: bytes = b""


class Calls:
    """Makes the calls of a proxy's requests. Pure but for the clock.

    Args:
        timeout_s: See `HTTPOptions.request_timeout_s`; a client may only shorten it.
        retried: See `HTTPOptions.retry_methods`.
    """

    def __init__(self, timeout_s: float | None, retried: Iterable[str]) -> None:
        self._timeout_s = timeout_s
        self._retried = frozenset(retried)

    def limit_s(self, options: RequestOptions) -> float | None:
        """Return the time that a request has for its response to begin, None for no limit."""
        if options.timeout_s is None:
            return self._timeout_s
        return _shorter(self._timeout_s, options.timeout_s)

    def http(
        self,
        head: Head,
        peer: Peer,
        resolved: ResolvedRoute,
        options: RequestOptions,
        request_id: str,
        body: Buffer = b"",
        rest: AsyncIterator[Message] | None = None,
    ) -> Call:
        """Return the call of a request.

        Args:
            request_id: The client's, or a new one.
            body: The part of the request's body that is here.
            rest: The parts that follow.

        Raises:
            ValueError: The head holds a line feed.
        """
        packed = pack_request(
            head.method,
            head.raw_path,
            head.query,
            head.version,
            head.headers,
            root_path=resolved.root_path,
            ends=peer.packed,
        )
        route, timeout_s = resolved.route, self._timeout_s
        if options.timeout_s is not None:
            timeout_s = _shorter(timeout_s, options.timeout_s)
        return Call(
            HTTP,
            (packed, body) if body else (packed,),
            "__call__",
            rest,
            True,
            request_id,
            route.app,
            route.prefix,
            options.model_id,
            options.routing_key,
            None if timeout_s is None else time.monotonic() + timeout_s,
            timeout_s,
            False,
            head.method in self._retried,
        )

    def websocket(
        self,
        head: Head,
        peer: Peer,
        resolved: ResolvedRoute,
        options: RequestOptions,
        request_id: str,
        messages: AsyncIterator[Message],
    ) -> Call:
        """Return the call of a WebSocket: its handshake, and the messages of the client."""
        call = self.http(head, peer, resolved, options, request_id, rest=messages)
        call.protocol, call.idempotent, call.no_shadow = WEBSOCKET, False, True
        return call


def _shorter(limit_s: float | None, timeout_s: float) -> float:
    return timeout_s if limit_s is None else min(limit_s, timeout_s)
