"""The reader of requests, without socket, event loop and clock."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alacarte_http._edge.edge_limits import edge_limits
from alacarte_http._edge.head import Head
from alacarte_http._edge.head_checks import Refusal
from alacarte_http._edge.reader import END, Body, End, Event, Reader, Upgrade
from alacarte_http._edge.reader_state import RECEIVING, TRANSITIONS, State, Step
from alacarte_http.config import HTTPOptions

LIMITS = edge_limits(HTTPOptions(max_body_bytes=1000, max_header_bytes=600, max_header_fields=8))
GET = b"GET /a?q HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
GET_CLOSE = b"GET /l HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
H2C = b"POST /u HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n"
WEBSOCKET = b"GET /w HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"


def read(reader: Reader, *reads: bytes) -> list[Event]:
    """Return all events in these reads."""
    events: list[Event] = []
    for data in reads:
        event = reader.feed(data)
        while event is not None:
            events.append(event)
            event = reader.next()
    return events


def as_values(events: list[Event]) -> list[object]:
    """Return events as values, with the parts of each body joined."""
    found: list[object] = []
    for event in events:
        if isinstance(event, Head):
            found.append((event.method, event.raw_path, event.query, event.headers))
        elif isinstance(event, Body):
            if found and isinstance(found[-1], bytes):
                found[-1] += event.data
            else:
                found.append(event.data)
        elif isinstance(event, Refusal):
            found.append((event.status, event.bodiless))
        elif isinstance(event, Upgrade):
            found.append(event.head.raw_path)
        else:
            found.append(END)
    return found


def test_a_request_without_a_body_is_its_head():
    """A request without a body is one event, and the reader awaits the next request."""
    reader = Reader(LIMITS)
    [head] = read(reader, GET)
    assert isinstance(head, Head)
    assert (head.method, head.path, head.query, head.version) == ("GET", "/a", b"q", "1.1")
    assert head.headers == [(b"host", b"x")]
    assert (head.has_body, head.keep_alive) == (False, True)
    assert reader.state is State.DONE


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (POST, b"hello"),
        (CHUNKED, b"ab"),
        (H2C + b"Content-Length: 2\r\n\r\nab", b"ab"),
        (H2C + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nT: t\r\n\r\n", b"ab"),
    ],
)
def test_a_body_has_an_end(data: bytes, body: bytes):
    """A body is read with any framing and any Upgrade, twice on one connection."""
    reader = Reader(LIMITS)
    for _ in range(2):
        head, part, end = read(reader, data)
        assert isinstance(head, Head)
        assert head.has_body
        assert part == Body(body)
        assert isinstance(end, End)
        assert reader.state is State.DONE


@pytest.mark.parametrize("data", [GET, GET_CLOSE, POST, CHUNKED, WEBSOCKET, H2C + b"\r\n"])
def test_each_head_is_read_for_itself(data: bytes):
    """Equal bytes become equal heads, but separate objects that an application may change."""
    first = read(Reader(LIMITS), data)[0]
    events = read(Reader(LIMITS), data, data)
    assert as_values(events[:1]) == as_values([first])
    assert all(each is not events[0] for each in [first, *events[1:]])


def test_empty_lines_are_counted_for_each_request():
    """Empty lines before one request do not count towards the next request's limit."""
    reader = Reader(LIMITS)
    empty = b"\r\n" * 16
    assert [type(event) for event in read(reader, GET, empty, GET, empty, GET)] == [Head] * 3
    assert [type(event) for event in read(reader, empty + b"\r\n", GET)] == [Refusal]


def test_nothing_is_read_behind_the_last_request():
    """Bytes after a request with Connection: close are not read."""
    reader = Reader(LIMITS)
    assert len(read(reader, GET_CLOSE + GET, GET)) == 1
    assert reader.state is State.MUST_CLOSE


def test_bytes_after_a_handshake_are_not_read():
    """Bytes after a handshake belong to the other protocol."""
    reader = Reader(LIMITS)
    [upgrade] = read(reader, WEBSOCKET + b"\x81\x00GET /")
    assert isinstance(upgrade, Upgrade)
    assert upgrade.rest == b"\x81\x00GET /"
    assert reader.state is State.UPGRADED
    assert read(reader, GET) == []


def test_a_refusal_ends_the_reading():
    """After a refusal the reader returns no event."""
    reader = Reader(LIMITS)
    events = read(reader, GET + b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n" + GET, GET)
    assert [type(event) for event in events] == [Head, Refusal]
    assert reader.state is State.REFUSED


@pytest.mark.parametrize(
    ("sent", "status"), [(b"", None), (GET, None), (GET[:9], 400), (POST[:-1], 400)]
)
def test_the_end_of_the_stream(sent: bytes, status: int | None):
    """The end of the stream refuses an incomplete request, and does nothing between requests."""
    reader = Reader(LIMITS)
    read(reader, sent)
    refused = reader.end_of_stream()
    assert (None if refused is None else refused.status) == status


def test_a_refusal_of_head_has_no_body():
    """A refusal has no body once the method is known to be HEAD, and has one before."""
    for sent, bodiless in ((b"HEAD / HT", True), (GET[:9], False), (b"", False)):
        reader = Reader(LIMITS)
        read(reader, sent)
        assert reader.refuse(Refusal(408, "late")).bodiless is bodiless


def test_the_table_is_whole():
    """Each receiving state can refuse, and no final state receives again."""
    for state in State:
        leads_to = {to for (at, _), to in TRANSITIONS.items() if at is state}
        if state in RECEIVING:
            assert (state, Step.REFUSE) in TRANSITIONS
        else:
            assert leads_to <= {State.REFUSED}


PIECES = st.sampled_from(
    [
        GET, POST, CHUNKED, GET_CLOSE, WEBSOCKET, H2C + b"\r\n",
        H2C + b"Content-Length: 1\r\n\r\nx",
        b"GET / HTTP/1.0\r\n\r\n", b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", b"\r\n", b"\r", b"\n",
        b"Host: x\r\n", b"X: y\r\n", b"0\r\n\r\n", b"5\r\nhello\r\n", b"PRI * HTTP/2.0\r\n\r\n",
        b"GET http://h/p HTTP/1.1\r\nHost: x\r\n\r\n", b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n", b"\0", b"A" * 700,
        b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
    ]
)  # fmt: skip
MESSAGES = st.lists(PIECES | st.binary(max_size=20), max_size=8).map(b"".join)


@given(data=MESSAGES, cuts=st.lists(st.integers(0, 400), max_size=8))
def test_any_bytes_in_any_cut(data: bytes, cuts: list[int]):
    """No bytes raise an exception, and events do not depend on the split into reads."""
    places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    reads = [data[a:b] for a, b in pairwise(places)]
    whole, cut = Reader(LIMITS), Reader(LIMITS)
    expected = as_values(read(whole, data))
    found = as_values(read(cut, *reads))
    assert _but_for_status(found) == _but_for_status(expected)
    assert cut.state is whole.state


@given(size=st.integers(1, 40), cuts=st.lists(st.integers(0, 200), max_size=6), h2c=st.booleans())
def test_a_long_body_in_any_cut(size: int, cuts: list[int], h2c: bool):
    """A long body bypasses the parser, and the next request is read as usual."""
    head = H2C if h2c else b"POST /p HTTP/1.1\r\nHost: x\r\n"
    body = bytes(range(size))
    data = b"%bContent-Length: %d\r\n\r\n%b" % (head, size, body) + GET + CHUNKED
    places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    reader = Reader(LIMITS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alacarte_http._edge.reader._MAX_PARSED_BODY_BYTES", 0)
        events = read(reader, *[data[a:b] for a, b in pairwise(places)])
    parsed = as_values(read(Reader(LIMITS), data))
    assert as_values(events) == parsed
    assert parsed[1:3] == [body, END]
    assert reader.state is State.DONE


def test_a_long_body_is_not_copied():
    """A read that contains only a long body's bytes is passed on without a copy."""
    limits = edge_limits(HTTPOptions())
    reader = Reader(limits)
    part = bytes(100_000)
    read(reader, b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n")
    [body] = read(reader, part)
    assert isinstance(body, Body)
    assert body.data is part
    [rest, end] = read(reader, part)
    assert isinstance(rest, Body)
    assert rest.data is part
    assert end is END


def _but_for_status(events: list[object]) -> list[object]:
    """Return events without a refusal's status and without the refused request's body."""
    if events and isinstance(events[-1], tuple) and len(events[-1]) == 2:
        without = events[:-1]
        return without[:-1] if without and isinstance(without[-1], bytes) else without
    return events
