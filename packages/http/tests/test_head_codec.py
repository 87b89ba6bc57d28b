"""HTTP messages between proxy and replica: lossless, and safe against injection."""

from __future__ import annotations

from urllib.parse import quote, unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from alacarte_http._head_codec import (
    pack_peer,
    pack_request,
    pack_response,
    status_of,
    unpack_request,
    unpack_response,
)

in_line = st.binary(max_size=80).map(lambda raw: raw.replace(b"\n", b"\r"))
any_headers = st.lists(st.tuples(in_line, in_line), max_size=20)
texts = st.text(max_size=40).map(lambda text: text.replace("\n", ""))
tokens = st.text(alphabet="!#$%&'*+.^_`|~-09azAZ", min_size=1, max_size=20).map(str.encode)
values = st.binary(max_size=60).map(
    lambda raw: bytes(b for b in raw if b == 9 or (b >= 32 and b != 127))
)
addresses = st.none() | st.tuples(st.sampled_from(["127.0.0.1", "::1", ""]), st.integers(0, 65535))


@given(
    st.text(max_size=40).map(quote),
    in_line,
    texts,
    any_headers,
    st.binary(max_size=300),
    st.booleans(),
    addresses,
    addresses,
)
@example("/%FF", b"", "", [], b"", False, None, None)
def test_requests(path, query, root_path, headers, body, secure, client, server):
    """A replica sees the same bytes of a request in the same order."""
    scope = {
        "method": "PATCH",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query,
        "http_version": "1.1",
        "scheme": "https" if secure else "http",
        "client": client,
        "server": server,
        "headers": headers,
        "root_path": root_path,
    }
    packed = pack_request(
        "PATCH", path.encode(), query, "1.1", headers,
        root_path=root_path.encode(), peer=pack_peer(secure, client, server),
    )  # fmt: skip
    found, rest = unpack_request(packed + body)
    assert bytes(rest) == body
    assert found["type"] == "http"
    assert {name: found[name] for name in scope} == scope


@pytest.mark.parametrize(
    "given", [(b"/a\n", b"", []), (b"/", b"\n", []), (b"/", b"", [(b"x", b"a\nb")])]
)
def test_a_request_never_gains_a_line(given):
    """A line feed in a part of the head is refused."""
    path, query, headers = given
    with pytest.raises(ValueError, match="line feed"):
        pack_request("GET", path, query, "1.1", headers)


def test_many_headers():
    """The encoding does not limit the number of headers."""
    headers = [(b"x-%d" % i, b"v" * 100) for i in range(5000)]
    found, _ = unpack_request(pack_request("GET", b"/", b"", "1.1", headers))
    assert found["headers"] == headers
    assert found["client"] is None


# Those the packing itself looks at are tested below.
plain = tokens.filter(
    lambda name: (
        name.lower()
        not in (b"content-length", b"connection", b"transfer-encoding", b"x-request-id")
    )
)


@given(st.integers(200, 599), st.lists(st.tuples(plain, values), max_size=12), st.binary())
def test_responses(status, headers, body):
    """Headers arrive in order, with duplicates and lower-case names, and so does the body."""
    head, rest = unpack_response(pack_response(status, headers) + body)
    assert head.status == status
    assert head.headers == [(name.lower(), value) for name, value in headers]
    assert bytes(rest) == body
    assert (head.length, head.close) == (None, False)
    assert status_of(pack_response(status, headers) + body) == status


@given(st.binary(min_size=1, max_size=30), st.binary(max_size=60))
@example(b"x", b"a\r\nset-cookie: b")
@example(b"x\r\nset-cookie", b"a")
@example(b"x", b"a\nb")
@example(b"x", b"a\0b")
@example(b"x y", b"a")
@example(b"x:", b"a")
@example(b"", b"a")
@example(b"content-type\n", b"a")
@example(b"content-length", b"1\r\nx: y")
def test_a_header_never_leaves_its_line(name, value):
    """Any bytes either are refused, or become one line that decodes to the same bytes."""
    try:
        packed = pack_response(200, [(name, value), (b"last", b"one")])
    except ValueError:
        return
    head, _ = unpack_response(packed)
    lines = head.block.split(b"\r\n")
    assert lines[-2:] == [b"last: one", b""]
    assert len(lines) <= 3
    if len(lines) == 3:
        assert lines[0] == name.lower() + b": " + value
    assert b"\n" not in b"".join(lines)
    assert b"\r" not in b"".join(lines)


@pytest.mark.parametrize("bad", [b"a\r\nb", b"a\rb", b"a\nb", b"a\0b", b"a\x7fb"])
def test_header_injection(bad):
    """A control character in a header's name or value raises an error with the header."""
    with pytest.raises(ValueError, match="is not a valid header name"):
        pack_response(200, [(bad, b"value")])
    with pytest.raises(ValueError, match=r"header x: .*contains a control character"):
        pack_response(200, [(b"x", bad)])


def test_length_and_close_are_in_the_prefix():
    """The prefix has length and close; headers that the proxy sets are dropped."""
    head, _ = unpack_response(
        pack_response(
            200,
            [
                (b"Content-Length", b"12"),
                (b"Transfer-Encoding", b"chunked"),
                (b"X-Request-ID", b"mine"),
                (b"Connection", b"keep-alive, Close"),
            ],
        )
    )
    assert (head.length, head.close) == (12, True)
    assert head.headers == [(b"content-length", b"12"), (b"connection", b"keep-alive, Close")]


@pytest.mark.parametrize("length", [b"", b"x", b"-1", b"+5", b"1_0", b" 5", b"5, 5", "٣".encode()])
def test_a_content_length_that_is_no_number(length):
    """A Content-Length that is not only digits is refused."""
    with pytest.raises(ValueError, match="must be a single number"):
        pack_response(200, [(b"content-length", length)])


def test_two_content_lengths():
    """Two different values of Content-Length are refused."""
    with pytest.raises(ValueError, match="must be a single number"):
        pack_response(200, [(b"content-length", b"1"), (b"content-length", b"2")])


@pytest.mark.parametrize("status", [-1, 0, 99, 101, 199, 600, 70000])
def test_invalid_statuses(status):
    """Statuses outside 200 to 599 are refused."""
    with pytest.raises(ValueError, match=f"{status} is not the status of a response"):
        pack_response(status, [])
