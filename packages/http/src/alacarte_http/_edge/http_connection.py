"""A client's connection: its transport, its requests in turn, and the writing of their responses.

What RFC 9112 asks of a server that faces strangers lies in the modules around: bytes to requests
(`reader`), deadlines (`deadlines`), and the ends of connections (`ending`). No request costs a
timer.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from enum import IntEnum, auto
from typing import Any, cast

from alacarte.types import Buffer

from .._head_codec import ResponseHead
from . import ending
from .checks import Refused
from .deadlines import Deadlines
from .edge import LAST_MOMENT_S, Edge, Successor
from .ending import LINGER_S, HalfClose
from .exchange import HIGH_WATER_BYTES, Exchange
from .flow import Flow
from .head import Head, Peer, peer_of
from .reader import Body, End, Event, Reader, State, Upgrade, websocket_out_of_place
from .responses import CONTINUE, refusal_bytes

__all__ = ["HttpConnection", "Phase"]

log = logging.getLogger("alacarte.http")

_MAX_PIPELINED = 256
_FLOOD_CONNECTIONS = 64
"""So many connections beyond the limit are told so; further ones are dropped."""
_OPTIONS = ResponseHead(
    200, b"allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\ncontent-length: 0\r\n", 0, False
)
"""The answer to `OPTIONS *`, which asks about the server as a whole."""


class Phase(IntEnum):
    """How far a connection has come to its end."""

    OPEN = auto()
    """Requests are read, and answered in turn."""
    REFUSING = auto()
    """Nothing is read any more; a refusal waits behind the responses to earlier requests."""
    LINGERING = auto()
    """The last answer is written; what the client still sends is read and dropped."""
    UPGRADED = auto()
    """The connection belongs to another protocol."""
    CLOSED = auto()
    """Nothing is read or written any more."""


_OPEN, _REFUSING, _LINGERING, _UPGRADED, _CLOSED = Phase


class HttpConnection(asyncio.Protocol):
    """A client's connection.

    Serves on any event loop. Under uvicorn: `Config(http=lambda **_: HttpConnection(edge))`.

    Attributes:
        active: The exchange whose turn it is.
        edge: What the connections of this process share.
        peer: The two ends.
        phase: How far the connection has come to its end.
        half_closed: The client has stopped sending; what it has asked is still answered.
        connected: The transport is there: of TLS, from the end of the handshake on.
        flow: Pauses and resumes reading, and knows whether writing is paused.
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
        self._receiving: Exchange | None = None  # the one whose body has not ended
        self._queue: deque[Exchange] = deque()
        self._refusal: Refused | None = None
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
        if len(self.edge.connections) > limit + _FLOOD_CONNECTIONS:
            self.abort()  # even saying so would cost more than there is
        else:
            text = f"All {limit} connections are in use; try again."
            self._refuse(Refused(503, text, b"retry-after: 1\r\n"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.phase = _CLOSED
        self.edge.forget(self)
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
        """Keep the way back open for a client that has only stopped sending.

        Whether it is that, or gone, shows when something is written to it: see `HalfClose`. It is
        asked at once, so that a request that still waits for a replica runs for nobody who is gone.
        """
        self.half_closed = True
        if self.phase is _OPEN:
            incomplete = self._receiving
            if incomplete is None or not incomplete.response_complete:
                refused = self._reader.end_of_stream()
                if refused is not None:
                    self._refuse_read(refused)
        if self.active is None or self.peer.secure:
            return None
        self._half_close = HalfClose(self)
        self._half_close.watch(self.active)
        return True

    def pause_writing(self) -> None:
        self.flow.pause_writing()

    def resume_writing(self) -> None:
        self._deadlines.moved = True
        self.flow.resume_writing()

    # --- the reader's events

    def _handle(self, event: Event) -> None:
        kind = type(event)
        if kind is Head:
            self._enter(Exchange(self, cast(Head, event), self._reader.take_whole_body()))
        elif kind is Body:
            self._take_body(cast(Body, event).data)
        elif kind is End:
            self._end_body()
        elif kind is Upgrade:
            self._upgrade(cast(Upgrade, event))
        else:
            self._refuse_read(cast(Refused, event))

    def _enter(self, exchange: Exchange) -> None:
        """Take a request: its turn is now, or behind those before it."""
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
            text = f"{_MAX_PIPELINED} requests wait on this connection already."
            self._refuse(Refused(503, text, b"retry-after: 1\r\n"))

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
                self._rest()  # answered before all of the body was here

    def _upgrade(self, upgrade: Upgrade) -> None:
        if self.active is not None or self._queue or self.edge.upgrade is None:
            self._refuse(websocket_out_of_place())
            return
        self.phase = _UPGRADED
        self.edge.forget(self)
        successor = self._successor = self.edge.upgrade()
        self.transport.set_protocol(successor)
        successor.connection_made(self.transport)
        successor.open(upgrade.head, self.peer)
        if upgrade.rest:
            successor.data_received(upgrade.rest)
        self._reader.close()

    # --- requests in turn

    def _begin(self, exchange: Exchange) -> None:
        """Let the application answer."""
        self.active = exchange
        self.edge.waiting.pop(self, None)
        try:
            if exchange.head.raw_path == b"*":
                work = exchange.respond_when_read(_OPTIONS, b"", b"")
            else:
                work = self.edge.application(exchange)
        except (Exception, SystemExit) as error:  # of the application's; the client is answered
            log.error("the HTTP application failed", exc_info=error)
            exchange.fail("the application raised an exception")
            return
        if work is not None:
            self.spawn(exchange, work)
        if self._half_close is not None and self.active is exchange:
            self._half_close.watch_later(exchange)

    def spawn(self, exchange: Exchange, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run what works on an exchange in a task."""
        task = exchange.work = self.edge.spawn(exchange.run(work), work)
        return task

    def answered(self, exchange: Exchange) -> None:
        """Go on after a response: to the next request, or to rest, or to the end."""
        self.active = None
        if self.transport.is_closing():
            return
        if not exchange.keep_alive:
            self._end()
        elif self._queue:
            # In the loop's next turn, when the application is done with the one before.
            self.active = self._queue.popleft()
            self.loop.call_soon(self._begin_next, self.active)
        elif self._refusal is not None:
            self._write_refusal(self._refusal)
        else:
            if self.flow.read_paused:
                self.flow.resume_reading()
            if self._reader.state is State.BETWEEN:
                self._rest()

    def _begin_next(self, exchange: Exchange) -> None:
        """Begin with a request that has waited, unless it was refused or its client is gone."""
        if exchange is self.active and not self.transport.is_closing():
            self._begin(exchange)
            if not self._queue:
                self.flow.resume_reading()

    def _rest(self) -> None:
        """Wait for the next request."""
        self._deadlines.since = self.edge.now
        self.edge.waiting[self] = None
        if self.half_closed:
            self._close()
        elif self.edge.draining:
            self.wind_down()

    def is_last(self, exchange: Exchange) -> bool:
        """Return whether the connection ends with the response of this exchange."""
        if self._queue or self._refusal is not None or self._reader.pending:
            return False
        return self.edge.draining or self.half_closed

    def write_continue(self) -> None:
        """Tell the client to send its body. It must skip that as often as it comes."""
        if not self.transport.is_closing():
            self._deadlines.hold_body(self.edge.now, self._reader.body_size)
            self.write(CONTINUE)

    # --- refusals

    def _refuse(self, refused: Refused) -> None:
        """Read no more, and answer this behind the responses to what was read before."""
        if self.phase is _OPEN:
            self._refuse_read(self._reader.refuse(refused))

    def _refuse_read(self, refused: Refused) -> None:
        """Answer what the reader has refused: in its turn, then the connection ends."""
        self.phase = _REFUSING
        exchange, self._receiving = self._receiving, None
        if exchange is not None:
            if exchange.response_complete:
                self._linger()
                return
            if exchange is not self.active:
                self._queue.remove(exchange)
            elif exchange.response_started:
                self.cut(exchange)
                return
            else:
                self.active = None
                exchange.abandon()
        if self.active is None:
            self._write_refusal(refused)
        else:
            self._refusal = refused

    def _write_refusal(self, refused: Refused) -> None:
        self.write(refusal_bytes(self.starts[refused.status], refused))
        self._linger()

    # --- ends

    def _end(self) -> None:
        """End behind the last response."""
        state = self._reader.state
        if (state is State.BETWEEN or state is State.LAST) and not self.flow.read_paused:
            self._close()
        else:
            self._linger()

    def _close(self) -> None:
        self.phase = _CLOSED
        self.transport.close()

    def _linger(self) -> None:
        """Stop writing, and read on for a while.

        A socket that is closed with unread bytes resets the connection, and a reset destroys what
        the client has not read yet: the answer.
        """
        if self.half_closed:
            self._close()
            return
        self.phase = _LINGERING
        self._linger_until = self.edge.now + LINGER_S
        self.edge.waiting[self] = None
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()

    def cut(self, exchange: Exchange) -> None:
        """End in the middle of a response, so that the client sees that it is not whole."""
        if exchange.head.version == "1.0":
            self._reset()  # nothing else tells it from the end
        else:
            self.transport.close()

    def abort(self) -> None:
        """Drop the connection and what was not sent."""
        self.phase = _CLOSED
        self.edge.forget(self)
        self.transport.abort()

    def _reset(self) -> None:
        """Drop the connection and what the kernel holds for it, at once."""
        self.phase = _CLOSED
        self.edge.forget(self)
        ending.reset(self.transport)

    def give_up(self) -> None:
        """Give up a client that is not there any more."""
        active, self.active = self.active, None
        if active is not None:
            active.abandon()  # now: in the next turn of the loop its call may be sent
        self.abort()

    @property
    def _is_idle(self) -> bool:
        """Whether no request is in progress, nor any part of one read."""
        if self.phase is not _OPEN or self.active is not None:
            return False
        return self._reader.state in (State.NEW, State.BETWEEN)

    def wind_down(self, linger_s: float = LAST_MOMENT_S) -> None:
        """End without losing a request: call it once, when the proxy takes no new connections.

        Requests that are in progress, or waiting in line, are answered, the last one with
        `HttpConnection: close`. A connection without any stays open for another `linger_s`, since a
        request may be on its way; that one is answered too. Then the connection is gone from the
        edge's `connections`, at the latest after the deadlines for receiving and sending, and
        however long the application takes.
        """
        self.edge.draining = True
        if self._is_idle:
            self.loop.call_later(linger_s, self._leave)

    def _leave(self) -> None:
        if self._is_idle:
            self._close()

    # --- deadlines

    def check(self, now: float) -> None:
        """Act on the deadlines that this connection has missed; called every half second.

        Args:
            now: By the edge's clock.
        """
        deadlines = self._deadlines
        unsent = self.transport.get_write_buffer_size()
        if deadlines.is_stuck(now, unsent):
            self._reset()
            return
        if self.active is not None and (self.half_closed or self.flow.read_paused):
            if self.transport.is_closing():
                return
            if ending.is_reset(self.transport):
                self.give_up()
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
            held = self.flow.read_paused or self._receiving.awaits_continue
            refused = deadlines.body_refusal(now, self._reader.body_size, held=held)
            if refused is not None:
                self._refuse(refused)
        elif state is State.HEAD:
            if self.flow.read_paused:
                deadlines.since = now
            elif (refused := deadlines.head_refusal(now)) is not None:
                self._refuse(refused)
        elif self.active is not None:
            pass
        elif unsent:
            deadlines.since = now
        elif deadlines.is_idle(now, used=state is not State.NEW):
            self._close()
