"""A reader of the requests in a connection's bytes. No socket, no clock, no event loop.

    reader.feed(data) -> event | None;  then reader.next() -> event | None, until it returns None

An event is a `Head`, a `Body`, the `END` of a body, an `Upgrade` or a `Refusal`. A request without
a body is one `Head`. `reader_state` has the state machine.

httptools parses. `Framing` finds the end of each message, so that the parser gets no byte beyond
it. A long body of known length bypasses the parser, which would copy each byte.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from .._head_codec import decode_path
from .._httptools import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserInvalidMethodError,
    HttpParserUpgrade,
    RequestParser,
    callback_error,
    new_parser,
)
from ..config import MIB
from .edge_limits import EdgeLimits
from .framing import Framing
from .head import Head
from .head_checks import (
    Refusal,
    check_coding,
    check_expectation,
    check_host,
    connect_refusal,
    parse_target,
    parser_refusal,
)
from .reader_state import RECEIVING, TRANSITIONS, State, Step

__all__ = ["END", "Body", "End", "Event", "Reader", "Upgrade", "websocket_refusal"]


NEW, HEAD, BODY, DONE, MUST_CLOSE, UPGRADED, REFUSED = State
_BEGIN, _BODY_FOLLOWS, _END_REQUEST, _END_LAST_REQUEST, _UPGRADE, _REFUSE = Step


class Body(NamedTuple):
    """A part of a request's body."""

    data: bytes


class End:
    """The end of a request's body."""


END = End()


class Upgrade(NamedTuple):
    """A request for a WebSocket, and the bytes that arrived behind its head."""

    head: Head
    rest: bytes


Event = Head | Body | End | Upgrade | Refusal

_VERSIONS = {b"HTTP/1.1": "1.1", b"HTTP/1.0": "1.0"}
_INTERPRETED_HEADERS = frozenset((b"host", b"content-length", b"transfer-encoding", b"expect"))
_WHITESPACE = b" \t"
_LINE_ENDS = b"\r\n"
_LINE_OVERHEAD = len("  HTTP/1.1")
"""Bytes of a request line besides its method and its target."""
_MAX_PARSED_BODY_BYTES = 64 * 1024
"""Size up to which a body of known length is parsed, which costs less than a new parser."""
_MAX_FRAMING_RATIO = 16
"""Bytes of chunked framing allowed per byte of body; one-byte chunks take 5."""


class Reader:
    """Reads the requests of one connection.

    Attributes:
        state: See `reader_state.TRANSITIONS`.
        body_size: Bytes of the current body that have been read.
    """

    def __init__(self, limits: EdgeLimits) -> None:
        self.state = NEW
        self.body_size = 0
        self._limits = limits
        self._max_fields = limits.header_fields
        self._framing = Framing()
        self._parser: RequestParser = new_parser(self)
        self._events: deque[Event] = deque()
        self._data = b""
        self._offset = 0
        # State of the request that is being read:
        self._method = b""  # once the parser knows it
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head: Head | None = None
        self._head_size = 0
        self._num_hosts = 0
        self._host: bytes | None = None  # the last valid one, which clients repeat
        self._length = 0
        self._is_long_body = False  # the body, and its length is known
        self._chunked = False
        self._expects_continue = False
        self._framed_size = 0  # of a chunked body, with its framing

    def feed(self, data: bytes) -> Event | None:
        """Add bytes of the client, and return the first event in them."""
        self._data = data
        self._offset = 0
        return self.next()

    def next(self) -> Event | None:
        """Return the next event in the bytes fed, None if more bytes are needed."""
        events, data = self._events, self._data
        while not events:
            if self._offset >= len(data) or self.state not in RECEIVING:
                self._data = b""
                return None
            self._read(data)
        return events.popleft()

    @property
    def pending(self) -> bool:
        """Whether bytes were fed that have not become events."""
        return self._offset < len(self._data)

    def take_whole_body(self) -> bytes | None:
        """Consume and return the body of the last `Head`, if the whole body was fed with it.

        Returns:
            None, with nothing consumed, if there is no body or a part of it has not arrived.
        """
        if self.state is not BODY or self._chunked or self._length > len(self._data) - self._offset:
            return None
        parts = []
        while isinstance(event := self.next(), Body):
            parts.append(event.data)
        assert event is END, "a body of known length ends at that length"
        return b"".join(parts)

    def refuse(self, refusal: Refusal) -> Refusal:
        """Stop reading; return the refusal, completed."""
        # Between requests, `_method` is the last request's.
        refusal.bodiless = self.state in (HEAD, BODY, UPGRADED) and self._method == b"HEAD"
        self._step(_REFUSE)
        self._data = b""
        self._events.clear()
        return refusal

    def end_of_stream(self) -> Refusal | None:
        """Handle the end of the client's bytes; return the refusal of an incomplete request."""
        if self.state is HEAD or self.state is BODY:
            return self.refuse(Refusal(400, "The request is incomplete."))
        return None

    def close(self) -> None:
        """Release the parser, which refers to this reader."""
        self._parser = None  # type: ignore[assignment]  # a closed reader is fed no bytes

    # --- splitting bytes into pieces of one message each

    def _step(self, step: Step) -> None:
        self.state = TRANSITIONS[self.state, step]

    def _read(self, data: bytes) -> None:
        """Read the next piece of a message, at most up to the message's end."""
        offset, framing = self._offset, self._framing
        begins = self.state is NEW or self.state is DONE
        if begins:
            if data[offset] in _LINE_ENDS or framing.has_pending_cr:
                try:
                    offset = self._offset = framing.skip_empty_lines(data, offset)
                except Refusal as refusal:
                    self._events.append(self.refuse(refusal))
                    return
                if offset == len(data):
                    return
            end = framing.begin(data, offset)
            self.state = TRANSITIONS[self.state, _BEGIN]
            self._head_size = self._num_hosts = self._length = 0
            self._chunked = self._expects_continue = self._is_long_body = False
            self._method = self._url = b""
            self._headers = []
        elif self.state is BODY and not self._chunked:
            end = min(offset + self._length - self.body_size, len(data))
        else:
            end = framing.find_end(data, offset)
            if framing.is_in_line:
                framing.measure_line(data, offset, end)
        self._offset = end
        piece = data if end - offset == len(data) else data[offset:end]
        if self._is_long_body:
            self._read_long_body(piece)
            return
        if self.state is HEAD:
            self._head_size += len(piece)
        else:
            self._framed_size += len(piece)
        self._parse(piece, begins)

    def _read_long_body(self, piece: bytes) -> None:
        """Read a part of a long body without the parser; a new parser reads the next request."""
        self.body_size += len(piece)
        self._events.append(Body(piece))
        if self.body_size == self._length:
            self._parser = new_parser(self)
            self._end_body()

    def _end_body(self) -> None:
        assert self._head is not None
        self._step(_END_REQUEST if self._head.keep_alive else _END_LAST_REQUEST)
        self._events.append(END)

    def _parse(self, piece: bytes, begins: bool) -> None:
        try:
            self._parser.feed_data(piece)
        except HttpParserUpgrade:
            self._handle_upgrade()
            return
        except HttpParserError as error:
            failure = error
        else:
            if self.state is HEAD or self.state is BODY:
                self._check_progress()
            return
        # Outside of the `except` block: inside, the cause would be another exception.
        cause = callback_error(failure)
        if isinstance(cause, Refusal):
            refusal = cause
        elif isinstance(failure, HttpParserCallbackError):
            raise failure
        else:
            wrong_method = isinstance(failure, HttpParserInvalidMethodError)
            refusal = parser_refusal(str(failure), piece if begins else b"", wrong_method)
        self._events.append(self.refuse(refusal))

    def _handle_upgrade(self) -> None:
        """Continue behind a head with Upgrade: in the other protocol, or ignore it.

        Java's HTTP client asks for HTTP/2 with each request, even with a body. httptools ends the
        message at such a head, so a new parser reads the body.
        """
        if self.state is UPGRADED:
            assert self._head is not None
            self._events.append(Upgrade(self._head, self._data[self._offset :]))
        elif self.state is BODY:
            self._parser = new_parser(self)
            framing = b"content-length: %d" % self._length
            if self._chunked:
                framing = b"transfer-encoding: chunked"
            self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % framing)
            self._headers = []

    def _check_progress(self) -> None:
        """Limit the bytes that httptools buffers or skips: headers, chunk extensions, trailers."""
        limits = self._limits
        refusal = None
        if self.state is HEAD:
            if self._framing.line_size > limits.request_line_bytes:
                refusal = self._line_too_long()
            elif self._head_size > limits.header_bytes + limits.request_line_bytes:
                refusal = self._head_too_big()
        elif self._chunked:
            if self._framed_size > _MAX_FRAMING_RATIO * self.body_size + limits.header_bytes:
                refusal = Refusal(400, "The body's chunks are too small for their framing.")
        if refusal is not None:
            self._events.append(self.refuse(refusal))

    # --- callbacks of httptools

    def on_url(self, url: bytes) -> None:
        """Take a part of the request target. Called by the parser."""
        if self.state is not HEAD:
            return  # see _handle_upgrade
        if not self._url:
            self._method = self._parser.get_method()
        self._url += url
        if self._framing.line_size > self._limits.request_line_bytes:
            raise self._line_too_long()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header field. Called by the parser."""
        name = name.lower()
        if value[-1:] in _WHITESPACE:
            value = value.strip(_WHITESPACE)
        headers = self._headers
        headers.append((name, value))
        if name in _INTERPRETED_HEADERS and self.state is HEAD:
            self._interpret_header(name, value)
        if len(headers) > self._max_fields:
            raise Refusal(431, f"The request has more than {self._max_fields} headers, the limit.")

    def on_headers_complete(self) -> None:
        """Check the head and report it. Called by the parser."""
        if self.state is not HEAD:
            return  # see _handle_upgrade
        parser = self._parser
        method = self._method.decode("ascii")
        version = _VERSIONS.get(self._framing.line_tail)
        # The version at the end of `GET  /HTTP/1.1` is a part of its target.
        if (
            version is None
            or self._framing.line_size != len(method) + len(self._url) + _LINE_OVERHEAD
        ):
            raise self._wrong_version()
        if self._framing.spaces != 2:
            raise _wrong_spaces()
        if self._num_hosts != 1 and (self._num_hosts or version == "1.1"):
            raise Refusal(400, f"The request has {self._num_hosts} Host headers instead of one.")
        if self._head_size > self._limits.header_bytes:
            self._check_head_size()
        url = self._url
        if url[:1] == b"/" and b"#" not in url and url.isascii():
            raw_path, _, query = url.partition(b"?")
        else:
            raw_path, query, host = parse_target(url, method)
            if host is not None:
                self._replace_host(host)
        limit = self._limits.body_bytes
        if limit is not None and self._length > limit:
            raise self._body_too_long(limit)
        has_body = self._chunked or self._length > 0
        head = self._head = Head(
            method,
            raw_path,
            decode_path(raw_path),
            query,
            version,
            self._headers,
            has_body,
            self._expects_continue and has_body and version == "1.1",
            version == "1.1" and parser.should_keep_alive(),
        )
        if parser.should_upgrade():  # true for CONNECT as well
            if method == "CONNECT":
                raise connect_refusal()
            if _asks_for_websocket(self._headers):
                self._check_upgrade(head)
                self._step(_UPGRADE)
                return
        if has_body:
            self._step(_BODY_FOLLOWS)
            self.body_size = self._framed_size = 0
            self._is_long_body = not self._chunked and self._length > _MAX_PARSED_BODY_BYTES
            # Trailers are dropped: the application may have read the headers already.
            self._headers = []
        else:
            self._step(_END_REQUEST if head.keep_alive else _END_LAST_REQUEST)
        self._events.append(head)

    def on_body(self, body: bytes) -> None:
        """Report a part of the body. Called by the parser."""
        self.body_size += len(body)
        limit = self._limits.body_bytes
        if limit is not None and self.body_size > limit:
            raise self._body_too_long(limit)
        self._events.append(Body(body))

    def on_message_complete(self) -> None:
        """End the body, unless the connection is upgraded. Called by the parser."""
        # At a head with Upgrade, httptools reports the end of the message.
        if self.state is BODY and not self._parser.should_upgrade():
            self._end_body()
            if self._chunked and not self._parser.should_keep_alive():
                # `Connection: close` among the trailers: other servers ignore it, and after it
                # this parser would read no further request.
                self._parser = new_parser(self)

    # --- checks of a request

    def _interpret_header(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            self._num_hosts += 1
            if value != self._host:
                check_host(value)
                self._host = value
        elif name == b"content-length":
            self._length = int(value)
        elif name == b"transfer-encoding":
            if self._chunked:
                raise Refusal(400, "The request has more than one Transfer-Encoding header.")
            check_coding(value, self._parser.get_http_version())
            self._chunked = True
        else:
            check_expectation(value)
            self._expects_continue = True

    def _wrong_version(self) -> Refusal:
        if self._parser.get_http_version() not in _VERSIONS.values():
            return Refusal(505, "The supported versions are HTTP/1.0 and HTTP/1.1.")
        if not self._framing.line_tail.startswith(b"HTTP/"):
            return Refusal(400, "The request line must end with HTTP/1.1 or HTTP/1.0.")
        return _wrong_spaces()

    def _line_too_long(self) -> Refusal:
        limit = self._limits.request_line_bytes
        return Refusal(414, f"The request line has more than {limit} bytes, the limit.")

    def _check_head_size(self) -> None:
        size = sum([len(name) + len(value) + 4 for name, value in self._headers])
        if size > self._limits.header_bytes:
            raise self._head_too_big()

    def _head_too_big(self) -> Refusal:
        limit = self._limits.header_bytes
        return Refusal(431, f"The headers have more than {limit} bytes, the limit.")

    def _body_too_long(self, limit: int) -> Refusal:
        size = f"{limit} bytes" if limit % MIB else f"{limit // MIB} MiB"
        return Refusal(
            413, f"The request's body has more than {size}, the limit (http option max_body_bytes)."
        )

    def _replace_host(self, host: bytes) -> None:
        """Replace the Host header by the host of an absolute target (RFC 9112, section 3.2.2)."""
        rest = [header for header in self._headers if header[0] != b"host"]
        self._headers[:] = [(b"host", host), *rest]

    def _check_upgrade(self, head: Head) -> None:
        if head.version == "1.0":
            raise Refusal(400, "A WebSocket handshake needs HTTP/1.1, not HTTP/1.0.")
        if head.has_body:
            raise websocket_refusal()


def websocket_refusal() -> Refusal:
    """Return the refusal of a WebSocket handshake that has a body or is pipelined."""
    return Refusal(
        400, "A WebSocket handshake must have no body and must not be pipelined behind a request."
    )


def _wrong_spaces() -> Refusal:
    return Refusal(400, "Exactly one space must separate method, target and version.")


def _asks_for_websocket(headers: list[tuple[bytes, bytes]]) -> bool:
    """Return whether the headers ask for a WebSocket; the last header of each name counts."""
    fields = dict(headers)
    tokens = fields.get(b"connection", b"").lower().split(b",")
    upgrades = b"upgrade" in [token.strip() for token in tokens]
    return upgrades and fields.get(b"upgrade", b"").lower() == b"websocket"
