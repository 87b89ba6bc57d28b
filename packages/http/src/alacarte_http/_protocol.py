"""uvicorn's HTTP protocol, with what a proxy needs to know of its connection."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from ._message import ResponseHead

__all__ = ["ProxyConnection"]

_BODILESS = frozenset((204, 304))


class ProxyConnection(HttpToolsProtocol):
    """A client's connection.

    Attributes:
        task: Works on the current request; cancelled when the client hangs up, so that the
            replica stops too. Cheaper than watching `receive()` in a task of its own.
        lost: The client has hung up.
    """

    task: asyncio.Task[Any] | None = None
    lost = False

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["alacarte.connection"] = self  # type: ignore[typeddict-unknown-key]

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        super().connection_lost(exc)
        if self.task is not None:
            self.task.cancel()

    async def respond(
        self, cycle: RequestResponseCycle, head: ResponseHead, extra: bytes, body: bytes
    ) -> None:
        """Send a whole response in one write.

        uvicorn's own way sends head and body apart and looks at each header; a write costs more
        than all that the proxy does for a small request.

        Args:
            cycle: uvicorn's state of the request.
            extra: Further header lines, each ended.

        Raises:
            ValueError: The head promises a body of another length; nothing was sent.
        """
        silent = cycle.scope["method"] == "HEAD" or head.status in _BODILESS
        if not silent and head.length not in (None, len(body)):
            raise ValueError(
                f"the response's Content-Length is {head.length}, its body has {len(body)} bytes"
            )
        if cycle.flow.write_paused and not cycle.disconnected:
            await cycle.flow.drain()
        if cycle.disconnected:
            return
        cycle.response_started = True
        cycle.waiting_for_100_continue = False
        pieces = [STATUS_LINE[head.status], _lines(cycle.default_headers), head.block, extra]
        if head.length is None and head.status not in _BODILESS:
            pieces.append(b"content-length: %d\r\n" % len(body))
        if head.close:
            cycle.keep_alive = False
        elif not cycle.keep_alive:
            pieces.append(b"connection: close\r\n")
        pieces.append(b"\r\n")
        if not silent:
            pieces.append(body)
        cycle.transport.write(b"".join(pieces))
        cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()


def _lines(headers: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])
