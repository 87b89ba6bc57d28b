"""From the bytes of a connection to the requests in them. No socket, no clock, no event loop.

    reader.feed(data) -> event | None;  then reader.next() -> event | None, until there is none

An event is a `Head`, a `Body`, the `END` of a body, an `Upgrade`, or what was `Refused`. A request
without a body is its head alone. `TRANSITIONS` says which event leads from which state to which;
an event that a state does not have is a bug, and raises.

httptools parses; where one message ends and the next begins is known here (`Framing`), so that the
parser is given no byte beyond the end of a message. Of a long body whose length is known the parser
is given nothing: it would copy every byte.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum, auto
from typing import Any, NamedTuple

from .._head_codec import decode_path
from .._httptools import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserInvalidMethodError,
    HttpParserUpgrade,
    cause_of,
    new_parser,
)
from ..config import MIB
from .checks import (
    Refused,
    check_coding,
    check_expectation,
    check_host,
    no_connect,
    parse_target,
    refused_by_parser,
)
from .framing import Framing
from .head import Head
from .limits import EdgeLimits

__all__ = ["END", "Body", "End", "Event", "Reader", "State", "Upgrade", "websocket_out_of_place"]


class State(IntEnum):
    """What of a connection's bytes has been read."""

    NEW = auto()
    """No byte of any request."""
    HEAD = auto()
    """A part of a head."""
    BODY = auto()
    """A head, and a part of its body."""
    BETWEEN = auto()
    """All of a request, which another one may follow."""
    LAST = auto()
    """All of a request that was the client's last one; further bytes are dropped."""
    UPGRADED = auto()
    """A head behind which the connection belongs to another protocol."""
    REFUSED = auto()
    """Bytes that were refused; further ones are dropped."""


class Step(IntEnum):
    """What happens to a reader."""

    BEGIN = auto()
    """The first byte of a request."""
    BODY_FOLLOWS = auto()
    """The end of a head that has a body."""
    WHOLE = auto()
    """The end of a request."""
    WHOLE_LAST = auto()
    """The end of a request that is the client's last one."""
    UPGRADE = auto()
    """The end of a head that asks for another protocol."""
    REFUSE = auto()
    """A request that is none, or that took too long."""


NEW, HEAD, BODY, BETWEEN, LAST, UPGRADED, REFUSED = State
_BEGIN, _BODY_FOLLOWS, _WHOLE, _WHOLE_LAST, _UPGRADE, _REFUSE = Step

TRANSITIONS = {
    (NEW, _BEGIN): HEAD,
    (NEW, _REFUSE): REFUSED,
    (HEAD, _BODY_FOLLOWS): BODY,
    (HEAD, _WHOLE): BETWEEN,
    (HEAD, _WHOLE_LAST): LAST,
    (HEAD, _UPGRADE): UPGRADED,
    (HEAD, _REFUSE): REFUSED,
    (BODY, _WHOLE): BETWEEN,
    (BODY, _WHOLE_LAST): LAST,
    (BODY, _REFUSE): REFUSED,
    (BETWEEN, _BEGIN): HEAD,
    (BETWEEN, _REFUSE): REFUSED,
    (LAST, _REFUSE): REFUSED,
    (UPGRADED, _REFUSE): REFUSED,
}
"""Where each step leads; a step that is absent in a state is a bug, and raises KeyError."""

RECEIVING = frozenset((NEW, HEAD, BODY, BETWEEN))
"""States in which bytes mean something."""


class Body(NamedTuple):
    """A part of a request's body."""

    data: bytes


class End:
    """The end of a request's body."""


END = End()


class Upgrade(NamedTuple):
    """A request to go on as a WebSocket, and the bytes that came behind it."""

    head: Head
    rest: bytes


Event = Head | Body | End | Upgrade | Refused

_VERSIONS = {b"HTTP/1.1": "1.1", b"HTTP/1.0": "1.0"}
_CHECKED = frozenset((b"host", b"content-length", b"transfer-encoding", b"expect"))
_BLANK = b" \t"
_LINE_ENDS = b"\r\n"
_LINE_REST = len("  HTTP/1.1")
"""Bytes of a request line besides its method and its target."""
_PARSED_BYTES = 64 * 1024
"""Up to so many bytes a body of known length is parsed, which costs less than another parser."""
_MAX_FRAMING_RATIO = 16
"""How many bytes chunked framing may take for one of the body; one-byte chunks take 5."""


class Reader:
    """Reads the requests of one connection.

    Attributes:
        state: What has been read; see `TRANSITIONS`.
        body_size: Bytes of the current body that have been read.
    """

    def __init__(self, limits: EdgeLimits) -> None:
        self.state = NEW
        self.body_size = 0
        self._limits = limits
        self._max_fields = limits.header_fields
        self._framing = Framing()
        self._parser: Any = new_parser(self)
        self._events: deque[Event] = deque()
        self._data = b""
        self._at = 0
        # Of the request that is being read.
        self._method = b""  # once the parser knows it
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head: Head | None = None
        self._head_size = 0
        self._num_hosts = 0
        self._host: bytes | None = None  # the last one found valid
        self._length = 0
        self._is_long = False  # the body, and its length is known
        self._chunked = False
        self._expects_continue = False
        self._raw_size = 0  # of a chunked body, with its framing

    def feed(self, data: bytes) -> Event | None:
        """Take bytes of the client, and return the first event in them."""
        self._data = data
        self._at = 0
        return self.next()

    def next(self) -> Event | None:
        """Return the next event in what was fed, None where more bytes are needed."""
        events, data = self._events, self._data
        while not events:
            if self._at >= len(data) or self.state not in RECEIVING:
                self._data = b""
                return None
            self._read(data)
        return events.popleft()

    @property
    def pending(self) -> bool:
        """Whether bytes were fed that no event was made of yet."""
        return self._at < len(self._data)

    def take_whole_body(self) -> bytes | None:
        """Return the body behind the head that was just returned, if it was fed with the head.

        Its events are used up then. None where there is no body, or more of it may come.
        """
        if self.state is not BODY or self._chunked or self._length > len(self._data) - self._at:
            return None
        parts = []
        while isinstance(event := self.next(), Body):
            parts.append(event.data)
        assert event is END, "a body of known length ends where it says"
        return b"".join(parts)

    def refuse(self, refused: Refused) -> Refused:
        """Read no more, for this reason; return the reason."""
        # What is refused between requests is none, and so is its method.
        refused.bodiless = self.state in (HEAD, BODY, UPGRADED) and self._method == b"HEAD"
        self._step(_REFUSE)
        self._data = b""
        self._events.clear()
        return refused

    def end_of_stream(self) -> Refused | None:
        """Take note that the client sends no more; return the refusal of a request it broke off."""
        if self.state is HEAD or self.state is BODY:
            return self.refuse(Refused(400, "The request broke off before its end."))
        return None

    def close(self) -> None:
        """Let go of the parser, which refers to this reader."""
        self._parser = None

    # --- from bytes to pieces of one message each

    def _step(self, step: Step) -> None:
        self.state = TRANSITIONS[self.state, step]

    def _read(self, data: bytes) -> None:
        """Read the next piece of a message, up to its end at most."""
        at, framing = self._at, self._framing
        begins = self.state is NEW or self.state is BETWEEN
        if begins:
            if data[at] in _LINE_ENDS or framing.half_empty_line:
                try:
                    at = self._at = framing.skip_empty_lines(data, at)
                except Refused as refused:
                    self._events.append(self.refuse(refused))
                    return
                if at == len(data):
                    return
            end = framing.begin(data, at)
            self.state = TRANSITIONS[self.state, _BEGIN]
            self._head_size = self._num_hosts = self._length = 0
            self._chunked = self._expects_continue = self._is_long = False
            self._method = self._url = b""
            self._headers = []
        elif self.state is BODY and not self._chunked:
            end = min(at + self._length - self.body_size, len(data))
        else:
            end = framing.find_end(data, at)
            if framing.in_line:
                framing.measure_line(data, at, end)
        self._at = end
        piece = data if end - at == len(data) else data[at:end]
        if self._is_long:
            self._take_long(piece)
            return
        if self.state is HEAD:
            self._head_size += len(piece)
        else:
            self._raw_size += len(piece)
        self._parse(piece, begins)

    def _take_long(self, piece: bytes) -> None:
        """Take a part of a long body past the parser; another one reads the next request."""
        self.body_size += len(piece)
        self._events.append(Body(piece))
        if self.body_size == self._length:
            self._parser = new_parser(self)
            self._end_body()

    def _end_body(self) -> None:
        assert self._head is not None
        self._step(_WHOLE if self._head.keep_alive else _WHOLE_LAST)
        self._events.append(END)

    def _parse(self, piece: bytes, begins: bool) -> None:
        try:
            self._parser.feed_data(piece)
        except HttpParserUpgrade:
            self._another_protocol()
            return
        except HttpParserError as error:
            failure = error
        else:
            if self.state is HEAD or self.state is BODY:
                self._check_progress()
            return
        # Outside of the `except`: another exception that is handled would hide the cause.
        cause = cause_of(failure)
        if isinstance(cause, Refused):
            refused = cause
        elif isinstance(failure, HttpParserCallbackError):
            raise failure
        else:
            wrong_method = isinstance(failure, HttpParserInvalidMethodError)
            refused = refused_by_parser(str(failure), piece if begins else b"", wrong_method)
        self._events.append(self.refuse(refused))

    def _another_protocol(self) -> None:
        """Go on behind a head that asks for another protocol: in that one, or in HTTP/1.1.

        Java's HTTP client asks for HTTP/2 with every request, also with a body. To httptools
        there is none, so another parser is told of it and goes on.
        """
        if self.state is UPGRADED:
            assert self._head is not None
            self._events.append(Upgrade(self._head, self._data[self._at :]))
        elif self.state is BODY:
            self._parser = new_parser(self)
            framing = b"content-length: %d" % self._length
            if self._chunked:
                framing = b"transfer-encoding: chunked"
            self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % framing)
            self._headers = []

    def _check_progress(self) -> None:
        """Bound what httptools holds back: half a header, chunk extensions, trailers."""
        limits = self._limits
        refused = None
        if self.state is HEAD:
            if self._framing.line_size > limits.request_line_bytes:
                refused = self._line_too_long()
            elif self._head_size > limits.header_bytes + limits.request_line_bytes:
                refused = self._head_too_big()
        elif self._chunked:
            if self._raw_size > _MAX_FRAMING_RATIO * self.body_size + limits.header_bytes:
                refused = Refused(400, "The chunks' framing outweighs what is in them.")
        if refused is not None:
            self._events.append(self.refuse(refused))

    # --- httptools' callbacks; nobody else calls them

    def on_url(self, url: bytes) -> None:
        if self.state is not HEAD:
            return  # see _another_protocol
        if not self._url:
            self._method = self._parser.get_method()
        self._url += url
        if self._framing.line_size > self._limits.request_line_bytes:
            raise self._line_too_long()

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if value[-1:] in _BLANK:
            value = value.strip(_BLANK)
        headers = self._headers
        headers.append((name, value))
        if name in _CHECKED and self.state is HEAD:
            self._note(name, value)
        if len(headers) > self._max_fields:
            raise Refused(431, f"A request may have {self._max_fields} headers; this one has more.")

    def on_headers_complete(self) -> None:
        if self.state is not HEAD:
            return  # see _another_protocol
        parser = self._parser
        method = self._method.decode("ascii")
        version = _VERSIONS.get(self._framing.line_tail)
        # `GET  /HTTP/1.1` ends with a version that is a part of its target.
        if version is None or self._framing.line_size != len(method) + len(self._url) + _LINE_REST:
            raise self._wrong_version()
        if self._framing.spaces != 2:
            raise Refused(400, "One space, and no more, parts method, target and version.")
        if self._num_hosts != 1 and (self._num_hosts or version == "1.1"):
            raise Refused(400, f"A request has one Host header; this one has {self._num_hosts}.")
        if self._head_size > self._limits.header_bytes:
            self._check_head_size()
        url = self._url
        if url[:1] == b"/" and b"#" not in url and url.isascii():
            raw_path, _, query = url.partition(b"?")
        else:
            raw_path, query, host = parse_target(url, method)
            if host is not None:
                self._take_host(host)
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
        if parser.should_upgrade():  # so it says of CONNECT, too
            if method == "CONNECT":
                raise no_connect()
            if _asks_for_websocket(self._headers):
                self._check_upgrade(head)
                self._step(_UPGRADE)
                return
        if has_body:
            self._step(_BODY_FOLLOWS)
            self.body_size = self._raw_size = 0
            self._is_long = not self._chunked and self._length > _PARSED_BYTES
            # Trailers are dropped: the application may have looked at the headers already.
            self._headers = []
        else:
            self._step(_WHOLE if head.keep_alive else _WHOLE_LAST)
        self._events.append(head)

    def on_body(self, body: bytes) -> None:
        self.body_size += len(body)
        limit = self._limits.body_bytes
        if limit is not None and self.body_size > limit:
            raise self._body_too_long(limit)
        self._events.append(Body(body))

    def on_message_complete(self) -> None:
        # Before the pause for another protocol, httptools takes the head for all of the message.
        if self.state is BODY and not self._parser.should_upgrade():
            self._end_body()
            if self._chunked and not self._parser.should_keep_alive():
                # `Connection: close` among the trailers: no one else heeds that, and a parser that
                # does takes no further request.
                self._parser = new_parser(self)

    # --- checks of a request

    def _note(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            self._num_hosts += 1
            if value != self._host:
                check_host(value)
                self._host = value
        elif name == b"content-length":
            self._length = int(value)
        elif name == b"transfer-encoding":
            if self._chunked:
                raise Refused(400, "A request has one Transfer-Encoding header at most.")
            check_coding(value, self._parser.get_http_version())
            self._chunked = True
        else:
            check_expectation(value)
            self._expects_continue = True

    def _wrong_version(self) -> Refused:
        if self._parser.get_http_version() not in _VERSIONS.values():
            return Refused(505, "The versions understood are HTTP/1.0 and HTTP/1.1.")
        if not self._framing.line_tail.startswith(b"HTTP/"):
            return Refused(400, "The request line must end with HTTP/1.1 or HTTP/1.0.")
        return Refused(400, "One space, and no more, parts method, target and version.")

    def _line_too_long(self) -> Refused:
        limit = self._limits.request_line_bytes
        return Refused(414, f"The request line is longer than the {limit} bytes allowed.")

    def _check_head_size(self) -> None:
        size = sum([len(name) + len(value) + 4 for name, value in self._headers])
        if size > self._limits.header_bytes:
            raise self._head_too_big()

    def _head_too_big(self) -> Refused:
        return Refused(431, f"Headers may take {self._limits.header_bytes} bytes; these take more.")

    def _body_too_long(self, limit: int) -> Refused:
        size = f"{limit} bytes" if limit % MIB else f"{limit // MIB} MiB"
        return Refused(
            413, f"The request's body is longer than the {size} of HTTPOptions.max_body_bytes."
        )

    def _take_host(self, host: bytes) -> None:
        """Put the host that an absolute target names in the place of Host, as RFC 9112 3.2.2."""
        rest = [header for header in self._headers if header[0] != b"host"]
        self._headers[:] = [(b"host", host), *rest]

    def _check_upgrade(self, head: Head) -> None:
        if head.version == "1.0":
            raise Refused(400, "A WebSocket is opened with HTTP/1.1, not with HTTP/1.0.")
        if head.has_body:
            raise websocket_out_of_place()


def websocket_out_of_place() -> Refused:
    """Return the answer to a handshake that has a body, or that waits behind a request."""
    return Refused(400, "A WebSocket begins without a body, and behind no other request.")


def _asks_for_websocket(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether the headers ask to go on as a WebSocket; of each header, the last one counts."""
    fields = dict(headers)
    tokens = fields.get(b"connection", b"").lower().split(b",")
    upgrades = b"upgrade" in [token.strip() for token in tokens]
    return upgrades and fields.get(b"upgrade", b"").lower() == b"websocket"
