"""Streams of requests: valid ones from a grammar, and mutations of them.

A stream is a list of tokens, so that a change can be one of a token or of a byte.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random

from .edge import AT_ONCE, EARLY, HELD, LIMITS, READS

__all__ = ["Case", "make_case"]

Tokens = list[bytes]

METHODS = [b"GET", b"GET", b"GET", b"POST", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"DELETE"]
ODD_METHODS = [b"get", b"CONNECT", b"PRI", b"PROPFIND", b"SOURCE", b"M-SEARCH", b"FOO", b"", b"G:T",
               b"QUERY", b"DESCRIBE"]  # fmt: skip
TARGETS = [b"/", b"/a", b"/a/b?c=d", b"/?", b"/%41%2f", b"//a//b", b"/a;b=c", b"/-/routes", b"/*"]
ODD_TARGETS = [b"*", b"http://x", b"http://x/a", b"HTTPS://h:8/?q", b"http://x?q", b"http://[::1]/",
               b"http://u@x/", b"http:///a", b"ftp://x/", b"x:80", b"a", b"/#f", b"/a#", b"?q", b"",
               b"/\xe9", b"/\\", b"/|\"<>^`{}", b"/%zz", b"http://x:y/", b"http:/a", b"http://x#f",
               b"http://x\\@y/", b"/ /", b"http://x/ HTTP/1.1\r\nA: "]  # fmt: skip
VERSIONS = [b"HTTP/1.1"] * 12 + [b"HTTP/1.0"]
ODD_VERSIONS = [b"HTTP/1.2", b"HTTP/2.0", b"HTTP/0.9", b"http/1.1", b"HTTP/1", b"HTTP/1.1 ", b"",
                b"HTTP/01.1", b"HTTP/1.10", b"ICE/1.0", b"RTSP/1.0", b"HTTP/1,1"]  # fmt: skip
HOSTS = [b"x", b"x:80", b"[::1]:8", b"a.b.c", b"x:"]
ODD_HOSTS = [b"", b"x y", b"x,y", b"x/", b"u@x", b"[::1", b"::1", b"x:y", b"x:999999", b"%41",
             b"%4", b"[v1.a:b]", b"[]", b"x#"]  # fmt: skip
NAMES = [b"A", b"X-B", b"Accept", b"Cookie", b"Te", b"Trailer", b"Via", b"!#$%&'*+-.^_`|~1"]
FIELD_VALUES = [b"b", b"", b"a, b", b'"q;\\""', b"\xe9", b"a\tb", b"chunked", b"close", b"100"]
CODINGS = [b"chunked", b"Chunked", b"gzip, chunked", b"chunked, chunked", b"identity", b"gzip", b"",
           b"chunked;q=1", b'"chunked"', b"xchunked", b"chunkedx", b",chunked",
           b"chunked,"]  # fmt: skip
LENGTHS = [b"0", b"3", b"5", b"10", b"03", b"+3", b"-3", b"3,3", b"3 ", b"0x3", b"", b"3 3", b"1e1",
           b"299", b"300", b"301", b"18446744073709551616", b"18446744073709551619", b"4294967299",
           b"00000000000000000000000003", b"3.0", b"\xd9\xa3"]  # fmt: skip
CONNECTIONS = [b"close", b"keep-alive", b"Close", b"x, close", b"close, keep-alive", b"foo", b"",
               b"upgrade", b"close,", b"clos\te", b"close;a", b"upgrade, close", b"closed",
               b"keep-alive, upgrade", b'"close"', b"close close", b"close\t,x"]  # fmt: skip
UPGRADES = [b"h2c", b"websocket", b"WebSocket", b"websocket, h2c", b"h2c, websocket",
            b"websocket/13", b"TLS/1.0", b""]  # fmt: skip
EXPECTATIONS = [b"100-continue", b"100-Continue", b"100-continue, x", b"miracles", b""]
SIZES = [b"0", b"00", b"000", b"3 ", b" 3", b"+3", b"-1", b"0x3", b"3;a=b", b"3;a", b"3;", b"3 ;a",
         b'3;a="b;c"', b"3;a=b c", b"g", b"", b"ffffffffffffffff", b"10000000000000003",
         b"00000000000000000000003", b"3;a\nb", b"3;a\rb", b"3;\0", b"FFFFFFF", b"3_0"]  # fmt: skip
TRAILERS = [b"A: b", b"Content-Length: 3", b"Transfer-Encoding: chunked", b"Host: y", b"A : b",
            b" a", b"A", b"Expect: x", b"Connection: close", b"Upgrade: websocket"]  # fmt: skip
ENDS = [
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\r\r\n",
    b"\n\r\n",
    b" \r\n",
    b"\r\n ",
    b"\r\n\t",
    b"\0\r\n",
    b"",
]
BYTES = [
    bytes([each])
    for each in b'\r\n\0 \t:;,=/?#%*"\\0139aGH\x0b\x0c\x7f\x80\xff\x85\xa0()<>@[]{}_-+.'
]
FRAGMENTS = [
    b"\r\n", b"\r\n\r\n", b"\n\n", b"0\r\n\r\n", b"3\r\nabc\r\n", b"GET /smuggled HTTP/1.1\r\n",
    b"Host: x\r\n", b"Host: y\r\n", b"Content-Length: 3\r\n", b"Content-Length: 30\r\n",
    b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding:\r\n chunked\r\n",
    b"Transfer-Encoding : chunked\r\n", b"Transfer_Encoding: chunked\r\n", b"Connection: close\r\n",
    b"Connection: upgrade\r\nUpgrade: h2c\r\n", b"Connection: upgrade\r\nUpgrade: websocket\r\n",
    b"Expect: 100-continue\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b" folded\r\n", b":\r\n",
    b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n",
]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A stream, its split into reads, and the behaviour of client and application.

    Attributes:
        behaviour: Of the application.
        eof: The client stops sending in the end.
    """

    sent: bytes
    cuts: tuple[int, ...]
    behaviour: str
    eof: bool

    @property
    def reads(self) -> list[bytes]:
        """The stream as it arrives."""
        places = [0, *self.cuts, len(self.sent)]
        return [self.sent[a:b] for a, b in pairwise(places) if a < b]

    def without(self, begin: int, end: int) -> Case:
        """Return the case without a part of its stream."""
        sent = self.sent[:begin] + self.sent[end:]
        moved = {cut if cut <= begin else max(begin, cut - (end - begin)) for cut in self.cuts}
        return replace(self, sent=sent, cuts=tuple(sorted(c for c in moved if 0 < c < len(sent))))


def make_case(seed: int) -> Case:
    """Return the case of a seed."""
    random = Random(seed)
    requests = [_request(random) for _ in range(random.choice((1, 1, 2, 2, 3, 5)))]
    if random.random() < 0.3:
        requests += [random.choice(requests)] * random.randint(1, 3)
    tokens = [token for request in requests for token in request]
    changes = random.choice((0, 1, 1, 1, 1, 2, 3, 5))
    of_tokens = random.randint(0, changes)
    for _ in range(of_tokens):
        _mutate_tokens(random, tokens)
    sent = b"".join(tokens)
    for _ in range(changes - of_tokens):
        sent = _mutate_bytes(random, sent)
    return Case(sent, _cuts(random, sent), random.choice((READS, AT_ONCE, EARLY, HELD)),
                random.random() < 0.2)  # fmt: skip


def _cuts(random: Random, sent: bytes) -> tuple[int, ...]:
    kind = random.choice(("none", "few", "few", "many", "bytes", "lines", "heads"))
    places = range(1, len(sent))
    if kind == "none" or not places:
        return ()
    if kind == "heads":
        return tuple(at for at in places if sent[:at].endswith(b"\r\n\r\n"))
    if kind == "lines":
        near = [at + random.randint(-2, 3) for at in places if sent[at] == 13]
        return tuple(sorted({at for at in near if 0 < at < len(sent)}))
    if kind == "bytes":
        return tuple(places) if len(sent) < 300 else ()
    count = random.randint(1, 3) if kind == "few" else random.randint(4, 20)
    return tuple(sorted(random.sample(places, min(count, len(places)))))


def _request(random: Random) -> Tokens:
    """Return a request that is valid except for a rare oddity of one part."""

    def pick(usual: list[bytes], odd: list[bytes], chance: float = 0.015) -> bytes:
        return random.choice(odd if random.random() < chance else usual)

    tokens: Tokens = [b"\r\n"] * random.choice((0, 0, 0, 0, 0, 1, 2, 16, 17) if
                                               random.random() < 0.3 else (0,))  # fmt: skip
    method = pick(METHODS, ODD_METHODS)
    target = b"*" if method == b"OPTIONS" and random.random() < 0.3 else None
    tokens += [method, b" ", target or pick(TARGETS, ODD_TARGETS, 0.04), b" ",
               pick(VERSIONS, ODD_VERSIONS, 0.015), b"\r\n"]  # fmt: skip
    fields = [[b"Host", b": ", pick(HOSTS, ODD_HOSTS), b"\r\n"]]
    for _ in range(
        random.choice((0, 0, 1, 1, 2, 3, 11, 13) if random.random() < 0.1 else (0, 1, 2))
    ):
        space = random.choice((b": ", b":", b": \t", b":  "))
        value = random.choice(FIELD_VALUES) + random.choice((b"", b"", b" ", b"\t "))
        fields.append([random.choice(NAMES), space, value, b"\r\n"])
    if random.random() < 0.02:
        size = random.choice((500, 560, 590, 600, 700, 900))
        fields.append([b"Big", b": ", b"b" * size, b"\r\n"])
    for name, some, chance in (
        (b"Connection", CONNECTIONS, 0.1), (b"Upgrade", UPGRADES, 0.02),
        (b"Expect", [*EXPECTATIONS[:1] * 20, *EXPECTATIONS], 0.08),
    ):  # fmt: skip
        if random.random() < chance:
            fields.append([name, b": ", random.choice(some), b"\r\n"])
    if random.random() < 0.08:
        fields += [[b"Connection", b": ", b"upgrade", b"\r\n"],
                   [b"Upgrade", b": ", random.choice(UPGRADES), b"\r\n"]]  # fmt: skip
    body: Tokens = []
    framing = random.choice(("none", "length", "length", "chunked", "chunked", "odd"))
    if framing == "length":
        content = _content(random)
        fields.append([b"Content-Length", b": ", b"%d" % len(content), b"\r\n"])
        body = [content]
    elif framing == "chunked":
        fields.append([b"Transfer-Encoding", b": ", random.choice(CODINGS[:2]), b"\r\n"])
        body = _chunks(random)
    elif framing == "odd" and random.random() < 0.25:
        if random.random() < 0.7:
            fields.append([b"Content-Length", b": ", random.choice(LENGTHS), b"\r\n"])
        if random.random() < 0.6:
            fields.append([b"Transfer-Encoding", b": ", random.choice(CODINGS), b"\r\n"])
        body = _chunks(random) if random.random() < 0.7 else [_content(random)]
    random.shuffle(fields)
    for each in fields:
        tokens += each
    return [*tokens, b"\r\n", *body]


def _content(random: Random) -> bytes:
    return random.choice(
        (b"abc", b"", b"0\r\n\r\n", b"\r\n\r\n", b"hello wor\0", b"a" * LIMITS.body,
         b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
    )  # fmt: skip


def _chunks(random: Random) -> Tokens:
    tokens: Tokens = []
    for _ in range(random.choice((0, 1, 1, 2, 3))):
        content = random.choice((b"abc", b"a", b"\r\n\r\n", b"0\r\n\r\n", b"b" * 20, b"c" * 170))
        size = (b"%x" if random.random() < 0.8 else b"%04X") % len(content)
        extension = random.choice((b";a=b", b';c="d"', b";e")) if random.random() < 0.1 else b""
        tokens += [size, extension, b"\r\n", content, b"\r\n"]
    tokens += [random.choice((b"0", b"0", b"0", b"00")), b"\r\n"]
    while random.random() < 0.1:
        tokens += [random.choice(TRAILERS), b"\r\n"]
    return [*tokens, b"\r\n"]


ALTERNATIVES = [
    METHODS + ODD_METHODS, TARGETS + ODD_TARGETS, VERSIONS[-2:] + ODD_VERSIONS, CODINGS, LENGTHS,
    CONNECTIONS, UPGRADES, EXPECTATIONS, SIZES, HOSTS + ODD_HOSTS, TRAILERS,
]  # fmt: skip
"""Groups of tokens; a mutation replaces a token by another of its group."""


def _mutate_tokens(random: Random, tokens: Tokens) -> None:
    """Change a token."""
    if not tokens:
        return
    at = random.randrange(len(tokens))
    kind = random.randrange(8)
    if kind == 0:
        del tokens[at]
    elif kind == 1:
        tokens.insert(at, tokens[at])
    elif kind == 2:
        tokens.insert(at, random.choice(tokens))
    elif kind == 3:
        other = random.randrange(len(tokens))
        tokens[at], tokens[other] = tokens[other], tokens[at]
    elif kind == 4:
        tokens.insert(at, random.choice(FRAGMENTS))
    elif kind == 5:
        ends = [i for i, token in enumerate(tokens) if token == b"\r\n"]
        if ends:
            tokens[random.choice(ends)] = random.choice(ENDS)
    elif kind == 6 and tokens[at].isdigit():
        tokens[at] = random.choice(SIZES + LENGTHS)
    else:
        fitting = [some for some in ALTERNATIVES if tokens[at] in some]
        if fitting:
            tokens[at] = random.choice(random.choice(fitting))
        else:
            end = random.randrange(at, min(len(tokens), at + 12)) + 1
            tokens[at:at] = tokens[at:end]


def _mutate_bytes(random: Random, sent: bytes) -> bytes:
    """Change a byte, or a few."""
    if not sent:
        return random.choice(BYTES)
    at = random.randrange(len(sent))
    kind = random.randrange(8)
    if kind == 0:
        return sent[:at] + sent[at + 1 :]
    if kind == 1:
        return sent[:at] + bytes([random.randrange(256)]) + sent[at + 1 :]
    if kind == 2:
        return sent[:at] + bytes([sent[at] ^ (1 << random.randrange(8))]) + sent[at + 1 :]
    if kind == 3:
        return sent[:at] + sent[at : at + random.randint(1, 40)] + sent[at:]
    if kind == 4:
        return sent[:at]
    if kind == 5:
        return sent[:at] + random.choice(BYTES) * random.choice((1, 1, 2, 300)) + sent[at:]
    return sent[:at] + random.choice(BYTES) + sent[at + (kind == 7) :]
