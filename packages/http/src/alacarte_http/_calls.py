"""From a client's request to the call that carries it, of whichever protocol, and where it goes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import NamedTuple

from alacarte.types import Buffer, Call, Message, Route, Service

from ._edge.head import Head, Peer
from ._message import pack_request
from ._request_options import RequestOptions

__all__ = ["Request", "ResolvedRoute"]


class ResolvedRoute(NamedTuple):
    """Where a path leads.

    Attributes:
        http: Answers requests.
        websocket: Answers WebSockets.
        methods: HTTP methods allowed, None for all. GET brings HEAD along, as in Starlette.
        starting: None of the applications that it leads to has answered yet.
        is_plain: A call of `http` may be begun outside of a task, unless it has a deadline; see
            `Runtime.is_plain`.
    """

    route: Route
    http: Service
    websocket: Service
    methods: frozenset[str] | None
    starting: bool
    is_plain: bool = False


class Request:
    """A request that has found its route: all that its call is made of, but its id and its body.

    Args:
        protocol: Name of the `CallProtocol`.
        scheme: Of the URL, without TLS.
        root_path: See `HTTPOptions`.
        timeout_s: See `HTTPOptions.request_timeout_s`; a client may only shorten it.
        idempotent: See `HTTPOptions.retry_methods`.
    """

    __slots__ = ("idempotent", "options", "packed", "protocol", "resolved", "timeout_s")

    def __init__(
        self,
        protocol: str,
        head: Head,
        peer: Peer,
        resolved: ResolvedRoute,
        options: RequestOptions,
        *,
        scheme: str,
        root_path: str,
        timeout_s: float | None,
        idempotent: bool = False,
    ) -> None:
        prefix = resolved.route.prefix
        if options.timeout_s is not None and (timeout_s is None or options.timeout_s < timeout_s):
            timeout_s = options.timeout_s
        self.protocol = protocol
        self.resolved = resolved
        self.options = options
        self.timeout_s = timeout_s
        self.idempotent = idempotent
        self.packed = pack_request(
            head.method,
            head.path,
            head.raw_path,
            head.query,
            head.version,
            head.headers,
            root_path=root_path if prefix == "/" else root_path + prefix,
            scheme=scheme + "s" if peer.secure else scheme,
            client=peer.client,
            server=peer.server,
        )

    def call(
        self,
        request_id: str,
        body: Buffer = b"",
        rest: AsyncIterator[Message] | None = None,
        *,
        alone: bool = False,
    ) -> Call:
        """Return the call for one such request.

        Args:
            request_id: The client's, or a new one.
            body: The part of its body that is here.
            rest: What follows.
            alone: See `Call`.
        """
        options, timeout_s, route = self.options, self.timeout_s, self.resolved.route
        return Call(
            self.protocol,
            (self.packed, body) if body else (self.packed,),
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
            self.idempotent,
            alone,
        )
