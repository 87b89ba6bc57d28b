"""The byte table of HTTP/1.1: requests, and the behaviour that is required or chosen.

Written from RFC 9110 and RFC 9112. A row of level MUST or SHOULD is the RFC's; one of level OURS is
a choice that the RFC leaves open, or a limit of our own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["CASES", "MAX_BODY", "Case"]

MAX_BODY = 1 << 20
"""`max_body_bytes` of the server that the table is for; its other limits are the defaults."""

MUST, SHOULD, OURS = "MUST", "SHOULD", "OURS"


@dataclass(frozen=True)
class Case:
    """A row of the table.

    Attributes:
        sent: Bytes from a fresh connection.
        level: How binding the RFC is: MUST, SHOULD, or OURS.
        section: Where it says so.
        statuses: Of the responses, in order.
        closes: The server ends the connection after them; else it serves a further request.
        saw: What the application tells of the last request, as far as it matters.
    """

    name: str
    sent: bytes
    level: str
    section: str
    statuses: tuple[int, ...]
    closes: bool
    saw: Mapping[str, Any] = field(default_factory=dict)


CASES: list[Case] = []
HOST = b"Host: x\r\n"
LINE = b"GET / HTTP/1.1\r\n"
POST = b"POST / HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\n" + HOST + b"\r\n"


def served(name: str, sent: bytes, level: str, section: str, **saw: Any) -> None:
    """A row whose request is served, and whose connection stays open."""
    CASES.append(Case(name, sent, level, section, (200,), False, saw))


def refused(name: str, sent: bytes, level: str, section: str, status: int = 400) -> None:
    """A row whose request is refused, and whose connection closes."""
    CASES.append(Case(name, sent, level, section, (status,), True))


def row(
    name: str, sent: bytes, level: str, section: str, *statuses: int, closes: bool, **saw: Any
) -> None:
    """A row with another outcome."""
    CASES.append(Case(name, sent, level, section, statuses, closes, saw))


def get(*lines: bytes, first: bytes = b"GET / HTTP/1.1", host: bytes | None = b"x") -> bytes:
    """A request without a body."""
    named = [] if host is None else [b"Host: " + host]
    return b"".join([line + b"\r\n" for line in [first, *named, *lines]]) + b"\r\n"


def target(value: bytes, method: bytes = b"GET") -> bytes:
    """A request for a target."""
    return get(first=method + b" " + value + b" HTTP/1.1")


# --- request line: RFC 9112 sections 2 and 3

served("plain", get(), MUST, "9112 2.1", method="GET", path="/")
served("empty-line-first", b"\r\n" + get(), SHOULD, "9112 2.2")
served("empty-lines-first", b"\r\n\r\n\r\n" + get(), OURS, "9112 2.2")
refused("endless-empty-lines", b"\r\n" * 50_000 + get(), OURS, "9112 2.2")
refused("empty-lines-alone", b"\r\n" * 20, OURS, "9112 2.2")
refused("cr-first", b"\r" + get(), MUST, "9112 2.2")
refused("lf-first", b"\n" + get(), OURS, "9112 2.2")
refused("cr-after-empty-line", b"\r\n\r" + get(), MUST, "9112 2.2")
refused("whitespace-first", b" " + get(), MUST, "9112 2.2")
refused("lf-only", b"GET / HTTP/1.1\nHost: x\n\n", OURS, "9112 2.2")
refused("cr-only", b"GET / HTTP/1.1\rHost: x\r\r", MUST, "9112 2.2")
refused("lf-after-line", b"GET / HTTP/1.1\nHost: x\r\n\r\n", OURS, "9112 2.2")
refused("bare-cr-in-line", b"GET /\ra HTTP/1.1\r\n" + HOST + b"\r\n", MUST, "9112 2.2")
refused("nul-in-target", target(b"/a\0b"), MUST, "9112 3.2")
refused("control-in-target", target(b"/a\x01b"), MUST, "9112 3.2")
refused("del-in-target", target(b"/a\x7fb"), MUST, "9112 3.2")
refused("tab-in-target", target(b"/a\tb"), MUST, "9112 3.2")
refused("space-in-target", target(b"/a b"), SHOULD, "9112 3.2")
refused("utf8-in-target", target("/é".encode()), MUST, "9112 3.2")
refused("latin1-in-target", target(b"/\xe9"), MUST, "9112 3.2")
refused("utf8-in-query", target("/?é".encode()), MUST, "9112 3.2")
refused("tab-between", b"GET\t/\tHTTP/1.1\r\n" + HOST + b"\r\n", OURS, "9112 3")
refused("two-spaces-before-target", get(first=b"GET  / HTTP/1.1"), OURS, "9112 3")
refused("two-spaces-before-version", get(first=b"GET /  HTTP/1.1"), OURS, "9112 3")
refused("two-spaces-around-star", get(first=b"OPTIONS *  HTTP/1.1"), OURS, "9112 3")
refused("space-after-version", get(first=b"GET / HTTP/1.1 "), OURS, "9112 3")
refused("no-target", b"GET HTTP/1.1\r\n" + HOST + b"\r\n", MUST, "9112 3")
refused("no-version", b"GET /\r\n" + HOST + b"\r\n", OURS, "9112 3", 505)
refused("only-a-word", b"NONSENSE\r\n\r\n", MUST, "9112 3")
refused("lower-case-protocol", get(first=b"GET / http/1.1"), MUST, "9112 2.3")
refused("other-protocol", get(first=b"GET / FTP/1.1"), MUST, "9112 2.3")
refused("protocol-rtsp", get(first=b"GET / RTSP/1.0"), MUST, "9112 2.3")
refused("protocol-rtsp-1.1", get(first=b"OPTIONS / RTSP/1.1"), MUST, "9112 2.3")
refused("protocol-ice", get(first=b"SOURCE / ICE/1.0"), MUST, "9112 2.3")
refused("version-as-target", get(first=b"GET  /HTTP/1.1"), MUST, "9112 3", 505)
refused("version-0.9", get(first=b"GET / HTTP/0.9"), SHOULD, "9110 15.6.6", 505)
refused("version-1.2", get(first=b"GET / HTTP/1.2"), OURS, "9110 15.6.6", 505)
refused("version-2.0", get(first=b"GET / HTTP/2.0"), SHOULD, "9110 15.6.6", 505)
refused("version-9.9", get(first=b"GET / HTTP/9.9"), SHOULD, "9110 15.6.6", 505)
refused("version-1", get(first=b"GET / HTTP/1"), MUST, "9112 2.3")
refused("version-01.1", get(first=b"GET / HTTP/01.1"), MUST, "9112 2.3")
refused("version-1.10", get(first=b"GET / HTTP/1.10"), MUST, "9112 2.3")
refused("version-letters", get(first=b"GET / HTTP/a.b"), MUST, "9112 2.3")
refused("http2-preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", OURS, "9113 3.4", 505)
refused("tls-hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 32, OURS, "9112 2")

# --- methods: RFC 9110 section 9

refused("unknown-method", target(b"/", b"FROBNICATE"), SHOULD, "9110 9.1", 501)
refused("lower-case-method", target(b"/", b"get"), SHOULD, "9110 9.1", 501)
refused("method-with-colon", target(b"/", b"GE:T"), MUST, "9110 9.1")
refused("method-with-nul", target(b"/", b"GE\0T"), MUST, "9110 9.1")
refused("connect", target(b"x:80", b"CONNECT"), OURS, "9110 9.3.6")
refused("connect-a-path", target(b"/", b"CONNECT"), OURS, "9110 9.3.6")
for _method in (b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"PROPFIND"):
    _name = _method.decode()
    served(f"method-{_name}", target(b"/m", _method), MUST, "9110 9.1", method=_name, path="/m")
served("method-HEAD", target(b"/m", b"HEAD"), MUST, "9110 9.3.2", method="HEAD")
refused("head-without-host", get(first=b"HEAD / HTTP/1.1", host=None), MUST, "9110 9.3.2")
refused("head-too-many-headers", get(*[b"A: b"] * 200, first=b"HEAD / HTTP/1.1"), MUST,
        "9110 9.3.2", 431)  # fmt: skip
refused("head-bad-chunk", CHUNKED.replace(b"POST", b"HEAD") + b"zz\r\n", MUST, "9110 9.3.2")
row("head-then-get", target(b"/", b"HEAD") + NEXT, MUST, "9110 9.3.2", 200, 200, closes=False)

# --- targets: RFC 9112 section 3.2

served("dots", target(b"/a/../b/./c"), OURS, "9112 3.2.1", raw_path="/a/../b/./c")
served("double-slash", target(b"//a//b"), OURS, "9112 3.2.1", raw_path="//a//b")
served("encoded-once", target(b"/%2525"), MUST, "9110 4.2.3", path="/%25", raw_path="/%2525")
served("encoded-slash", target(b"/a%2Fb"), OURS, "9110 4.2.3", path="/a/b", raw_path="/a%2Fb")
served("encoded-dots", target(b"/%2e%2e/a"), OURS, "9110 4.2.3", path="/../a", raw_path="/%2e%2e/a")
served("encoded-line-end", target(b"/%0d%0aX:y"), MUST, "9110 4.2.3", path="/\r\nX:y")
served("encoded-nul", target(b"/%00"), OURS, "9110 4.2.3", path="/\0")
served("half-encoded", target(b"/%zz%"), OURS, "9110 4.2.3", path="/%zz%")
served("backslash", target(b"/a\\b"), OURS, "9112 3.2.1", raw_path="/a\\b")
served("query", target(b"/?a=b?c/d&e"), MUST, "9112 3.2.1", path="/", query="a=b?c/d&e")
served("empty-query", target(b"/?"), MUST, "9112 3.2.1", path="/", query="")
refused("fragment", target(b"/a#b"), MUST, "9112 3.2")
refused("fragment-in-query", target(b"/a?b#c"), MUST, "9112 3.2")
refused("relative", target(b"a/b"), MUST, "9112 3.2")
refused("query-alone", target(b"?a"), MUST, "9112 3.2")
refused("star-get", target(b"*"), MUST, "9112 3.2.4")
refused("star-and-more", target(b"*a", b"OPTIONS"), MUST, "9112 3.2.4")
row("star-options", target(b"*", b"OPTIONS"), MUST, "9112 3.2.4", 200, closes=False)
served("absolute", target(b"http://x/a?b"), MUST, "9112 3.2.2", path="/a", query="b", host="x")
served("absolute-wins", target(b"http://other:81/a"), MUST, "9112 3.2.2", host="other:81")
served("absolute-https", target(b"https://x/a"), MUST, "9112 3.2.2", path="/a")
served("absolute-upper-case", target(b"HTTP://x/a"), MUST, "9112 3.2.2", path="/a")
served("absolute-no-path", target(b"http://x"), MUST, "9112 3.2.2", path="/")
served("absolute-query", target(b"http://x?a"), MUST, "9112 3.2.2", path="/", query="a")
served("absolute-ip", target(b"http://[::1]:80/a"), MUST, "9112 3.2.2", host="[::1]:80")
row("absolute-options", target(b"http://x", b"OPTIONS"), MUST, "9112 3.2.4", 200, closes=False)
refused("absolute-no-host", target(b"http:///a"), MUST, "9110 4.2.1")
refused("absolute-user", target(b"http://u:p@x/"), OURS, "9110 4.2.4")
refused("absolute-other-scheme", target(b"ftp://x/a"), OURS, "9112 3.2.2")
refused("absolute-bad-port", target(b"http://x:y/"), MUST, "9110 4.2.1")
refused("absolute-without-host-header", get(first=b"GET http://x/ HTTP/1.1", host=None), MUST,
        "9112 3.2")  # fmt: skip

# --- Host: RFC 9112 section 3.2, RFC 9110 section 7.2

refused("host-absent", get(host=None), MUST, "9112 3.2")
refused("host-twice", get(b"Host: x"), MUST, "9112 3.2")
refused("host-two", get(b"Host: y"), MUST, "9112 3.2")
refused("host-empty", get(host=b""), OURS, "9110 4.2.1")
refused("host-with-path", get(host=b"x/y"), MUST, "9112 3.2")
refused("host-with-user", get(host=b"u@x"), MUST, "9112 3.2")
refused("host-with-scheme", get(host=b"http://x"), MUST, "9112 3.2")
refused("host-list", get(host=b"x, y"), MUST, "9112 3.2")
refused("host-space", get(host=b"x y"), MUST, "9112 3.2")
refused("host-bad-port", get(host=b"x:80a"), MUST, "9112 3.2")
refused("host-two-ports", get(host=b"x:80:81"), MUST, "9112 3.2")
refused("host-open-bracket", get(host=b"[::1"), MUST, "9112 3.2")
refused("host-high-bytes", get(host=b"\xe9"), MUST, "9112 3.2")
refused("host-question-mark", get(host=b"x?"), MUST, "9112 3.2")
served("host-port", get(host=b"x:8000"), MUST, "9110 7.2", host="x:8000")
served("host-empty-port", get(host=b"x:"), MUST, "9110 7.2", host="x:")
served("host-ipv4", get(host=b"127.0.0.1:1"), MUST, "9110 7.2", host="127.0.0.1:1")
served("host-ipv6", get(host=b"[2001:db8::1]:8000"), MUST, "9110 7.2", host="[2001:db8::1]:8000")
served("host-any-case", LINE + b"hOsT: x\r\n\r\n", MUST, "9110 5.1", host="x")
served("host-last", LINE + b"A: b\r\nHost: x\r\n\r\n", MUST, "9110 5.3", host="x")

# --- fields: RFC 9112 section 5, RFC 9110 section 5

refused("space-before-colon", get(b"A : b"), MUST, "9112 5.1")
refused("tab-before-colon", get(b"A\t: b"), MUST, "9112 5.1")
refused("no-colon", get(b"Ab"), MUST, "9112 5")
refused("no-name", get(b": b"), MUST, "9110 5.1")
refused("name-with-space", get(b"A B: c"), MUST, "9110 5.1")
refused("name-with-bracket", get(b"A(b): c"), MUST, "9110 5.1")
refused("name-with-slash", get(b"A/b: c"), MUST, "9110 5.1")
refused("name-with-nul", get(b"A\0b: c"), MUST, "9110 5.1")
refused("name-with-high-byte", get(b"A\xe9: c"), MUST, "9110 5.1")
refused("fold-space", get(b"A: b\r\n c"), MUST, "9112 5.2")
refused("fold-tab", get(b"A: b\r\n\tc"), MUST, "9112 5.2")
refused("fold-first", LINE + b" A: b\r\nHost: x\r\n\r\n", MUST, "9112 2.2")
refused("fold-of-framing", POST + b"Content-Length:\r\n 3\r\n\r\nabc", MUST, "9112 5.2")
refused("nul-in-value", get(b"A: b\0c"), MUST, "9110 5.5")
refused("cr-in-value", get(b"A: b\rc"), MUST, "9110 5.5")
refused("lf-in-value", get(b"A: b\nC: d"), OURS, "9110 5.5")
refused("control-in-value", get(b"A: b\x01c"), OURS, "9110 5.5")
refused("del-in-value", get(b"A: b\x7fc"), OURS, "9110 5.5")
refused("two-cr", LINE + b"Host: x\r\r\n\r\n", MUST, "9110 5.5")
refused("lf-at-end", LINE + b"Host: x\r\n\n", OURS, "9112 2.2")
served("high-bytes-in-value", get(b"A: \xe9"), SHOULD, "9110 5.5", a="\xe9")
served("no-space-in-front", get(b"A:b"), MUST, "9112 5.1", a="b")
served("space-around-value", get(b"A: \t b c \t "), MUST, "9112 5.1", a="b c")
served("empty-value", get(b"A:"), MUST, "9110 5.5", a="")
served("odd-token-name", get(b"!#$%&'*+-.^_`|~1: b"), MUST, "9110 5.6.2")
served("name-twice", get(b"A: b", b"A: c"), MUST, "9110 5.3", a="b")

# --- Content-Length: RFC 9112 section 6, RFC 9110 section 8.6

served("length", POST + b"Content-Length: 3\r\n\r\nabc", MUST, "9112 6.2", size=3)
served("length-0", POST + b"Content-Length: 0\r\n\r\n", MUST, "9112 6.2", size=0)
served("length-leading-zeros", POST + b"Content-Length: 003\r\n\r\nabc", MUST, "9110 8.6", size=3)
served("length-space-after", POST + b"Content-Length: 3 \r\n\r\nabc", MUST, "9112 5.1", size=3)
served("no-length", POST + b"\r\n", MUST, "9112 6.3", size=0)
served("get-with-body", LINE + HOST + b"Content-Length: 3\r\n\r\nabc", MUST, "9110 9.3.1", size=3)
for _name, _value in {
    "word": b"abc", "plus": b"+3", "minus": b"-3", "hex": b"0x3", "float": b"3.0", "empty": b"",
    "list": b"3, 3", "list-of-two": b"3, 4", "space": b"3 3", "overflow": b"9" * 30,
    "quoted": b'"3"', "underscore": b"1_0", "unicode-digit": "٣".encode(), "vt": b"\x0b3",
}.items():  # fmt: skip
    refused(f"length-{_name}", POST + b"Content-Length: %b\r\n\r\nabc" % _value, MUST, "9112 6.3")
_SAME = b"Content-Length: 3\r\n"
refused("length-twice", POST + _SAME + _SAME + b"\r\nabc", OURS, "9112 6.3")
refused("lengths", POST + _SAME + b"Content-Length: 4\r\n\r\nabcd", MUST, "9112 6.3")

# --- Transfer-Encoding: RFC 9112 section 6.1

_SMUGGLED = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
_CODED = b"Transfer-Encoding: chunked\r\n"
refused("length-and-chunked", POST + _SAME + _CODED + b"\r\n" + _SMUGGLED, OURS, "9112 6.3")
refused("chunked-and-length", POST + _CODED + _SAME + b"\r\n" + _SMUGGLED, OURS, "9112 6.3")
refused("chunked-twice", POST + _CODED + _CODED + b"\r\n" + _SMUGGLED, MUST, "9112 6.1")
refused("chunked-tab-and-chunked", POST + b"Transfer-Encoding: chunked\t\r\n" + _CODED + b"\r\n"
        + _SMUGGLED, MUST, "9112 6.1")  # fmt: skip
refused("coded-in-1.0", b"POST / HTTP/1.0\r\n" + _CODED + b"\r\n" + _SMUGGLED, MUST, "9112 6.1")
for _name, _value, _status in (
    ("gzip-chunked", b"gzip, chunked", 501),
    ("identity", b"identity", 501),
    ("gzip", b"gzip", 501),
    ("unknown", b"xchunked", 501),
    ("quoted", b'"chunked"', 501),
    ("parameter", b"chunked;a=b", 501),
    ("chunked-identity", b"chunked, identity", 400),
    ("chunked-chunked", b"chunked, chunked", 400),
    ("empty", b"", 400),
    ("vt", b"\x0bchunked", 400),
    ("nul", b"chunked\0", 400),
):
    _sent = POST + b"Transfer-Encoding: %b\r\n\r\n" % _value + _SMUGGLED
    refused(f"coding-{_name}", _sent, MUST, "9112 6.1", _status)
refused("coding-space-name", POST + b"Transfer-Encoding : chunked\r\n\r\n" + _SMUGGLED, MUST,
        "9112 5.1")  # fmt: skip
refused("coding-folded", POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + _SMUGGLED, MUST,
        "9112 5.2")  # fmt: skip
served("coding-any-case", POST + b"transfer-ENCODING: ChUnKeD\r\n\r\n0\r\n\r\n", MUST, "9112 7")

# --- chunks: RFC 9112 section 7.1

served("chunks", CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", MUST, "9112 7.1", size=5)
served("chunk-hex", CHUNKED + b"a\r\n0123456789\r\n0\r\n\r\n", MUST, "9112 7.1", size=10)
served("chunk-upper-hex", CHUNKED + b"A\r\n0123456789\r\n0\r\n\r\n", MUST, "9112 7.1", size=10)
served("chunk-zeros", CHUNKED + b"0003\r\nabc\r\n000\r\n\r\n", MUST, "9112 7.1", size=3)
served("chunk-extension", CHUNKED + b'3;a=b;c="d"\r\nabc\r\n0\r\n\r\n', MUST, "9112 7.1.1", size=3)
served("trailer", CHUNKED + b"0\r\nA: late\r\n\r\n", MUST, "9112 7.1.2", a=None)
served("trailer-host", CHUNKED + b"0\r\nHost: y\r\n\r\n", MUST, "9110 6.5.1", host="x")
for _name, _chunks in {
    "word": b"xyz\r\n", "prefix": b"0x3\r\nabc\r\n", "negative": b"-3\r\nabc\r\n",
    "plus": b"+3\r\nabc\r\n", "space-before": b" 3\r\nabc\r\n", "space-after": b"3 \r\nabc\r\n",
    "underscore": b"1_0\r\nabc\r\n", "empty": b"\r\nabc\r\n", "overflow": b"f" * 17 + b"\r\nabc",
    "lf": b"3\nabc\r\n", "cr": b"3\rabc\r\n", "too-short": b"3\r\nab\r\n0\r\n\r\n",
    "too-long": b"3\r\nabcd\r\n", "no-end": b"3\r\nabc0\r\n\r\n", "lf-end": b"3\r\nabc\n0\r\n\r\n",
    "extension-lf": b"3;a\nabc\r\n", "extension-cr": b"3;a\rb\r\nabc\r\n",
    "extension-nul": b"3;a\0\r\nabc\r\n", "trailer-fold": b"0\r\nA: b\r\n c\r\n\r\n",
    "trailer-space": b"0\r\nA : b\r\n\r\n", "trailer-length": b"0\r\nContent-Length: 3\r\n\r\nabc",
}.items():  # fmt: skip
    refused(f"chunk-{_name}", CHUNKED + _chunks, MUST, "9112 7.1")

# --- pipelining and the connection: RFC 9112 section 9

row("two", get() + NEXT, MUST, "9112 9.3.2", 200, 200, closes=False, path="/next")
row("ten", get() * 9 + NEXT, MUST, "9112 9.3.2", *[200] * 10, closes=False, path="/next")
row("body-then-next", POST + b"Content-Length: 3\r\n\r\nabc" + NEXT, MUST, "9112 9.3.2", 200, 200,
    closes=False, path="/next")  # fmt: skip
row("chunks-then-next", CHUNKED + b"3\r\nabc\r\n0\r\n\r\n" + NEXT, MUST, "9112 9.3.2", 200, 200,
    closes=False, path="/next")  # fmt: skip
row("close-in-trailer-then-next", CHUNKED + b"0\r\nConnection: close\r\n\r\n" + NEXT, MUST,
    "9110 6.5.1", 200, 200, closes=False, path="/next")  # fmt: skip
row("close-in-trailer-then-bad", CHUNKED + b"0\r\nConnection: close\r\n\r\nG\r\n\r\n", MUST,
    "9110 6.5.1", 200, 400, closes=True)  # fmt: skip
row("good-then-bad", get() + b"NONSENSE\r\n\r\n", MUST, "9112 9.3.2", 200, 400, closes=True)
row("good-then-no-host", get() + get(host=None) + NEXT, MUST, "9112 9.3.2", 200, 400, closes=True)
row("good-then-bad-chunk", get() + CHUNKED + b"zz\r\n", MUST, "9112 9.3.2", 200, 400, closes=True)
refused("bad-then-good", b"NONSENSE\r\n\r\n" + NEXT, MUST, "9112 9.6")
row("close", get(b"Connection: close"), MUST, "9112 9.6", 200, closes=True)
row("close-any-case", get(b"connection: CLOSE"), MUST, "9112 9.6", 200, closes=True)
row("close-in-list", get(b"Connection: x, close"), MUST, "9112 9.6", 200, closes=True)
row("close-then-next", get(b"Connection: close") + NEXT, MUST, "9112 9.6", 200, closes=True)
row("close-then-bad", get(b"Connection: close") + b"\0\0", MUST, "9112 9.6", 200, closes=True)
served("keep-alive", get(b"Connection: keep-alive"), MUST, "9112 9.3")
served("connection-other", get(b"Connection: foo"), MUST, "9112 9.3")
row("1.0", b"GET / HTTP/1.0\r\n\r\n", MUST, "9112 9.3", 200, closes=True, version="1.0")
row("1.0-host", get(first=b"GET / HTTP/1.0"), MUST, "9112 9.3", 200, closes=True)
row("1.0-keep-alive", get(b"Connection: keep-alive", first=b"GET / HTTP/1.0"), OURS, "9112 9.3",
    200, closes=True)  # fmt: skip
refused("1.0-two-hosts", get(b"Host: y", first=b"GET / HTTP/1.0"), MUST, "9112 3.2")
row("good-then-two-spaces", get() + get(first=b"GET  / HTTP/1.1"), OURS, "9112 3", 200, 400,
    closes=True)  # fmt: skip
row("body-then-two-spaces", POST + b"Content-Length: 3\r\n\r\nabc" + get(first=b"GET  / HTTP/1.1"),
    OURS, "9112 3", 200, 400, closes=True)  # fmt: skip
row("chunks-then-two-spaces", CHUNKED + b"3\r\nabc\r\n0\r\nA: b\r\n\r\n"
    + get(first=b"GET  / HTTP/1.1"), OURS, "9112 3", 200, 400, closes=True)  # fmt: skip
row("good-then-lf", get() + b"\n" + NEXT, OURS, "9112 2.2", 200, 400, closes=True)
row("close-then-cr", get(b"Connection: close") + b"\r\r", MUST, "9112 9.6", 200, closes=True)
row("extra-line-end", POST + b"Content-Length: 1\r\n\r\na\r\n" + NEXT, SHOULD, "9112 2.2", 200, 200,
    closes=False, path="/next")  # fmt: skip

# --- Upgrade and Expect: RFC 9110 sections 7.8 and 10.1.1

_UPGRADE = (b"Connection: upgrade", b"Upgrade: h2c")
served("upgrade-h2c", get(*_UPGRADE, b"HTTP2-Settings: AA"), MUST, "9110 7.8")
row("upgrade-then-next", get(*_UPGRADE) + NEXT, MUST, "9110 7.8", 200, 200, closes=False,
    path="/next")  # fmt: skip
served("upgrade-with-body", POST + b"\r\n".join([*_UPGRADE, b"Content-Length: 3", b"", b"abc"]),
       MUST, "9110 7.8", size=3)  # fmt: skip
row("upgrade-with-chunks-then-next", CHUNKED[:-2] + b"\r\n".join([*_UPGRADE, b"", b""])
    + b"3\r\nabc\r\n0\r\nA: b\r\n\r\n" + NEXT, MUST, "9110 7.8", 200, 200, closes=False,
    path="/next")  # fmt: skip
row("upgrade-then-no-host", get(*_UPGRADE) + get(host=None), MUST, "9110 7.8", 200, 400,
    closes=True)  # fmt: skip
row(
    "upgrade-then-bad",
    get(*_UPGRADE) + b"NONSENSE\r\n\r\n",
    MUST,
    "9110 7.8",
    200,
    400,
    closes=True,
)
row("upgrades-then-no-host", get(*_UPGRADE) * 20 + get(host=None), MUST, "9110 7.8",
    *[200] * 20, 400, closes=True)  # fmt: skip
row("upgrade-with-body-then-no-host", POST
    + b"\r\n".join([*_UPGRADE, b"Content-Length: 3", b"", b"abc"]) + get(host=None), MUST,
    "9110 7.8", 200, 400, closes=True)  # fmt: skip
_WEBSOCKET = (b"Connection: upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13",
              b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")  # fmt: skip
refused("websocket-in-1.0", get(*_WEBSOCKET, first=b"GET / HTTP/1.0"), MUST, "6455 4.2.1")
row(
    "upgrade-h2c-in-1.0",
    get(*_UPGRADE, first=b"GET / HTTP/1.0"),
    MUST,
    "9110 7.8",
    200,
    closes=True,
)
served("upgrade-alone", get(b"Upgrade: websocket"), MUST, "9110 7.8")
_EXPECT = b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"
row("expect", POST + _EXPECT + b"abc", OURS, "9110 10.1.1", 200, closes=False, size=3)
served("expect-empty-chunks", CHUNKED[:-2] + b"Expect: 100-continue\r\n\r\n0\r\n\r\n", OURS,
       "9110 10.1.1", size=0)  # fmt: skip
served("expect-no-body", get(b"Expect: 100-continue"), MUST, "9110 10.1.1")
row("expect-in-1.0", b"POST / HTTP/1.0\r\n" + _EXPECT + b"abc", MUST, "9110 10.1.1", 200,
    closes=True, size=3)  # fmt: skip
refused("expect-other", get(b"Expect: miracles"), OURS, "9110 10.1.1", 417)
refused("expect-too-long", POST + b"Expect: 100-continue\r\nContent-Length: 9999999\r\n\r\n", OURS,
        "9110 10.1.1", 413)  # fmt: skip

# --- limits: RFC 9110 section 15.5, RFC 6585 section 5

KIB = 1024
served("target-8000", target(b"/" + b"a" * 7999), SHOULD, "9112 3")
refused("target-20k", target(b"/" + b"a" * 20 * KIB), MUST, "9112 3", 414)
refused("spaces-100k", b"GET " + b" " * 100 * KIB + b"/ HTTP/1.1\r\n" + HOST + b"\r\n", OURS,
        "9112 3", 414)  # fmt: skip
refused("target-100k", target(b"/?" + b"a" * 100 * KIB), MUST, "9112 3", 414)
refused("target-1m", target(b"/" + b"a" * KIB * KIB), MUST, "9112 3", 414)
served("header-32k", get(b"A: " + b"b" * 32 * KIB), OURS, "9110 5.4")
refused("header-80k", get(b"A: " + b"b" * 80 * KIB), OURS, "6585 5", 431)
refused("header-8m", get(b"A: " + b"b" * 8 * KIB * KIB), OURS, "6585 5", 431)
refused("header-name-8m", get(b"A" * 8 * KIB * KIB + b": b"), OURS, "6585 5", 431)
served("headers-100", get(*[b"A: b"] * 100), OURS, "6585 5")
refused("headers-200", get(*[b"A: b"] * 200), OURS, "6585 5", 431)
refused("headers-20k", get(*[b"A: b"] * 20_000), OURS, "6585 5", 431)
refused("headers-65k", get(*[b"A: " + b"b" * 1000] * 80), OURS, "6585 5", 431)
served("body-at-limit", POST + b"Content-Length: %d\r\n\r\n" % MAX_BODY + b"a" * MAX_BODY, OURS,
       "9110 15.5.14", size=MAX_BODY)  # fmt: skip
refused("body-over-limit", POST + b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1), OURS,
        "9110 15.5.14", 413)  # fmt: skip
refused("body-1g", POST + b"Content-Length: %d\r\n\r\n" % (1 << 30), OURS, "9110 15.5.14", 413)
_CHUNK = b"10000\r\n" + b"a" * 65536 + b"\r\n"
refused("chunks-over-limit", CHUNKED + _CHUNK * 20, OURS, "9110 15.5.14", 413)
refused("chunk-claims-much", CHUNKED + b"fffffffff\r\n" + b"a" * 2 * MAX_BODY, OURS,
        "9110 15.5.14", 413)  # fmt: skip
refused("endless-extension", CHUNKED + b"3;" + b"a" * 200 * KIB, OURS, "9112 7.1.1")
refused("endless-trailer", CHUNKED + b"0\r\nA: " + b"b" * 200 * KIB, OURS, "9112 7.1.2")
refused("many-trailers", CHUNKED + b"0\r\n" + b"A: b\r\n" * 200, OURS, "9112 7.1.2", 431)
