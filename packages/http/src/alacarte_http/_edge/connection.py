"""A client's connection: uvicorn's on httptools, made fit to face strangers.

httptools says what a request is. Here is the rest of what RFC 9112 asks of a server's edge: limits,
deadlines, answers in turn, and an end that loses nothing. No request costs a timer.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import struct
import termios
from collections import deque
from collections.abc import Callable
from fcntl import ioctl
from functools import partial
from typing import Any
from urllib.parse import unquote

from alacarte.types import Buffer

from .._httptools import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserInvalidMethodError,
    HttpParserUpgrade,
    cause_of,
    let_data_follow,
    new_parser,
)
from .._message import ResponseHead
from .._uvicorn import HIGH_WATER_LIMIT, STATUS_LINE, HttpConnection
from ..config import MIB, HTTPOptions
from .checks import (
    Refused,
    check_coding,
    check_expectation,
    check_host,
    no_connect,
    parse_target,
    refused_by_parser,
)
from .exchange import BODILESS, SMALL, Exchange
from .framing import Framing
from .limits import edge_limits
from .sweep import Edge

__all__ = ["ProxyConnection", "connections"]

# What a connection is receiving: nothing yet, nothing for now, a head, a body; nothing any more.
NEW, BETWEEN, HEAD, BODY, CLOSING = range(5)

_CHECKED = frozenset((b"host", b"content-length", b"transfer-encoding", b"expect"))
_BLANK = b" \t"
_LINE_ENDS = b"\r\n"
_MAX_PIPELINED = 256
_MIN_RATE = 1024
"""Bytes a second of a request's body, over any `receive_body_timeout_s`."""
_FRAMING = 16
"""How many bytes chunked framing may take for one of the body; one-byte chunks take 5."""
_LINGER_S = 2.0
_LAST_MOMENT_S = 0.5
_PROBE_S = 0.05
_MAX_PROBE_S = 10.0
_LOOKS_S = (0.001, 0.004, 0.015)
"""When to look for the answer to a probe, from clients at some distance."""
_QUIET_S = 1.0
_NO_LINGER = struct.pack("ii", 1, 0)
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_ASGI = {"version": "3.0", "spec_version": "2.3"}


def connections(options: HTTPOptions) -> Callable[..., ProxyConnection]:
    """Return what makes the connections of one process."""
    return partial(ProxyConnection, edge=Edge(edge_limits(options)))


class _NoMore(Exception):
    """A client said that a request was its last, and went on."""


class ProxyConnection(HttpConnection):
    """A client's connection.

    Attributes:
        lost: Nobody waits for the current response: the client has hung up, or was answered
            otherwise. The request's task is cancelled, so that the replica stops too, unless it
            `stays`.
    """

    lost = False

    def __init__(self, *args: Any, edge: Edge, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        let_data_follow(self.parser)  # uvicorn 0.30 does not
        self._edge = edge
        self._limits = edge.limits
        self._max_fields = edge.limits.header_fields
        self._state = NEW
        self._since = edge.now
        self._active: Exchange | None = None
        self._queue: deque[Exchange] = deque()
        self._refusal: Refused | None = None
        self._leave_at: float | None = None
        self._eof = False
        self._leaving = edge.leaving
        self._last = False
        self._upgrading = False
        self._successor: Any = None  # takes over what comes after an upgrade
        self._skipping = False
        # Of the request that is being received.
        self._framing = Framing()
        self._method = b""  # once the parser knows it
        self._size = 0
        self._head_size = 0
        self._hosts = 0
        self._host: bytes | None = None  # the last one found valid
        self._length = 0
        self._chunked = False
        self._expects = False
        self._raw_size = 0
        self._body_size = 0
        self._window_start = 0.0
        self._window_size = 0
        # Of what is being written.
        self._unsent = 0
        self._moved = False
        self._stuck_since = 0.0

    # --- the transport's events

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self._edge.add(self):
            return
        if len(self.connections) > self._limits.connections + 64:
            self.abort()  # a flood: even saying so would cost more than there is
            return
        self._refuse(
            Refused(
                503,
                f"All {self._limits.connections} connections are in use; try again.",
                b"retry-after: 1\r\n",
            )
        )

    def connection_lost(self, exc: Exception | None) -> None:
        self._state = CLOSING
        self.connections.discard(self)
        self._edge.forget(self)
        self._queue.clear()
        active, self._active = self._active, None
        if active is not None:
            self._abandon(active)
        self.flow.resume_writing()
        self.parser = None  # it refers to us

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Keep the way back open for a client that has only stopped sending.

        Whether it is that, or gone, shows when something is written to it: see `_probe`. It is
        asked at once, so that a request that still waits for a replica runs for nobody who is gone.
        """
        self._eof = True
        state, active = self._state, self._active
        if state == HEAD or (state == BODY and not self.cycle.response_complete):
            self._refuse(Refused(400, "The request broke off before its end."))
            active = self._active
        if active is None or self.scheme == "https" or active.scope["http_version"] != "1.1":
            return None
        if active.response_started:
            active.wrote = False
            self.loop.call_later(_QUIET_S, self._end_if_quiet, active)
        else:
            self._probe(active, _PROBE_S)
        return True

    def data_received(self, data: bytes) -> None:
        at, size, framing = 0, len(data), self._framing
        while at < size and (state := self._state) != CLOSING:
            if state < HEAD:
                if (data[at] in _LINE_ENDS or framing.half_empty_line) and not self._last:
                    try:
                        at = framing.skip_empty_lines(data, at)
                    except Refused as refused:
                        self._refuse(refused)
                        return
                    if at == size:
                        return
                end = framing.begin(data, at)
            elif state == BODY and not self._chunked:
                end = min(at + self._length - self._body_size, size)
            else:
                end = framing.find_end(data, at)
                if framing.in_line:
                    framing.measure_line(data, at, end)
            self._feed(data if end - at == size else data[at:end])
            at = end
        if at < size and self._successor is not None:
            self._successor.data_received(data[at:])

    def _feed(self, data: bytes) -> None:
        """Parse a part of a message."""
        state = self._state
        size = self._size = len(data)
        if state == HEAD:
            self._head_size += size
        elif state == BODY:
            self._raw_size += size
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade:
            upgrades = True
        except HttpParserError as error:
            self._stop(error, data if state < HEAD else b"")
            return
        else:
            upgrades = False
            if self._state == HEAD or self._state == BODY:
                self._check_progress()
        # Not in the `except` above: Python would make the pause the context of another error.
        if upgrades:
            self._upgrade()

    def pause_writing(self) -> None:
        self.flow.pause_writing()

    def resume_writing(self) -> None:
        self._moved = True
        self.flow.resume_writing()

    # --- the parser's events

    def on_message_begin(self) -> None:
        if self._last or self._state == BODY:
            if self._state == BODY:
                return  # see _upgrade
            raise _NoMore
        self._state = HEAD
        self._since = self._edge.now
        self._head_size = self._size
        self._hosts = self._length = 0
        self._chunked = self._expects = False
        self._method = self.url = b""
        self.headers = []

    def on_url(self, url: bytes) -> None:
        if not self.url:
            self._method = self.parser.get_method()
        self.url += url
        if self._framing.line_size > self._limits.request_line_bytes:
            raise self._too_long_a_line()

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if value[-1:] in _BLANK:
            value = value.strip(_BLANK)
        headers = self.headers
        headers.append((name, value))
        if name in _CHECKED and self._state == HEAD:
            self._note(name, value)
        if len(headers) > self._max_fields:
            raise self._too_many()

    def on_headers_complete(self) -> None:
        if self._state == BODY:
            return
        parser = self.parser
        version = parser.get_http_version()
        method = self._method.decode("ascii")
        if version != "1.1" and version != "1.0":
            raise Refused(505, "The versions understood are HTTP/1.0 and HTTP/1.1.")
        if not self._framing.line_tail.startswith(b"HTTP/"):
            raise Refused(400, "The request line must end with HTTP/1.1 or HTTP/1.0.")
        if self._framing.spaces != 2:
            raise Refused(400, "One space, and no more, parts method, target and version.")
        if self._hosts != 1 and (self._hosts or version == "1.1"):
            raise Refused(400, f"A request has one Host header; this one has {self._hosts}.")
        if self._head_size > self._limits.header_bytes:
            self._check_head()
        url = self.url
        if url[:1] == b"/" and b"#" not in url and url.isascii():
            path, _, query = url.partition(b"?")
        else:
            path, query, host = parse_target(url, method)
            if host is not None:
                self._take_host(host)
                self.url = path + b"?" + query if query else path
        limit = self._limits.body_bytes
        if limit is not None and self._length > limit:
            raise self._too_long(limit)
        text = path.decode("ascii")
        scope: Any = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": "",
            "headers": self.headers,
            "method": method,
            "path": unquote(text) if "%" in text else text,
            "raw_path": path,
            "query_string": query,
            "state": {},
            "alacarte.connection": self,
        }
        self.scope = scope
        if parser.should_upgrade():  # so it says of CONNECT, too
            if method == "CONNECT":
                raise no_connect()
            if self.asks_for_websocket:
                self._check_upgrade(version)
                return
        more_body = self._chunked or self._length > 0
        if more_body:
            self._expect_body()
            self._skipping = parser.should_upgrade()
        keep_alive = version == "1.1" and parser.should_keep_alive()
        self._last = not keep_alive
        exchange = Exchange(
            self,
            scope,
            keep_alive=keep_alive,
            more_body=more_body,
            expects_continue=self._expects and more_body and version == "1.1",
        )
        self.cycle = exchange
        self._state = BODY
        if self._active is None:
            self._begin(exchange)
        else:
            self._enqueue(exchange)

    def on_body(self, body: bytes) -> None:
        exchange = self.cycle
        self._since = self._edge.now
        self._body_size += len(body)
        limit = self._limits.body_bytes
        if limit is not None and self._body_size > limit:
            raise self._too_long(limit)
        if exchange.response_complete:
            return
        exchange.feed(body)
        if exchange.body_size > HIGH_WATER_LIMIT:
            self.flow.pause_reading()

    def on_message_complete(self) -> None:
        if self._skipping:
            return
        self._state = BETWEEN
        exchange = self.cycle
        if exchange.more_body:
            exchange.more_body = exchange.waiting_for_100_continue = False
            exchange.wake()
            if self._chunked and not self._last and not self.parser.should_keep_alive():
                # `Connection: close` among the trailers: no one else heeds that, and a parser that
                # does takes no further request.
                self.parser = new_parser(self)
            if self._active is None:  # answered before all of it was here
                self._rest()

    # --- checks of a request

    def _note(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            self._hosts += 1
            if value != self._host:
                check_host(value)
                self._host = value
        elif name == b"content-length":
            self._length = int(value)
        elif name == b"transfer-encoding":
            check_coding(value, self.parser.get_http_version())
            self._chunked = True
        else:
            check_expectation(value)
            self._expects = True

    def _too_long_a_line(self) -> Refused:
        limit = self._limits.request_line_bytes
        return Refused(414, f"The request line is longer than the {limit} bytes allowed.")

    def _check_head(self) -> None:
        size = sum([len(name) + len(value) + 4 for name, value in self.headers])
        if size > self._limits.header_bytes:
            raise self._too_big()

    def _too_big(self) -> Refused:
        return Refused(431, f"Headers may take {self._limits.header_bytes} bytes; these take more.")

    def _too_many(self) -> Refused:
        return Refused(431, f"A request may have {self._max_fields} headers; this one has more.")

    def _too_long(self, limit: int) -> Refused:
        size = f"{limit} bytes" if limit % MIB else f"{limit // MIB} MiB"
        return Refused(
            413, f"The request's body is longer than the {size} of HTTPOptions.max_body_bytes."
        )

    def _take_host(self, host: bytes) -> None:
        """Put the host that an absolute target names in the place of Host, as RFC 9112 3.2.2."""
        rest = [header for header in self.headers if header[0] != b"host"]
        self.headers[:] = [(b"host", host), *rest]

    def _check_upgrade(self, version: str) -> None:
        if version == "1.0":
            raise Refused(400, "A WebSocket is opened with HTTP/1.1, not with HTTP/1.0.")
        if self._active is not None or self._length or self._chunked:
            raise Refused(400, "A WebSocket begins without a body, and behind no other request.")
        self._upgrading = self._skipping = True

    def _expect_body(self) -> None:
        self._since = self._window_start = self._edge.now
        self._raw_size = self._body_size = self._window_size = 0
        if self._chunked:
            # Trailers are dropped: the application may have looked at the headers already.
            self.headers = []

    def _check_progress(self) -> None:
        """Bound what httptools holds back: half a header, chunk extensions, trailers."""
        limits = self._limits
        if self._state == HEAD:
            if self._framing.line_size > limits.request_line_bytes:
                self._refuse(self._too_long_a_line())
            elif self._head_size > limits.header_bytes + limits.request_line_bytes:
                self._refuse(self._too_big())
        elif self._state == BODY and self._chunked:
            if self._raw_size > _FRAMING * self._body_size + limits.header_bytes:
                self._refuse(Refused(400, "The chunks' framing outweighs what is in them."))

    def _stop(self, error: HttpParserError, data: bytes) -> None:
        """Answer what the parser, or one of the methods above, did not accept.

        Args:
            data: What it was fed, if no request before the wrong one was in it.
        """
        cause = cause_of(error)
        if isinstance(cause, Refused):
            self._refuse(cause)
        elif isinstance(cause, _NoMore) or (self._last and self._state == BETWEEN):
            pass
        elif isinstance(error, HttpParserCallbackError):
            raise error
        else:
            wrong_method = isinstance(error, HttpParserInvalidMethodError)
            self._refuse(refused_by_parser(str(error), data, wrong_method))

    def _upgrade(self) -> None:
        """Go on after a head that asks for another protocol, in that one or in HTTP/1.1.

        Java's HTTP client asks for HTTP/2 with every request, also with a body. To httptools
        there is none, so another parser is told of it and goes on.
        """
        if not self._upgrading:
            if self._skipping:
                self._skipping = False
                self.parser = new_parser(self)
                framing = b"content-length: %d" % self._length
                if self._chunked:
                    framing = b"transfer-encoding: chunked"
                self.headers = []
                self.parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % framing)
            return
        self._state = CLOSING
        self._edge.forget(self)
        self._successor = self.go_on_as_websocket()

    # --- requests in turn

    def _begin(self, exchange: Exchange) -> None:
        self._active = exchange
        self._edge.waiting.pop(self, None)
        app: Any = self.app if exchange.scope["path"] != "*" else _server_options
        exchange.task = task = self.loop.create_task(exchange.run(app))
        self.tasks.add(task)
        if self._eof:
            self.loop.call_later(_PROBE_S, self._probe, exchange, _PROBE_S)

    def _enqueue(self, exchange: Exchange) -> None:
        """Let a pipelined request wait for its turn."""
        self.flow.pause_reading()
        self._queue.append(exchange)
        if len(self._queue) > _MAX_PIPELINED:
            raise Refused(
                503,
                f"{_MAX_PIPELINED} requests wait on this connection already.",
                b"retry-after: 1\r\n",
            )

    def ends_with(self, exchange: Exchange) -> bool:
        """Whether nothing follows the response to this request."""
        if self._queue or self._refusal is not None:
            return False
        return self._leaving or self._eof

    def answered(self, exchange: Exchange) -> None:
        """Go on after a response: to the next request, or to rest, or to the end."""
        self._active = None
        if self.transport.is_closing():
            return
        if not exchange.keep_alive:
            self._end()
        elif self._queue:
            following = self._queue.popleft()
            self._begin(following)
            if not self._queue:
                self.flow.resume_reading()
        elif self._refusal is not None:
            self._write_refusal(self._refusal)
        else:
            self.flow.resume_reading()
            if self._state == BETWEEN:
                self._rest()

    def _rest(self) -> None:
        """Wait for the next request."""
        self._since = self._edge.now
        self._edge.waiting[self] = None
        if self._eof:
            self.transport.close()
        elif self._leaving:
            self.wind_down()

    # --- answers

    async def respond(
        self, cycle: Exchange, head: ResponseHead, extra: bytes, body: Buffer
    ) -> None:
        """Send a whole response, a small one in one write.

        `send` would send head and body apart and look at each header; a write costs more than all
        that the proxy does for a small request. Of a large body no copy is made.

        Args:
            cycle: The request it answers.
            extra: Further header lines, each ended.

        Raises:
            ValueError: The head promises a body of another length; nothing was sent.
        """
        silent = cycle.scope["method"] == "HEAD" or head.status in BODILESS
        if not silent and head.length not in (None, len(body)):
            raise ValueError(
                f"the response's Content-Length is {head.length}, its body has {len(body)} bytes"
            )
        if self.flow.write_paused and not cycle.disconnected:
            await self.flow.drain()
        if cycle.disconnected:
            return
        cycle.response_started = True
        pieces: list[Buffer] = [
            STATUS_LINE[head.status],
            self.common_lines(),
            head.block,
            extra,
        ]
        if head.length is None and head.status not in BODILESS:
            pieces.append(b"content-length: %d\r\n" % len(body))
        if cycle.ends_connection(head.close) and not head.close:
            pieces.append(b"connection: close\r\n")
        pieces.append(b"\r\n")
        if not silent and len(body) <= SMALL:
            pieces.append(body)
        self.transport.write(b"".join(pieces))
        if not silent and len(body) > SMALL:
            self.transport.write(body)
        cycle.complete()

    def common_lines(self) -> bytes:
        """Return the header lines that every response has."""
        return self._edge.lines(self.default_headers)

    def write_interim(self) -> None:
        """Tell the client to go on. It must skip that as often as it comes."""
        if not self.transport.is_closing():
            self._since = self._window_start = self._edge.now
            self.transport.write(_CONTINUE)

    def _refuse(self, refused: Refused) -> None:
        """Answer instead of the application, in its turn; then end the connection."""
        state = self._state
        if state == CLOSING:
            return
        self._state = CLOSING
        # What is refused between requests is none, and so is its method.
        refused.bodiless = state in (HEAD, BODY) and self._method == b"HEAD"
        if state == BODY:
            exchange = self.cycle
            if exchange.response_complete:
                self._linger()
                return
            if self._active is None or exchange is not self._active:
                self._queue.remove(exchange)
            elif exchange.response_started:
                self.cut()
                return
            else:
                self._active = None
                self._abandon(exchange)
        if self._active is None:
            self._write_refusal(refused)
        else:
            self._refusal = refused

    def _write_refusal(self, refused: Refused) -> None:
        body = (refused.text + "\n").encode("utf-8", "backslashreplace")
        self.transport.write(
            b"%b%b%bcontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n"
            b"connection: close\r\n\r\n%b"
            % (
                STATUS_LINE[refused.status],
                self.common_lines(),
                refused.extra,
                len(body),
                b"" if refused.bodiless else body,
            )
        )
        self._linger()

    # --- ends

    def _end(self) -> None:
        if self._state == BETWEEN and not self.flow.read_paused:
            self._state = CLOSING
            self.transport.close()
        else:
            self._linger()

    def _linger(self) -> None:
        """Stop writing, and read on for a while.

        A socket that is closed with unread bytes resets the connection, and a reset destroys what
        the client has not read yet: the answer.
        """
        self._state = CLOSING
        if self._eof:
            self.transport.close()
            return
        self._leave_at = self._edge.now + _LINGER_S
        self._edge.waiting[self] = None
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()

    def cut(self) -> None:
        """End in the middle of a response, so that the client sees that it is not whole."""
        active = self._active
        if active is not None and active.scope["http_version"] == "1.0":
            self._reset()  # nothing else tells it from the end
        else:
            self.transport.close()

    def has_unread(self) -> bool:
        """Return whether the kernel holds bytes of the client that nobody has read yet."""
        if self.transport.is_closing():
            return False
        peer = self.transport.get_extra_info("socket")
        return ioctl(peer.fileno(), termios.FIONREAD, bytes(4)) != bytes(4)

    def abort(self) -> None:
        """Drop the connection and what was not sent."""
        self._state = CLOSING
        self.connections.discard(self)
        self._edge.forget(self)
        self.transport.abort()

    def _reset(self) -> None:
        """Drop the connection and what the kernel holds for it, at once."""
        peer = self.transport.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.abort()

    def _abandon(self, exchange: Exchange) -> None:
        """Cancel the work on a request that nobody waits for."""
        exchange.disconnected = True
        exchange.wake()
        self.lost = True
        if exchange.stays and not exchange.more_body:
            return  # all that it takes to finish it is here
        if exchange.task is not None:
            exchange.task.cancel()
            self.tasks.discard(exchange.task)

    def wind_down(self, linger_s: float = _LAST_MOMENT_S) -> None:
        """End without losing a request: call it once, when the proxy takes no new connections.

        Requests that are in progress, or waiting in line, are answered, the last one with
        `Connection: close`. A connection without any stays open for another `linger_s`, since a
        request may be on its way; that one is answered too. Then the connection is gone from
        uvicorn's `connections`, at the latest after the deadlines for receiving and sending, and
        however long the application takes.
        """
        self._edge.leaving = self._leaving = True
        if self._active is None and self._state in (NEW, BETWEEN):
            self.loop.call_later(linger_s, self._leave)

    shutdown = wind_down

    def _leave(self) -> None:
        if self._active is None and self._state in (NEW, BETWEEN):
            self._state = CLOSING
            self.transport.close()

    def _probe(self, exchange: Exchange, delay_s: float) -> None:
        """Ask a client that has stopped sending whether it is still there.

        One that is gone resets the connection when something is written to it: within a round
        trip, which on one machine is over when the call returns. As long as no response has begun,
        an interim response may be written; then its own parts tell.
        """
        if exchange is not self._active or exchange.response_started or self._leave_if_reset():
            return
        if not self.transport.get_write_buffer_size():
            exchange.wrote = self._write_now(_CONTINUE)
            if self._leave_if_reset():
                return
            for look_s in _LOOKS_S:
                self.loop.call_later(look_s, self._leave_if_reset)
        following_s = min(2 * delay_s, _MAX_PROBE_S)
        self.loop.call_later(delay_s, self._probe, exchange, following_s)

    def _end_if_quiet(self, exchange: Exchange) -> None:
        """Give up a client that has stopped sending, if nothing was written to it since."""
        if exchange is self._active and not exchange.wrote:
            if not self.transport.get_write_buffer_size():
                self.abort()

    def _write_now(self, data: bytes) -> bool:
        """Write to the socket itself, as nothing else waits to be written; return if it was."""
        try:
            return os.write(self.transport.get_extra_info("socket").fileno(), data) == len(data)
        except OSError:
            return False

    def _leave_if_reset(self) -> bool:
        """Drop the connection if the client has reset it; return whether it has."""
        if self.transport.is_closing():
            return True
        if not self._is_reset():
            return False
        active, self._active = self._active, None
        if active is not None:
            self._abandon(active)  # now: in the next turn of the loop its call may be sent
        self.abort()
        return True

    # --- deadlines

    def check(self, now: float) -> None:
        """Look at the deadlines of this connection; called every half second.

        Args:
            now: By the edge's clock.
        """
        unsent = self.transport.get_write_buffer_size()
        if unsent and self._is_stuck(unsent, now):
            self._reset()
            return
        self._unsent = unsent
        if self._active is not None and (self._eof or self.flow.read_paused):
            if self._leave_if_reset():
                return
        state, limits = self._state, self._limits
        if state == BODY:
            self._check_body(now)
        elif state == HEAD:
            if self.flow.read_paused:
                self._since = now
            elif now - self._since >= limits.head_s:
                self._refuse(
                    Refused(408, f"The request's head took longer than {limits.head_s:g} s.")
                )
        elif self._active is not None:
            pass
        elif unsent:
            self._since = now
        elif state == BETWEEN:
            if now - self._since >= limits.keep_alive_s:
                self._state = CLOSING
                self.transport.close()
        elif state == NEW:
            if now - self._since >= limits.head_s:
                self._state = CLOSING
                self.transport.close()
        elif self._leave_at is not None and now >= self._leave_at:
            self.transport.close()

    def _is_reset(self) -> bool:
        """Whether the client has reset the connection, which reading would tell if it went on."""
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), 0)
        return bool(poll.poll(0))

    def _is_stuck(self, unsent: int, now: float) -> bool:
        if not self._unsent or unsent < self._unsent or self._moved:
            self._stuck_since = now
            self._moved = False
        return now - self._stuck_since >= self._limits.send_s

    def _check_body(self, now: float) -> None:
        exchange = self.cycle
        if not exchange.more_body:
            return
        if self.flow.read_paused or exchange.waiting_for_100_continue:
            # It is we who keep the client waiting.
            self._since = self._window_start = now
            self._window_size = self._body_size
            return
        limit = self._limits.body_s
        if now - self._since >= limit:
            self._refuse(Refused(408, f"Nothing of the request's body came for {limit:g} s."))
        elif now - self._window_start >= limit:
            if self._body_size - self._window_size < _MIN_RATE * limit:
                self._refuse(
                    Refused(408, f"The request's body came slower than {_MIN_RATE} bytes a second.")
                )
            self._window_start, self._window_size = now, self._body_size


async def _server_options(scope: Any, receive: Any, send: Any) -> None:
    """Answer `OPTIONS *`, which asks about the server as a whole."""
    headers = [
        (b"allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
        (b"content-length", b"0"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
