"""A client's HTTP/1.1 connection: its transport, its requests in order, and their responses.

The modules beside this one read requests from bytes (`reader`), decide on deadlines (`deadlines`)
and detect clients that have disconnected (`half_close`). No request costs a timer.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from enum import IntEnum, auto
from typing import cast

from alacarte.types import Buffer

from .._head_codec import ResponseHead
from . import client_socket
from .deadlines import Deadlines
from .edge import DRAIN_LINGER_S, Edge, Successor
from .exchange import HIGH_WATER_BYTES, Exchange
from .flow import Flow
from .half_close import HalfClose
from .head import Head, Peer, peer_of
from .head_checks import Refusal
from .reader import Body, End, Event, Reader, Upgrade, websocket_refusal
from .reader_state import State
from .response_starts import CONTINUE, refusal_bytes

__all__ = ["HttpConnection", "Phase"]

log = logging.getLogger("alacarte.http")

LINGER_S = 2.0
"""How long further bytes of a client are read and dropped after its last response."""
_MAX_PIPELINED = 256
_MAX_REFUSED_CONNECTIONS = 64
"""Connections above the limit that are answered 503; further ones are dropped."""
_OPTIONS_RESPONSE = ResponseHead(
    200, b"allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\ncontent-length: 0\r\n", 0, False
)
"""The response to `OPTIONS *`, which asks about the server as a whole."""


class Phase(IntEnum):
    """The phases in a connection's life."""

    OPEN = auto()
    """Requests are read and answered in order."""
    REFUSING = auto()
    """A refusal waits behind the responses to earlier requests; further bytes are ignored."""
    LINGERING = auto()
    """The last response is written; further bytes are read and dropped."""
    UPGRADED = auto()
    """Another protocol owns the connection."""
    CLOSED = auto()
    """The transport is closed or closing."""


_OPEN, _REFUSING, _LINGERING, _UPGRADED, _CLOSED = Phase


class HttpConnection(asyncio.Protocol):
    """A client's HTTP/1.1 connection.

    Runs on any asyncio event loop. In uvicorn: `Config(http=lambda **_: HttpConnection(edge))`.

    Attributes:
        active: The exchange in progress, None without one.
        edge: State shared by the connections of this process.
        peer: Addresses of client and server.
        phase: The connection's phase.
        half_closed: The client has stopped sending, but its requests are still answered.
        connected: `connection_made` was called; with TLS, after the TLS handshake.
        flow: Flow control in both directions.
    """

    flow: Flow
    transport: asyncio.Transport
    peer: Peer
    write: Callable[[Buffer], None]

    def __init__(self, edge: Edge) -> None:
        self.edge = edge
        self.starts = edge.starts
        self.loop = asyncio.get_running_loop()
        self.phase = _OPEN
        self.half_closed = False
        self.connected = False
        self._reader = Reader(edge.limits)
        self._deadlines = Deadlines(edge.limits, edge.now)
        self.active: Exchange | None = None
        self._receiving: Exchange | None = None  # whose body has not ended
        self._queue: deque[Exchange] = deque()
        self._refusal: Refusal | None = None
        self._successor: Successor | None = None
        self._half_close: HalfClose | None = None
        self._linger_until = 0.0

    # --- the transport's events

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.write = self.transport.write
        self.flow = Flow(self.transport)
        self.peer = peer_of(self.transport)
        self.connected = True
        if self.edge.add(self):
            return
        limit = self.edge.limits.connections
        if len(self.edge.connections) > limit + _MAX_REFUSED_CONNECTIONS:
            self.abort()  # a response would keep too many refused connections open
        else:
            text = f"The server has {limit} connections, its limit. Try again later."
            self._refuse(Refusal(503, text, b"retry-after: 1\r\n"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.phase = _CLOSED
        self.edge.remove(self)
        self._queue.clear()
        active, self.active = self.active, None
        self._receiving = None
        if active is not None:
            active.abandon()
        self.resume_writing()
        self._reader.close()

    def data_received(self, data: bytes) -> None:
        if self.phase is not _OPEN:
            if self.phase is _UPGRADED:
                assert self._successor is not None
                self._successor.data_received(data)
            return
        reader = self._reader
        before = reader.state
        event = reader.feed(data)
        if event is None:
            if before is not State.HEAD and reader.state is State.HEAD:
                self._deadlines.since = self.edge.now
            return
        while event is not None:
            self._deadlines.since = self.edge.now
            self._handle(event)
            if self.phase is not _OPEN:
                return
            event = reader.next()

    def eof_received(self) -> bool | None:
        """Keep writing to a client that has only stopped sending.

        `HalfClose` tells such a client from a client that has disconnected. It probes at once, so
        that a request that is still queued does not run for a client that has disconnected.
        """
        self.half_closed = True
        if self.phase is _OPEN:
            incomplete = self._receiving
            if incomplete is None or not incomplete.response_complete:
                refusal = self._reader.end_of_stream()
                if refusal is not None:
                    self._handle_refusal(refusal)
        if self.active is None or self.peer.secure:
            return None
        self._half_close = HalfClose(self)
        self._half_close.watch(self.active)
        return True

    def pause_writing(self) -> None:
        self.flow.pause_writing()

    def resume_writing(self) -> None:
        self._deadlines.has_progressed = True
        self.flow.resume_writing()

    # --- the reader's events

    def _handle(self, event: Event) -> None:
        kind = type(event)
        if kind is Head:
            self._accept_request(Exchange(self, cast(Head, event), self._reader.take_whole_body()))
        elif kind is Body:
            self._take_body(cast(Body, event).data)
        elif kind is End:
            self._end_body()
        elif kind is Upgrade:
            self._upgrade(cast(Upgrade, event))
        else:
            self._handle_refusal(cast(Refusal, event))

    def _accept_request(self, exchange: Exchange) -> None:
        """Begin a request, or queue it behind earlier ones."""
        if exchange.more_body:
            self._receiving = exchange
            self._deadlines.begin_body(self.edge.now)
        if self.active is None and not self._queue:
            self._begin(exchange)
        elif len(self._queue) < _MAX_PIPELINED:
            self.flow.pause_reading()
            self._queue.append(exchange)
        else:
            self._receiving = None
            text = f"The connection has {_MAX_PIPELINED} pipelined requests, the limit."
            self._refuse(Refusal(503, text, b"retry-after: 1\r\n"))

    def _take_body(self, data: bytes) -> None:
        exchange = self._receiving
        if exchange is None or exchange.response_complete:
            return
        exchange.feed(data)
        if exchange.body_size > HIGH_WATER_BYTES:
            self.flow.pause_reading()

    def _end_body(self) -> None:
        exchange, self._receiving = self._receiving, None
        if exchange is not None:
            exchange.end_body()
            if exchange.response_complete and self.active is None:
                self._become_idle()  # answered before the whole body had arrived

    def _upgrade(self, upgrade: Upgrade) -> None:
        if self.active is not None or self._queue or self.edge.upgrade is None:
            self._refuse(websocket_refusal())
            return
        self.phase = _UPGRADED
        self.edge.remove(self)
        successor = self._successor = self.edge.upgrade()
        self.transport.set_protocol(successor)
        successor.connection_made(self.transport)
        successor.open(upgrade.head, self.peer)
        if upgrade.rest:
            successor.data_received(upgrade.rest)
        self._reader.close()

    # --- requests in order

    def _begin(self, exchange: Exchange) -> None:
        """Pass an exchange to the handler."""
        self.active = exchange
        self.edge.idle.pop(self, None)
        try:
            if exchange.head.raw_path == b"*":
                work = exchange.respond_after_drain(_OPTIONS_RESPONSE, b"", b"")
            else:
                work = self.edge.handler(exchange)
        except (Exception, SystemExit) as error:  # raised by the handler
            log.error("the proxy failed on a request", exc_info=error)
            exchange.fail("the handler raised an exception")
            return
        if work is not None:
            self.spawn(exchange, work)
        if self._half_close is not None and self.active is exchange:
            self._half_close.watch_later(exchange)

    def spawn(self, exchange: Exchange, work: Coroutine[object, None, None]) -> asyncio.Task[None]:
        """Run the work on an exchange in a task."""
        task = exchange.work = self.edge.spawn(exchange.run(work), work)
        return task

    def on_response_complete(self, exchange: Exchange) -> None:
        """Go on after a response: begin the next request, become idle, or close."""
        self.active = None
        if self.transport.is_closing():
            return
        if not exchange.keep_alive:
            self._finish()
        elif self._queue:
            # In the next iteration of the loop, after the handler has ended the last request.
            self.active = self._queue.popleft()
            self.loop.call_soon(self._begin_next, self.active)
        elif self._refusal is not None:
            self._write_refusal(self._refusal)
        else:
            if self.flow.read_paused:
                self.flow.resume_reading()
            if self._reader.state is State.DONE:
                self._become_idle()

    def _begin_next(self, exchange: Exchange) -> None:
        """Begin a queued request, unless it was refused or its client has disconnected."""
        if exchange is self.active and not self.transport.is_closing():
            self._begin(exchange)
            if not self._queue:
                self.flow.resume_reading()

    def _become_idle(self) -> None:
        """Wait for the next request, or close a connection that takes no more."""
        self._deadlines.since = self.edge.now
        self.edge.idle[self] = None
        if self.half_closed:
            self._close()
        elif self.edge.draining:
            self.drain()

    def closes_after(self, exchange: Exchange) -> bool:
        """Return whether the connection closes after the response of this exchange."""
        if self._queue or self._refusal is not None or self._reader.pending:
            return False
        return self.edge.draining or self.half_closed

    def write_continue(self) -> None:
        """Send 100 Continue. A client accepts any number of these."""
        if not self.transport.is_closing():
            self._deadlines.reset_body_timer(self.edge.now, self._reader.body_size)
            self.write(CONTINUE)

    # --- refusals

    def _refuse(self, refusal: Refusal) -> None:
        """Stop reading, and send a refusal behind the responses to earlier requests."""
        if self.phase is _OPEN:
            self._handle_refusal(self._reader.refuse(refusal))

    def _handle_refusal(self, refusal: Refusal) -> None:
        """Send the reader's refusal after the responses before it, then close the connection."""
        self.phase = _REFUSING
        exchange, self._receiving = self._receiving, None
        if exchange is not None:
            if exchange.response_complete:
                self._linger()
                return
            if exchange is not self.active:
                self._queue.remove(exchange)
            elif exchange.response_started:
                self.abort_response(exchange)
                return
            else:
                self.active = None
                exchange.abandon()
        if self.active is None:
            self._write_refusal(refusal)
        else:
            self._refusal = refusal

    def _write_refusal(self, refusal: Refusal) -> None:
        self.write(refusal_bytes(self.starts[refusal.status], refusal))
        self._linger()

    # --- ends

    def _finish(self) -> None:
        """Close after the last response."""
        state = self._reader.state
        if (state is State.DONE or state is State.MUST_CLOSE) and not self.flow.read_paused:
            self._close()
        else:
            self._linger()

    def _close(self) -> None:
        self.phase = _CLOSED
        self.transport.close()

    def _linger(self) -> None:
        """Stop writing, but read and drop further bytes for `LINGER_S`.

        Closing a socket with unread bytes resets the connection, and a reset discards the response
        if the client has not read it yet.
        """
        if self.half_closed:
            self._close()
            return
        self.phase = _LINGERING
        self._linger_until = self.edge.now + LINGER_S
        self.edge.idle[self] = None
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()

    def abort_response(self, exchange: Exchange) -> None:
        """Close in the middle of a response, so that the client detects the truncation."""
        if exchange.head.version == "1.0":
            self._reset()  # without a reset, the close would look like the response's end
        else:
            self.transport.close()

    def abort(self) -> None:
        """Drop the connection and its unsent bytes."""
        self.phase = _CLOSED
        self.edge.remove(self)
        self.transport.abort()

    def _reset(self) -> None:
        """Reset the connection, and discard the bytes that the kernel holds for the client."""
        self.phase = _CLOSED
        self.edge.remove(self)
        client_socket.reset(self.transport)

    def drop_client(self) -> None:
        """Cancel the exchange in progress and drop the connection of a disconnected client."""
        active, self.active = self.active, None
        if active is not None:
            active.abandon()  # now: in the next iteration of the loop its call may be sent
        self.abort()

    @property
    def _is_idle(self) -> bool:
        """Whether no request is in progress, and no byte of one was read."""
        if self.phase is not _OPEN or self.active is not None:
            return False
        return self._reader.state in (State.NEW, State.DONE)

    def drain(self, linger_s: float = DRAIN_LINGER_S) -> None:
        """Close without losing a request; called once, when the proxy stops accepting connections.

        Requests in progress and pipelined ones are answered, the last one with `Connection: close`.
        An idle connection stays open for another `linger_s`, since a request may be on its way,
        which is answered as well. Then the connection leaves the edge's `connections`. The time
        that this takes is bounded by the deadlines for receiving and sending, and by the
        handler.
        """
        self.edge.draining = True
        if self._is_idle:
            self.loop.call_later(linger_s, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if self._is_idle:
            self._close()

    # --- deadlines

    def check_deadlines(self, now: float) -> None:
        """Act on missed deadlines; called once per sweep.

        Args:
            now: `Edge.now`.
        """
        deadlines = self._deadlines
        unsent = self.transport.get_write_buffer_size()
        if deadlines.is_stuck(now, unsent):
            self._reset()
            return
        if self.active is not None and (self.half_closed or self.flow.read_paused):
            if self.transport.is_closing():
                return
            if client_socket.is_reset(self.transport):
                self.drop_client()
                return
        state = self._reader.state
        if self.phase is _LINGERING:
            if unsent:
                self._linger_until = now + LINGER_S
            elif now >= self._linger_until:
                self.transport.close()
        elif self.phase is not _OPEN:
            pass
        elif self._receiving is not None:
            paused = self.flow.read_paused or self._receiving.awaits_continue
            refusal = deadlines.body_refusal(now, self._reader.body_size, paused=paused)
            if refusal is not None:
                self._refuse(refusal)
        elif state is State.HEAD:
            if self.flow.read_paused:
                deadlines.since = now
            elif (refusal := deadlines.head_refusal(now)) is not None:
                self._refuse(refusal)
        elif self.active is not None:
            pass
        elif unsent:
            deadlines.since = now
        elif deadlines.is_idle(now, used=state is not State.NEW):
            self._close()
