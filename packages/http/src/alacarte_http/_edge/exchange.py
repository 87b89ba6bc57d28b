"""One request and its response, as the application sees them."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING, Any

from alacarte.types import Buffer

from .._message import ResponseHead
from .._uvicorn import STATUS_LINE

if TYPE_CHECKING:
    from .connection import ProxyConnection

__all__ = ["BODILESS", "Exchange"]

log = logging.getLogger("alacarte.http")
BODILESS = frozenset((204, 304))
SMALL = 64 * 1024
"""Up to so many bytes of a body are copied beside what goes with them, to leave in one write."""
_PARTS = 64
"""Parts of a request's body that are kept apart."""
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BREAKS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_PLAIN = b"content-type: text/plain; charset=utf-8\r\n"
_NO_BODY = -1


class Exchange:
    """A request and its response: ASGI's `receive` and `send` on a client's connection.

    uvicorn's is made for any application; this one makes no event and no buffer for a request
    without a body, and knows what HTTP/1.0 must not be sent.

    Attributes:
        scope: ASGI's.
        keep_alive: The client allows another request after this one.
        more_body: Parts of the request's body are still to come.
        waiting_for_100_continue: The client sends no body before it is told to.
        response_started: Its head is written.
        response_complete: All of it is written.
        disconnected: The client is gone, or was already answered otherwise.
        wrote: Something was written since this was last set to False.
        task: Runs the application.
        stays: It is to be finished even when its client goes away.
    """

    __slots__ = (
        "_body",
        "_body_bytes",
        "_changed",
        "_chunked",
        "_connection",
        "_given",
        "_left",
        "disconnected",
        "keep_alive",
        "more_body",
        "response_complete",
        "response_started",
        "scope",
        "stays",
        "task",
        "waiting_for_100_continue",
        "wrote",
    )

    def __init__(
        self,
        connection: ProxyConnection,
        scope: dict[str, Any],
        *,
        keep_alive: bool,
        more_body: bool,
        expects_continue: bool,
    ) -> None:
        self._connection = connection
        self.scope = scope
        self.keep_alive = keep_alive
        self.more_body = more_body
        self.waiting_for_100_continue = expects_continue
        self.response_started = False
        self.response_complete = False
        self.disconnected = False
        self.wrote = False
        self.stays = False
        self.task: asyncio.Task[None] | None = None
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._changed: asyncio.Event | None = None
        self._given = False
        self._chunked = False
        self._left: int | None = None

    async def run(self, app: Any) -> None:
        """Run the application until it has answered."""
        try:
            await app(self.scope, self.receive, self.send)
            if not self.response_complete and not self.disconnected:
                await self._give_up("it returned without an answer")
        except asyncio.CancelledError:
            if not self.disconnected:
                self._connection.cut()
            raise
        except Exception as error:  # of the application's; the client gets an answer
            log.error("the HTTP application failed", exc_info=error)
            await self._give_up("it raised")
        finally:
            self._connection.tasks.discard(self.task)

    async def _give_up(self, reason: str) -> None:
        if self.response_started:
            log.debug("a response is cut: %s", reason)
            self._connection.cut()
        else:
            self.keep_alive = False
            head = ResponseHead(500, _PLAIN, None, False)
            await self._connection.respond(self, head, b"", b"Internal Server Error\n")

    # --- the request

    @property
    def body_size(self) -> int:
        """Bytes that have arrived and were not taken."""
        return self._body_bytes

    def feed(self, data: bytes) -> None:
        """Take a part of the body from the client."""
        self.waiting_for_100_continue = False
        if len(self._body) == _PARTS:
            self._body = [b"".join(self._body)]  # parts of a byte take forty
        self._body.append(data)
        self._body_bytes += len(data)
        self.wake()

    def wake(self) -> None:
        """Let `receive` look again."""
        if self._changed is not None:
            self._changed.set()

    async def receive(self) -> dict[str, Any]:
        """ASGI's receive."""
        if self.waiting_for_100_continue and self.more_body and not self.disconnected:
            self.waiting_for_100_continue = False
            self._connection.write_interim()
        while not self.response_complete:
            if self.disconnected and (self._given or not self.stays):
                break
            if not self._given and (self._body or not self.more_body):
                body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
                self._body = []
                self._body_bytes = 0
                if self.more_body:
                    self._connection.flow.resume_reading()
                self._given = not self.more_body
                return {"type": "http.request", "body": body, "more_body": self.more_body}
            if self._changed is None:
                self._changed = asyncio.Event()
            await self._changed.wait()
            self._changed.clear()
        return {"type": "http.disconnect"}

    # --- the response

    async def send(self, message: Any) -> None:
        """ASGI's send.

        Raises:
            ValueError: A header would break out of its line.
            RuntimeError: The message does not come at this point, or the body has another
                length than Content-Length says.
        """
        flow = self._connection.flow
        if flow.write_paused and not self.disconnected:
            await flow.drain()
        if self.disconnected:
            return
        if self.response_complete:
            raise RuntimeError(f"{message['type']} was sent after the end of the response.")
        if self.response_started:
            _expect(message, "http.response.body")
            self._write_body(message.get("body", b""), message.get("more_body", False))
        else:
            _expect(message, "http.response.start")
            self._write_head(message["status"], message.get("headers", ()))

    def _write_head(self, status: int, headers: Any) -> None:
        lines = [STATUS_LINE[status], self._connection.common_lines()]
        length = None
        close = False
        for name, value in headers:
            if not _NAME.fullmatch(name) or _BREAKS.search(value):
                raise ValueError(f"{name!r}: {value!r} is no header of a response.")
            lowered = name.lower()
            if lowered == b"transfer-encoding":
                continue  # ours to choose
            if lowered == b"content-length":
                length = int(value)
            elif lowered == b"connection":
                close = b"close" in [token.strip() for token in value.lower().split(b",")]
            lines.append(b"%b: %b\r\n" % (lowered, value))
        bodiless = self.scope["method"] == "HEAD" or status in BODILESS
        if length is None and not bodiless and self.scope["http_version"] == "1.1":
            self._chunked = True
            lines.append(b"transfer-encoding: chunked\r\n")
        if bodiless:
            self._left = _NO_BODY
        elif length is not None:
            self._left = length
        if self.ends_connection(close) and not close:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        self.response_started = self.wrote = True
        self._connection.transport.write(b"".join(lines))

    def _write_body(self, body: Buffer, more: bool) -> None:
        transport = self._connection.transport
        self.wrote = True
        if self._chunked:
            pieces: list[Buffer] = [b"%x\r\n" % len(body), body, b"\r\n"] if body else []
            if not more:
                pieces.append(b"0\r\n\r\n")
            if len(body) <= SMALL:
                transport.write(b"".join(pieces))
            else:
                for piece in pieces:
                    transport.write(piece)
        elif self._left != _NO_BODY:
            if self._left is not None:
                if len(body) > self._left or (not more and len(body) < self._left):
                    raise RuntimeError("the response's body differs from its Content-Length")
                self._left -= len(body)
            transport.write(body)
        if not more:
            self.complete()

    def ends_connection(self, close: bool) -> bool:
        """Decide, when the head is written, whether the connection ends with this response.

        Args:
            close: The application wants it.
        """
        if close or self.waiting_for_100_continue or self._connection.ends_with(self):
            # Who was not told to go on may send the body or the next request: nobody can tell.
            self.keep_alive = False
        return not self.keep_alive

    def complete(self) -> None:
        """Note that the response is written."""
        self.response_complete = True
        self.wake()
        self._connection.answered(self)


def _expect(message: Any, kind: str) -> None:
    if message["type"] != kind:
        raise RuntimeError(f"{message['type']} was sent where {kind} is due.")
