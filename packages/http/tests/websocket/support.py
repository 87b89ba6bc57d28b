"""Serving of an ASGI application for tests of WebSockets."""

from __future__ import annotations

import inspect
from typing import Any

from alacarte import serve

UPGRADE = (
    b"GET %b HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
"""A handshake; the path is to be filled in."""


def serve_app(site: Any, app: Any, prefix: str = "/", **options: Any) -> None:
    """Serve an ASGI application or a class with one, with options of a deployment."""
    behind = app if inspect.isclass(app) else serve.ingress(app)()
    options = {"max_ongoing_requests": 128, **options}
    site.run(serve.deployment(**options)(behind).bind(), prefix)
