"""An exchange: one request and its response, as the handler sees them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Protocol, cast

from alacarte.types import Buffer

from .._head_codec import HEAD_END, PREFIX_BYTES, ResponseHead, unpack_prefix, unpack_response
from .flow import Flow
from .head import Head, Peer
from .response_starts import BODILESS, ResponseStarts

__all__ = ["ClientDisconnected", "Exchange", "ExchangeHandler", "Work"]

log = logging.getLogger("alacarte.http")
HIGH_WATER_BYTES = 64 * 1024
"""Buffered bytes of a request's body above which reading from the socket is paused."""
SMALL_BYTES = 64 * 1024
"""Size up to which a body is copied behind its head, so that both leave in one write."""
_MAX_PARTS = 64
"""Parts of a request's body that are buffered before they are joined."""
_FAILURE = b"Internal Server Error\n"
_PLAIN = b"content-type: text/plain; charset=utf-8\r\n"
_NO_BODY, _CHUNKED, _UNTIL_CLOSE = -1, -2, -3
"""Framing of a response's body without Content-Length, in place of the remaining size."""


class ClientDisconnected(Exception):
    """The client has disconnected, or its request was refused while the handler worked."""


class Work(Protocol):
    """The running work on an exchange: a task, or a call that runs without a task."""

    def cancel(self) -> object:
        """Cancel the work: the response cannot be delivered."""


class ClientConnection(Protocol):
    """The methods of a client's connection that an exchange calls.

    Attributes:
        peer: Addresses of client and server.
        starts: Status line and date of responses.
        flow: Flow control in both directions.
    """

    peer: Peer
    starts: ResponseStarts
    flow: Flow

    def write(self, data: Buffer) -> None:
        """Write to the client."""

    def closes_after(self, exchange: Exchange) -> bool:
        """Return whether the connection closes after the response of this exchange."""

    def write_continue(self) -> None:
        """Send 100 Continue, so that the client sends its body."""

    def spawn(self, exchange: Exchange, work: Coroutine[object, None, None]) -> asyncio.Task[None]:
        """Run the work on an exchange in a task."""

    def on_response_complete(self, exchange: Exchange) -> None:
        """Go on with the connection after a complete response."""

    def abort_response(self, exchange: Exchange) -> None:
        """Close the connection so that the client detects a truncated response."""


class Exchange:
    """A request and its response.

    The handler reads the request (`head`, `read`) and answers once: with `respond`, or with
    `start`, any number of calls of `write`, and `end`.

    Args:
        client: The connection.
        body: The whole body of the request, if it arrived with the head.

    Attributes:
        head: Head of the request.
        peer: Addresses of client and server.
        keep_alive: The connection may stay open after the response.
        more_body: Parts of the request's body have not arrived.
        awaits_continue: The client sends no body before 100 Continue.
        response_started: The head of the response is written.
        response_complete: The whole response is written.
        disconnected: The client has disconnected, or its request was refused.
        has_written: Bytes were written since this attribute was last set to False.
        work: The work on the response.
        survives_disconnect: The work goes on when the client disconnects.
    """

    __slots__ = (
        "_body",
        "_body_changed",
        "_body_size",
        "_client",
        "_remaining",
        "awaits_continue",
        "disconnected",
        "has_written",
        "head",
        "keep_alive",
        "more_body",
        "response_complete",
        "response_started",
        "survives_disconnect",
        "work",
    )

    def __init__(self, client: ClientConnection, head: Head, body: bytes | None = None) -> None:
        self._client = client
        self.head = head
        self.keep_alive = head.keep_alive
        self.more_body = head.has_body and body is None
        self.awaits_continue = head.expects_continue and body is None
        self.response_started = False
        self.response_complete = False
        self.disconnected = False
        self.has_written = False
        self.survives_disconnect = False
        self.work: Work | None = None
        self._body: list[bytes] | None = None if body is None else [body]
        self._body_size = 0 if body is None else len(body)
        self._body_changed: asyncio.Event | None = None
        self._remaining = 0

    @property
    def peer(self) -> Peer:
        return self._client.peer

    def spawn(self, work: Coroutine[object, None, None]) -> asyncio.Task[None]:
        """Run further work on this exchange in a task."""
        return self._client.spawn(self, work)

    async def run(self, work: Coroutine[object, None, None]) -> None:
        """Run the handler's work on this exchange to the end of the response."""
        try:
            await work
            if not self.response_complete and not self.disconnected:
                self.fail("the handler returned without a response")
        except asyncio.CancelledError:
            if not self.disconnected:
                self._client.abort_response(self)
            raise
        except ClientDisconnected:
            pass
        except (Exception, SystemExit) as error:  # raised by the handler
            log.error("the proxy failed on a request", exc_info=error)
            self.fail("the handler raised an exception")

    def fail(self, reason: str) -> None:
        """Respond 500 in place of the handler, or abort a response that has begun."""
        if self.response_complete or self.disconnected:
            return
        if self.response_started:
            log.debug("response aborted: %s", reason)
            self._client.abort_response(self)
        else:
            self.keep_alive = False
            self.respond(ResponseHead(500, _PLAIN, None, False), b"", _FAILURE)

    def abandon(self) -> None:
        """Cancel the work on a request whose client has disconnected, unless it survives that."""
        self.disconnected = True
        self._wake()
        if self.survives_disconnect and not self.more_body:
            return  # the whole request has arrived: the work can finish
        if self.work is not None:
            self.work.cancel()

    # --- the request

    @property
    def body_size(self) -> int:
        """Bytes of the body that have arrived and were not read."""
        return self._body_size

    def feed(self, data: bytes) -> None:
        """Add a part of the body that has arrived."""
        self.awaits_continue = False
        if self._body is None:
            self._body = []
        elif len(self._body) == _MAX_PARTS:
            self._body = [b"".join(self._body)]  # a one-byte part takes forty bytes of memory
        self._body.append(data)
        self._body_size += len(data)
        self._wake()

    def end_body(self) -> None:
        """Mark the body as complete."""
        self.more_body = self.awaits_continue = False
        self._wake()

    async def read(self) -> bytes:
        """Return the bytes of the body since the last call, at least one; b"" at the body's end.

        Right after the call, `more_body` is True if more may follow.

        Raises:
            ClientDisconnected: The rest of the body will not arrive.
        """
        if self.awaits_continue and self.more_body and not self.disconnected:
            self.awaits_continue = False
            self._client.write_continue()
        while not self._body and self.more_body:
            if self.disconnected or self.response_complete:
                raise ClientDisconnected
            if self._body_changed is None:
                self._body_changed = asyncio.Event()
            await self._body_changed.wait()
            self._body_changed.clear()
        if self.disconnected and not self.survives_disconnect:
            raise ClientDisconnected
        return self.take()

    def take(self) -> bytes:
        """Return the bytes of the body that have arrived and were not read."""
        parts = self._body
        if not parts:
            return b""
        self._body = None
        self._body_size = 0
        if self.more_body:
            self._client.flow.resume_reading()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _wake(self) -> None:
        if self._body_changed is not None:
            self._body_changed.set()

    # --- the response

    @property
    def write_paused(self) -> bool:
        """Whether the client does not read its response; `drain` waits until it does."""
        return self._client.flow.write_paused and not self.disconnected

    async def drain(self) -> None:
        """Wait until the client has read enough of its response, or has disconnected."""
        if self.write_paused:
            await self._client.flow.drain()

    def respond(self, head: ResponseHead, extra: bytes, body: Buffer) -> None:
        """Send a whole response; await `drain` before.

        A small response leaves in one write, which costs more than the rest of the proxy's work on
        a small request. A large body is not copied.

        Args:
            extra: Further header lines, each ended with CR LF.

        Raises:
            ValueError: The body's length differs from the head's; nothing was sent.
        """
        status, block, length, close = head
        silent = self.head.method == "HEAD" or status in BODILESS
        if length is not None and length != len(body) and not silent:
            raise ValueError(
                f"the response's Content-Length is {length}, its body has {len(body)} bytes"
            )
        if self.disconnected:
            return
        client = self._client
        self.response_started = True
        if length is None and status not in BODILESS:
            extra += b"content-length: %d\r\n" % len(body)
        if self._ends_connection(close) and not close:
            extra += b"connection: close\r\n"
        if silent:
            client.write(b"".join((client.starts[status], block, extra, b"\r\n")))
        elif len(body) <= SMALL_BYTES:
            client.write(b"".join((client.starts[status], block, extra, b"\r\n", body)))
        else:
            client.write(b"".join((client.starts[status], block, extra, b"\r\n")))
            client.write(body)
        self._complete()

    def respond_packed(self, message: Buffer, extra: bytes) -> int:
        """Send a whole response that a replica has packed; return its status.

        Most responses leave unchanged, head and body as one slice. `respond` sends the others, and
        checks responses whose head or body ends elsewhere than the replica's lengths say.

        Args:
            extra: Further header lines, each ended with CR LF.

        Raises:
            ValueError: See `respond`.
        """
        status, close, length, _ = unpack_prefix(message)
        client = self._client
        if (
            0 <= length <= SMALL_BYTES
            and not close
            and self.keep_alive
            and not self.awaits_continue
            and not self.disconnected
            and status not in BODILESS
            and self.head.method != "HEAD"
            and not client.closes_after(self)
        ):
            data = b"".join((client.starts[status], extra, message[PREFIX_BYTES:]))
            if data.find(HEAD_END) + len(HEAD_END) + length == len(data):
                self.response_started = True
                client.write(data)
                self._complete()
                return cast(int, status)
        head, body = unpack_response(message)
        self.respond(head, extra, body)
        return head.status

    def respond_after_drain(
        self, head: ResponseHead, extra: bytes, body: Buffer
    ) -> Coroutine[object, None, None] | None:
        """Respond now, or return a coroutine that responds after `drain`."""
        if self.write_paused:
            return self._drain_and_respond(head, extra, body)
        self.respond(head, extra, body)
        return None

    async def _drain_and_respond(self, head: ResponseHead, extra: bytes, body: Buffer) -> None:
        await self.drain()
        self.respond(head, extra, body)

    async def start(self, head: ResponseHead, extra: bytes) -> None:
        """Send the head of a streamed response; without a body, the response is complete then.

        Args:
            extra: Further header lines, each ended with CR LF.
        """
        await self.drain()
        if self.disconnected:
            return
        status, block, length, close = head
        if self.head.method == "HEAD" or status in BODILESS:
            self._remaining = _NO_BODY
        elif length is not None:
            self._remaining = length
        elif self.head.version == "1.1":
            self._remaining = _CHUNKED
            extra += b"transfer-encoding: chunked\r\n"
        else:
            self._remaining = _UNTIL_CLOSE
        if self._ends_connection(close) and not close:
            extra += b"connection: close\r\n"
        self.response_started = self.has_written = True
        self._client.write(b"".join((self._client.starts[status], block, extra, b"\r\n")))
        if self._remaining == _NO_BODY:
            self._complete()

    async def write(self, data: Buffer) -> None:
        """Send a part of the response's body.

        Raises:
            RuntimeError: The body is longer than its Content-Length.
        """
        await self.drain()
        self.write_now(data)

    def write_now(self, data: Buffer) -> bool:
        """Send a part of the response's body; return whether more can be written now.

        Raises:
            RuntimeError: The body is longer than its Content-Length.
        """
        if self.disconnected or self.response_complete or not len(data):
            return True
        self.has_written = True
        write, remaining = self._client.write, self._remaining
        if remaining == _CHUNKED:
            size = b"%x\r\n" % len(data)
            if len(data) <= SMALL_BYTES:
                write(b"".join((size, data, b"\r\n")))
            else:
                write(size)
                write(data)
                write(b"\r\n")
        elif remaining == _UNTIL_CLOSE:
            write(data)
        else:
            if len(data) > remaining:
                raise RuntimeError("the response's body differs from its Content-Length")
            self._remaining = remaining - len(data)
            write(data)
        return not self._client.flow.write_paused

    async def end(self) -> None:
        """End a streamed response.

        Raises:
            RuntimeError: The body is shorter than its Content-Length.
        """
        await self.drain()
        if self.disconnected or self.response_complete:
            return
        if self._remaining == _CHUNKED:
            self._client.write(b"0\r\n\r\n")
        elif self._remaining > 0:
            raise RuntimeError("the response's body differs from its Content-Length")
        self.has_written = True
        self._complete()

    def _ends_connection(self, close: bool) -> bool:
        """Decide, when the head is written, whether the connection closes after this response.

        Args:
            close: The handler asks for it.
        """
        if close or self.awaits_continue or self._client.closes_after(self):
            # A client without its 100 Continue may send the body or the next request: the server
            # cannot tell them apart.
            self.keep_alive = False
        return not self.keep_alive

    def _complete(self) -> None:
        self.response_complete = True
        self._wake()
        self._client.on_response_complete(self)


class ExchangeHandler(Protocol):
    """The handler of an edge's exchanges. Runs on the event loop of the connections."""

    def __call__(self, exchange: Exchange) -> Coroutine[object, None, None] | None:
        """Answer an exchange.

        Returns:
            A coroutine to run in a task; None when the exchange was answered or has its `work`.
        """
