"""The call protocols of HTTP and WebSockets.

Every process loads this module; proxies use it to classify replies. `bind` imports the part that
runs user code, in replicas only.
"""

from __future__ import annotations

from alacarte.errors import ErrorCode
from alacarte.types import Reply, Service, UserCallable

from ._head_codec import HTTP, status_of
from ._websocket.websocket_codec import WEBSOCKET, denied_with

__all__ = ["HttpCalls", "WebSocketCalls"]

_CODES = {
    501: ErrorCode.UNIMPLEMENTED,
    503: ErrorCode.UNAVAILABLE,
    504: ErrorCode.DEADLINE_EXCEEDED,
}


class HttpCalls:
    """The `CallProtocol` of HTTP requests."""

    name = HTTP

    def bind(self, user_callable: UserCallable) -> Service:
        from ._replica.http_service_builder import HttpServiceBuilder

        return HttpServiceBuilder().bind(user_callable)

    def failure_code(self, reply: Reply) -> ErrorCode | None:
        """Return the error code of a status of 500 or more, None below."""
        return _failure_code(status_of(reply.payload[0]))


class WebSocketCalls:
    """The `CallProtocol` of WebSockets."""

    name = WEBSOCKET

    def bind(self, user_callable: UserCallable) -> Service:
        from ._websocket.asgi_session import WebSocketServiceBuilder

        return WebSocketServiceBuilder().bind(user_callable)

    def failure_code(self, reply: Reply) -> ErrorCode | None:
        """Return the error code of a WebSocket handshake denied with 500 or more, else None."""
        status = denied_with(reply.payload[0])
        return None if status is None else _failure_code(status)


def _failure_code(status: int) -> ErrorCode | None:
    return None if status < 500 else _CODES.get(status, ErrorCode.INTERNAL)
