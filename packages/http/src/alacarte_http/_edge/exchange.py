"""One request and its response, as the application sees them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Protocol, cast

from alacarte.types import Buffer

from .._head_codec import HEAD_END, PREFIX_BYTES, ResponseHead, unpack_prefix, unpack_response
from .flow import Flow
from .head import Head, Peer
from .responses import BODILESS, ResponseStarts

__all__ = ["EdgeApplication", "ClientDisconnected", "Exchange", "Work"]

log = logging.getLogger("alacarte.http")
HIGH_WATER_BYTES = 64 * 1024
"""Bytes of a request's body that wait to be read, above which the socket is not read."""
SMALL_BYTES = 64 * 1024
"""Up to so many bytes of a body are copied beside what goes with them, to leave in one write."""
_MAX_PARTS = 64
"""Parts of a request's body that are kept apart."""
_FAILURE = b"Internal Server Error\n"
_PLAIN = b"content-type: text/plain; charset=utf-8\r\n"
_NO_BODY, _CHUNKED, _UNTIL_CLOSE = -1, -2, -3
"""What is sent of a response's body, where it is not counted by Content-Length."""


class ClientDisconnected(Exception):
    """The client is gone, or was answered otherwise: nobody waits for what its request asks."""


class Work(Protocol):
    """What works on an exchange: a task, or a call that was begun without one."""

    def cancel(self) -> object:
        """Stop, as nobody waits for the response."""


class ClientConnection(Protocol):
    """The connection of an exchange, as the exchange uses it.

    Attributes:
        peer: Its two ends.
        starts: Beginnings of responses.
        flow: Pauses and resumes reading and writing.
    """

    peer: Peer
    starts: ResponseStarts
    flow: Flow

    def write(self, data: Buffer) -> None:
        """Write to the client."""

    def is_last(self, exchange: Exchange) -> bool:
        """Return whether the connection ends with the response of this exchange."""

    def write_continue(self) -> None:
        """Tell the client to send its body."""

    def spawn(self, exchange: Exchange, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run what works on an exchange in a task."""

    def answered(self, exchange: Exchange) -> None:
        """The response is written."""

    def cut(self, exchange: Exchange) -> None:
        """End the connection so that the client sees that its response is not whole."""


class Exchange:
    """A request and its response.

    The application reads the request (`head`, `read`), and answers once: with `respond`, or with
    `start`, any number of `write`, and `end`.

    Args:
        client: The connection.
        body: All of the request's body, if it came with the head.

    Attributes:
        head: Of the request.
        peer: The two ends of the connection.
        keep_alive: The connection may go on after the response.
        more_body: Parts of the request's body are still to come.
        awaits_continue: The client sends no body before it is told to.
        response_started: The head of the response is written.
        response_complete: All of the response is written.
        disconnected: The client is gone, or was already answered otherwise.
        wrote: Something was written since this was last set to False.
        work: What works on the response.
        survives_disconnect: The work goes on when the client goes away.
    """

    __slots__ = (
        "_body",
        "_body_size",
        "_changed",
        "_client",
        "_left",
        "awaits_continue",
        "disconnected",
        "head",
        "keep_alive",
        "more_body",
        "response_complete",
        "response_started",
        "survives_disconnect",
        "work",
        "wrote",
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
        self.wrote = False
        self.survives_disconnect = False
        self.work: Work | None = None
        self._body: list[bytes] | None = None if body is None else [body]
        self._body_size = 0 if body is None else len(body)
        self._changed: asyncio.Event | None = None
        self._left = 0

    @property
    def peer(self) -> Peer:
        return self._client.peer

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Let a task go on with the work on this exchange."""
        return self._client.spawn(self, work)

    async def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run what the application gave for this exchange, to the end of the response."""
        try:
            await work
            if not self.response_complete and not self.disconnected:
                self.fail("the application returned without an answer")
        except asyncio.CancelledError:
            if not self.disconnected:
                self._client.cut(self)
            raise
        except ClientDisconnected:
            pass
        except (Exception, SystemExit) as error:  # of the application's; the client is answered
            log.error("the HTTP application failed", exc_info=error)
            self.fail("the application raised an exception")

    def fail(self, reason: str) -> None:
        """Answer 500 in place of the application, or cut a response that has begun."""
        if self.response_complete or self.disconnected:
            return
        if self.response_started:
            log.debug("a response is cut: %s", reason)
            self._client.cut(self)
        else:
            self.keep_alive = False
            self.respond(ResponseHead(500, _PLAIN, None, False), b"", _FAILURE)

    def abandon(self) -> None:
        """Stop the work on a request that nobody waits for."""
        self.disconnected = True
        self._wake()
        if self.survives_disconnect and not self.more_body:
            return  # all that it takes to finish it is here
        if self.work is not None:
            self.work.cancel()

    # --- the request

    @property
    def body_size(self) -> int:
        """Bytes that have arrived and were not read."""
        return self._body_size

    def feed(self, data: bytes) -> None:
        """Take a part of the body from the client."""
        self.awaits_continue = False
        if self._body is None:
            self._body = []
        elif len(self._body) == _MAX_PARTS:
            self._body = [b"".join(self._body)]  # parts of a byte take forty
        self._body.append(data)
        self._body_size += len(data)
        self._wake()

    def end_body(self) -> None:
        """Note that all of the body has arrived."""
        self.more_body = self.awaits_continue = False
        self._wake()

    async def read(self) -> bytes:
        """Return what has arrived of the body since the last call, at least a byte; b"" at its end.

        Right behind it, `more_body` says whether there is more to come.

        Raises:
            ClientDisconnected: The rest of the body will not come.
        """
        if self.awaits_continue and self.more_body and not self.disconnected:
            self.awaits_continue = False
            self._client.write_continue()
        while not self._body and self.more_body:
            if self.disconnected or self.response_complete:
                raise ClientDisconnected
            if self._changed is None:
                self._changed = asyncio.Event()
            await self._changed.wait()
            self._changed.clear()
        if self.disconnected and not self.survives_disconnect:
            raise ClientDisconnected
        return self.take()

    def take(self) -> bytes:
        """Return what has arrived of the body and was not read."""
        parts = self._body
        if not parts:
            return b""
        self._body = None
        self._body_size = 0
        if self.more_body:
            self._client.flow.resume_reading()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()

    # --- the response

    @property
    def write_paused(self) -> bool:
        """Whether the client does not read what was written; `drain` waits for that."""
        return self._client.flow.write_paused and not self.disconnected

    async def drain(self) -> None:
        """Return when the client has read enough of what was written, or is gone."""
        if self.write_paused:
            await self._client.flow.drain()

    def respond(self, head: ResponseHead, extra: bytes, body: Buffer) -> None:
        """Send a whole response, a small one in one write; await `drain` before.

        A write costs more than all that the proxy does for a small request. Of a large body no copy
        is made.

        Args:
            extra: Further header lines, each ended.

        Raises:
            ValueError: The head promises a body of another length; nothing was sent.
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
        """Send a whole response as a replica has packed it; return its status.

        Most leave as they are, head and body in one slice. Where the client would see another end
        of the head, or of the body, than the replica says, `respond` decides.

        Args:
            extra: Further header lines, each ended.

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
            and not client.is_last(self)
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

    def respond_when_read(
        self, head: ResponseHead, extra: bytes, body: Buffer
    ) -> Coroutine[Any, Any, None] | None:
        """Respond at once, or return what does when the client has read what was written."""
        if self.write_paused:
            return self._drain_and_respond(head, extra, body)
        self.respond(head, extra, body)
        return None

    async def _drain_and_respond(self, head: ResponseHead, extra: bytes, body: Buffer) -> None:
        await self.drain()
        self.respond(head, extra, body)

    async def start(self, head: ResponseHead, extra: bytes) -> None:
        """Send the head of a response whose parts follow; one without a body is complete then.

        Args:
            extra: Further header lines, each ended.
        """
        await self.drain()
        if self.disconnected:
            return
        status, block, length, close = head
        if self.head.method == "HEAD" or status in BODILESS:
            self._left = _NO_BODY
        elif length is not None:
            self._left = length
        elif self.head.version == "1.1":
            self._left = _CHUNKED
            extra += b"transfer-encoding: chunked\r\n"
        else:
            self._left = _UNTIL_CLOSE
        if self._ends_connection(close) and not close:
            extra += b"connection: close\r\n"
        self.response_started = self.wrote = True
        self._client.write(b"".join((self._client.starts[status], block, extra, b"\r\n")))
        if self._left == _NO_BODY:
            self._complete()

    async def write(self, data: Buffer) -> None:
        """Send a part of the response's body.

        Raises:
            RuntimeError: The body is longer than Content-Length says.
        """
        await self.drain()
        self.write_now(data)

    def write_now(self, data: Buffer) -> bool:
        """Send a part of the response's body; return whether the client has room for more.

        Raises:
            RuntimeError: The body is longer than Content-Length says.
        """
        if self.disconnected or self.response_complete or not len(data):
            return True
        self.wrote = True
        write, left = self._client.write, self._left
        if left == _CHUNKED:
            size = b"%x\r\n" % len(data)
            if len(data) <= SMALL_BYTES:
                write(b"".join((size, data, b"\r\n")))
            else:
                write(size)
                write(data)
                write(b"\r\n")
        elif left == _UNTIL_CLOSE:
            write(data)
        else:
            if len(data) > left:
                raise RuntimeError("the response's body differs from its Content-Length")
            self._left = left - len(data)
            write(data)
        return not self._client.flow.write_paused

    async def end(self) -> None:
        """End a response that was sent in parts.

        Raises:
            RuntimeError: The body is shorter than Content-Length says.
        """
        await self.drain()
        if self.disconnected or self.response_complete:
            return
        if self._left == _CHUNKED:
            self._client.write(b"0\r\n\r\n")
        elif self._left > 0:
            raise RuntimeError("the response's body differs from its Content-Length")
        self.wrote = True
        self._complete()

    def _ends_connection(self, close: bool) -> bool:
        """Decide, when the head is written, whether the connection ends with this response.

        Args:
            close: The application wants it.
        """
        if close or self.awaits_continue or self._client.is_last(self):
            # Who was not told to go on may send the body or the next request: nobody can tell.
            self.keep_alive = False
        return not self.keep_alive

    def _complete(self) -> None:
        self.response_complete = True
        self._wake()
        self._client.answered(self)


class EdgeApplication(Protocol):
    """Answers exchanges, on the event loop of their connections."""

    def __call__(self, exchange: Exchange) -> Coroutine[Any, Any, None] | None:
        """Answer an exchange.

        Returns:
            None when the exchange was answered at once, or has its `work`; else what is to be run
            in a task.
        """
