"""Builder of the calls that carry HTTP requests and WebSockets."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable

from alacarte.types import Buffer, Call, Message

from ._edge.head import Head, Peer
from ._head_codec import HTTP, pack_request
from ._request_options import RequestOptions
from ._resolved_route import ResolvedRoute
from ._websocket.websocket_codec import WEBSOCKET

__all__ = ["CallBuilder"]


class CallBuilder:
    """Builds the calls of a proxy's requests. Pure except for the clock.

    Args:
        timeout_s: See `HTTPOptions.request_timeout_s`; a client can only shorten it.
        retry_methods: See `HTTPOptions.retry_methods`.
    """

    def __init__(self, timeout_s: float | None, retry_methods: Iterable[str]) -> None:
        self._timeout_s = timeout_s
        self._retry_methods = frozenset(retry_methods)

    def timeout_s(self, options: RequestOptions) -> float | None:
        """Return the time for a request's response to begin, None for no limit."""
        if options.timeout_s is None:
            return self._timeout_s
        return _shorter(self._timeout_s, options.timeout_s)

    def http_call(
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
            request_id: The client's id, or a new one.
            body: The part of the body that has arrived.
            rest: Further parts of the body.

        Raises:
            ValueError: The head contains a line feed.
        """
        packed = pack_request(
            head.method,
            head.raw_path,
            head.query,
            head.version,
            head.headers,
            root_path=resolved.root_path,
            peer=peer.packed,
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
            head.method in self._retry_methods,
        )

    def websocket_call(
        self,
        head: Head,
        peer: Peer,
        resolved: ResolvedRoute,
        options: RequestOptions,
        request_id: str,
        messages: AsyncIterator[Message],
    ) -> Call:
        """Return the call of a WebSocket handshake, with the client's messages as body."""
        call = self.http_call(head, peer, resolved, options, request_id, rest=messages)
        call.protocol, call.idempotent, call.no_shadow = WEBSOCKET, False, True
        return call


def _shorter(limit_s: float | None, timeout_s: float) -> float:
    return timeout_s if limit_s is None else min(limit_s, timeout_s)
