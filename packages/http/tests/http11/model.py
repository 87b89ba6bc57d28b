"""An independent reader of HTTP/1.1, for comparison with the server's.

Written from RFC 9110, RFC 9112 and `docs/reference/http-promises.md`, without a look at the server:
slow and plain. A stream is read when all of its bytes are known, so that neither reads nor state
matter. Where the RFCs or our documentation leave a choice, a step allows each of the outcomes.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["Limits", "Request", "Step", "read"]

CRLF = b"\r\n"
MAX_EMPTY_LINES = 16
TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
FIELD_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
REG_NAME = re.compile(rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+")
URI = re.compile(rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{2})*")
CHUNK_EXTENSIONS = re.compile(
    rb'(?:;%(t)b(?:=(?:%(t)b|"[\w !#$%%&=;]*"))?)*' % {b"t": TOKEN.pattern}
)

MUST_KNOW = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"PATCH"))
"""Methods of RFC 9110 and RFC 5789. A server may know others."""
STATUSES = frozenset((400, 414, 417, 431, 501, 505))
"""Statuses of the refusal of a head."""
_LEADING_ZEROS = 8
_MAX_HEX_DIGITS = 16


class Limits(NamedTuple):
    """The limits of the server, in bytes."""

    request_line: int
    header_bytes: int
    header_fields: int
    body: int


@dataclass(frozen=True)
class Request:
    """A request that the application must see.

    Attributes:
        path: As it was sent.
        query: Without its question mark.
        headers: Names in lower case, values without the whitespace around them, in their order.
        body: As far as it has arrived.
    """

    method: bytes
    path: bytes
    query: bytes
    version: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""


@dataclass(frozen=True)
class Step:
    """A request or the beginning of one, with the allowed behaviour of the server.

    Attributes:
        request: None where its head is not whole, or to be refused.
        refusals: Statuses that the server may refuse it with.
        serve: The application may answer.
        wait: The server may wait for more bytes.
        silent_end: The server may close without an answer.
        upgrade: The server may go on as a WebSocket, with the bytes behind `end`.
        own: The server answers itself, with 200.
        last: The connection ends after the response; None where the server may choose.
        expects: The client waits for `100 Continue`.
        bodiless: A refusal has no body (True), must have one (False), or either (None).
        end: Position behind the request.
    """

    request: Request | None = None
    refusals: frozenset[int] = frozenset()
    serve: bool = False
    wait: bool = False
    silent_end: bool = False
    upgrade: bool = False
    own: bool = False
    last: bool | None = False
    expects: bool = False
    bodiless: bool | None = False
    end: int = 0


@dataclass
class Faults:
    """Statuses with which the server must or may refuse a request."""

    must: set[int] = field(default_factory=set)
    may: set[int] = field(default_factory=set)

    def demand(self, broken: bool, *statuses: int) -> None:
        """Add alternative statuses for a broken rule."""
        if broken:
            self.must.update(statuses)

    def allow(self, unusual: bool, *statuses: int) -> None:
        """Add statuses with which the server may refuse a valid request."""
        if unusual:
            self.may.update(statuses)

    @property
    def all(self) -> frozenset[int]:
        return frozenset(self.must | self.may)


def read(data: bytes, limits: Limits, *, eof: bool) -> list[Step]:
    """Return the requests in a stream, with the server's allowed behaviour for each.

    Nothing behind a step that is refused, waited for, upgraded or last is of consequence.

    Args:
        eof: The client has stopped sending after these bytes.
    """
    steps: list[Step] = []
    at = 0
    while True:
        step = read_one(data, at, limits)
        if step is None:
            steps.append(Step(wait=not eof, silent_end=eof))
            return steps
        if eof and step.wait:
            # A lone CR is an incomplete message, or no message.
            between = data[at:].strip(CRLF) == b""
            step = change(step, wait=False, silent_end=between, refusals=step.refusals | {400})
        steps.append(step)
        if step.last is True or not step.serve:
            return steps
        at = step.end


def change(step: Step, **values: object) -> Step:
    return Step(**{**step.__dict__, **values})  # type: ignore[arg-type]


def read_one(data: bytes, at: int, limits: Limits) -> Step | None:
    """Return the request at a position; None if only empty lines follow."""
    empty_lines = 0
    while data.startswith(CRLF, at):
        at += 2
        empty_lines += 1
    if empty_lines > MAX_EMPTY_LINES:
        return Step(refusals=frozenset((400,)))
    if at == len(data):
        return None
    if data[at:] == b"\r":
        return Step(wait=True, refusals=frozenset((400,) if empty_lines == MAX_EMPTY_LINES else ()))
    if data[at] in CRLF:
        return Step(refusals=frozenset((400,)))
    end = data.find(CRLF + CRLF, at)
    if end < 0:
        return incomplete_head(data[at:], limits)
    return complete_head(data, data[at:end].split(CRLF), end + 4, limits)


def incomplete_head(data: bytes, limits: Limits) -> Step:
    """Judge a head without its end. It may be refused as soon as a line of it is wrong."""
    faults = Faults()
    *lines, rest = data.split(CRLF)
    if lines:
        read_request_line(lines[0], limits, faults)
        headers = read_fields(lines[1:], limits, faults)
        check_incomplete_fields(headers, lines[0], faults)
        if len(rest) and not may_become_field(rest):
            faults.allow(True, *STATUSES)
    elif len(rest) > limits.request_line:
        # The end of a line is read with the line; a CR may be the first half of it.
        return Step(refusals=STATUSES, wait=rest[:-1].find(b"\r") >= 0, bodiless=None)
    elif not may_become_request_line(rest):
        faults.allow(True, *STATUSES)
    size = sum(len(line) + 2 for line in lines[1:]) + len(rest)
    faults.allow(size > limits.header_bytes, 431)
    too_much = len(data) > limits.header_bytes + limits.request_line + 2
    if too_much:
        return Step(refusals=faults.all | {431, 414, 400}, bodiless=None)
    too_long = 414 in faults.must or (431 in faults.must and len(lines) > limits.header_fields + 1)
    # A limit is kept while bytes arrive; other faults may be told of when the head has ended.
    return Step(refusals=faults.all, wait=not too_long, bodiless=None)


def may_become_request_line(rest: bytes) -> bool:
    """Return whether an incomplete request line is the beginning of a valid one."""
    method, space, rest = rest.partition(b" ")
    if not space:
        return any(known.startswith(method) for known in MUST_KNOW)
    target, space, version = rest.partition(b" ")
    if method not in MUST_KNOW or (target and not re.fullmatch(rb"/[!-\"$-~]*", target)):
        return False
    return not space or (bool(target) and b"HTTP/1.1\r".startswith(version))


def may_become_field(rest: bytes) -> bool:
    """Return whether an incomplete field line is of a field that the server ignores."""
    if rest == b"\r":
        return True
    name, colon, value = rest.partition(b":")
    if not TOKEN.fullmatch(name):
        return False
    meaningful = (b"host", b"content-length", b"transfer-encoding", b"expect")
    if not colon:
        return True
    return name.lower() not in meaningful and bool(FIELD_VALUE.fullmatch(value.removesuffix(b"\r")))


def check_incomplete_fields(
    headers: list[tuple[bytes, bytes]], line: bytes, faults: Faults
) -> None:
    """Add the statuses for fields that are invalid regardless of their end."""
    found = Faults()
    check_framing(headers, line.rpartition(b" ")[2], found)
    check_hosts(headers, False, found)
    found.demand(any(v.lower() != b"100-continue" for v in values(headers, b"expect")), 417)
    faults.allow(True, *found.all)


class Line(NamedTuple):
    """A request line; `own` is OPTIONS *, and `host` is of an absolute target."""

    method: bytes
    path: bytes
    query: bytes
    version: bytes
    host: bytes | None
    own: bool


def complete_head(data: bytes, lines: list[bytes], end: int, limits: Limits) -> Step:
    """Judge a request whose head ends at `end`."""
    faults = Faults()
    line = read_request_line(lines[0], limits, faults)
    headers = read_fields(lines[1:], limits, faults)
    version = line.version if line else b"HTTP/1.1"
    length, chunked = check_framing(headers, version, faults)
    check_hosts(headers, version != b"HTTP/1.0", faults)
    expectations = values(headers, b"expect")
    faults.demand(any(value.lower() != b"100-continue" for value in expectations), 417)
    faults.demand(length is not None and length > limits.body, 413)
    faults.allow(length is not None and length > 1 << 60, 400)
    head = lines[0].startswith(b"HEAD ")
    if line is None or faults.must:
        # Whether the method was known when the fault was found depends on the reader.
        bodiless = None if head else False
        return Step(refusals=faults.all, bodiless=bodiless)
    if line.host is not None:
        headers = [(b"host", line.host), *[each for each in headers if each[0] != b"host"]]
    step = Step(
        Request(line.method, line.path, line.query, line.version, tuple(headers)),
        own=line.own,
        last=is_last(headers, line.version),
        expects=bool(expectations) and line.version == b"HTTP/1.1",
        bodiless=head,
        end=end,
    )
    step = read_body(data, step, length, chunked, limits, faults)
    return check_websocket(step, headers, has_body=bool(length or chunked))


def read_request_line(line: bytes, limits: Limits, faults: Faults) -> Line | None:
    """Split a request line; return None if it must be refused."""
    faults.demand(len(line) > limits.request_line, 414)
    match = re.fullmatch(rb"([^ ]*) ([^ ]*) ([^ ]*)", line)
    if match is None or not TOKEN.fullmatch(match[1]) or not re.fullmatch(rb"[!-~]+", match[2]):
        faults.demand(True, 400, 501, 505)
        return None
    method, target, version = match.groups()
    if not re.fullmatch(rb"HTTP/1\.[01]", version):
        # A version that could be one of HTTP's deserves 505.
        faults.demand(True, 400, 501, 505)
        return None
    if method == b"CONNECT" or method == b"PRI":
        faults.demand(True, 400, 501, 505)
        return None
    known = method in MUST_KNOW
    if not known:
        # Some of the registered methods are known. None has a lower-case letter.
        (faults.allow if re.fullmatch(rb"[A-Z-]{3,}", method) else faults.demand)(True, 400, 501)
    return read_target(target, method, version, faults)


def read_target(target: bytes, method: bytes, version: bytes, faults: Faults) -> Line | None:
    """Split a target (RFC 9112, section 3.2)."""
    host = None
    asterisk = target == b"*"
    absolute = re.fullmatch(rb"https?://([^/?#]*)(.*)", target, re.IGNORECASE)
    if absolute:
        host, target = absolute.groups()
        check_host(host, faults)
        if not target:
            asterisk = method == b"OPTIONS"
            target = b"/"
        elif target.startswith(b"?"):
            target = b"/" + target
    if asterisk:
        faults.demand(method != b"OPTIONS", 400, 501)
        return Line(method, b"*", b"", version, host, True)
    if not target.startswith(b"/") or b"#" in target:
        faults.demand(True, 400, 501)
        return None
    faults.allow(not URI.fullmatch(target), 400)
    path, _, query = target.partition(b"?")
    return Line(method, path, query, version, host, False)


def read_fields(lines: list[bytes], limits: Limits, faults: Faults) -> list[tuple[bytes, bytes]]:
    """Read the fields of a head (RFC 9112, section 5)."""
    fields = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not TOKEN.fullmatch(name) or not FIELD_VALUE.fullmatch(value):
            faults.demand(True, 400)
        else:
            fields.append((name.lower(), value.strip(b" \t")))
            # Some servers take `chunked<tab>` for another coding: a good reason to refuse it.
            faults.allow(name.lower() == b"transfer-encoding" and b"\t" in value, 400)
    faults.demand(len(lines) > limits.header_fields, 431)
    # Whether whitespace around a value counts is left open; that of the fields themselves does.
    least = sum(len(name) + len(value) + 4 for name, value in fields)
    faults.demand(least > limits.header_bytes, 431)
    faults.allow(sum(len(line) + 2 for line in lines) + 2 > limits.header_bytes, 431)
    return fields


def values(headers: list[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value for each, value in headers if each == name]


def check_hosts(headers: list[tuple[bytes, bytes]], required: bool, faults: Faults) -> None:
    """Check the Host fields (RFC 9112, section 3.2)."""
    hosts = values(headers, b"host")
    faults.demand(len(hosts) > 1 or (required and not hosts), 400)
    for host in hosts:
        check_host(host, faults)


def check_host(value: bytes, faults: Faults) -> None:
    """Check a host with an optional port (RFC 3986, section 3.2). An empty one is refused."""
    literal = re.fullmatch(rb"\[([^\]]*)\](?::([0-9]*))?", value)
    if literal:
        faults.demand(not re.fullmatch(rb"[0-9A-Fa-f:.]+|[vV][^\[\]]+", literal[1]), 400)
        try:
            ipaddress.IPv6Address(literal[1].decode("latin-1"))
        except ValueError:
            faults.allow(True, 400)
        port = literal[2]
    else:
        name, _, port = value.partition(b":")
        faults.demand(not REG_NAME.fullmatch(name) or not re.fullmatch(rb"[0-9]*", port), 400)
    faults.allow(bool(port) and len(port) > 4, 400)


def check_framing(
    headers: list[tuple[bytes, bytes]], version: bytes, faults: Faults
) -> tuple[int | None, bool]:
    """Return Content-Length, and whether the body is chunked (RFC 9112, section 6)."""
    lengths, codings = values(headers, b"content-length"), values(headers, b"transfer-encoding")
    faults.demand(len(lengths) > 1 or bool(lengths and codings), 400, 501)
    faults.demand(any(not re.fullmatch(rb"[0-9]+", length) for length in lengths), 400)
    faults.demand(any(coding.lower() != b"chunked" for coding in codings), 400, 501)
    faults.demand(len(codings) > 1 or bool(codings and version == b"HTTP/1.0"), 400, 501)
    faults.allow(any(len(length) > _LEADING_ZEROS for length in lengths), 400)
    return (int(lengths[0]) if len(lengths) == 1 and lengths[0].isdigit() else None), bool(codings)


def elements(headers: list[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    """Return the elements of a list (RFC 9110, section 5.6.1), in lower case."""
    joined = b",".join(values(headers, name)).lower()
    return [each.strip(b" \t") for each in joined.split(b",") if each.strip(b" \t")]


def is_last(headers: list[tuple[bytes, bytes]], version: bytes) -> bool | None:
    """Return whether the connection closes after this request (RFC 9112, section 9.3)."""
    options = elements(headers, b"connection")
    if version == b"HTTP/1.0" or b"close" in options:
        return True
    return False if all(TOKEN.fullmatch(option) for option in options) else None


def check_websocket(step: Step, headers: list[tuple[bytes, bytes]], *, has_body: bool) -> Step:
    """Judge a request for a WebSocket (RFC 9110, 7.8; RFC 6455, 4.2.1)."""
    protocols = [each.partition(b"/")[0] for each in elements(headers, b"upgrade")]
    if b"upgrade" not in elements(headers, b"connection") or b"websocket" not in protocols:
        return step
    plain = len(values(headers, b"connection")) == 1 and values(headers, b"upgrade")[0].lower() == (
        b"websocket"
    )
    if len(values(headers, b"upgrade")) > 1:
        plain = False
    assert step.request is not None
    allowed = step.request.version == b"HTTP/1.1" and not has_body
    # Behind a request that is not answered yet, a WebSocket may be refused.
    return change(
        step,
        refusals=step.refusals | {400},
        upgrade=allowed,
        serve=step.serve and not plain,
        wait=step.wait and not plain,
    )


def read_body(
    data: bytes, step: Step, length: int | None, chunked: bool, limits: Limits, faults: Faults
) -> Step:
    """Read the body behind a valid head (RFC 9112, section 6.3)."""
    assert step.request is not None
    if chunked:
        body, end = read_chunks(data, step.end, limits, faults)
    else:
        body = data[step.end : step.end + (length or 0)]
        end = step.end + len(body) if len(body) == (length or 0) else None
    request = Request(**{**step.request.__dict__, "body": body})
    if faults.must:
        return change(step, request=request, refusals=faults.all)
    if end is None:
        return change(step, request=request, refusals=faults.all, wait=True)
    return change(step, request=request, refusals=faults.all, serve=True, end=end)


def read_chunks(data: bytes, at: int, limits: Limits, faults: Faults) -> tuple[bytes, int | None]:
    """Return the content of a chunked body and its end, None if it is incomplete."""
    begin, content = at, b""
    while True:
        line_end = data.find(CRLF, at)
        if line_end < 0:
            check_weight(len(data) - begin, content, limits, faults, whole=False)
            faults.allow(not re.fullmatch(rb"(?:[0-9A-Fa-f]{1,8}\r?)?", data[at:]), 400, 413)
            return content, None
        size = read_chunk_size(data[at:line_end], faults)
        at = line_end + 2
        check_weight(at - begin, content, limits, faults, whole=True)
        if faults.must or size is None:
            return content, None
        if size == 0:
            return content, read_trailers(data, at, begin, content, limits, faults)
        content += data[at : at + size]
        faults.demand(len(content) > limits.body, 413)
        faults.allow(size > limits.body, 413)
        at += size
        faults.demand(not CRLF.startswith(data[at : at + 2]), 400)
        if faults.must or len(data) < at + 2:
            return content, None
        at += 2


def read_chunk_size(line: bytes, faults: Faults) -> int | None:
    """Return the size at a chunk's beginning (RFC 9112, section 7.1)."""
    digits, semicolon, _ = line.partition(b";")
    extensions = line[len(digits) :]
    if semicolon and digits != digits.rstrip(b" \t"):
        digits = digits.rstrip(b" \t")
        faults.allow(True, 400)
    faults.demand(not re.fullmatch(rb"[0-9A-Fa-f]+", digits), 400)
    faults.demand(bool(re.search(rb"[\r\n\0]", extensions)), 400)
    faults.allow(not CHUNK_EXTENSIONS.fullmatch(extensions), 400)
    faults.demand(len(digits.lstrip(b"0")) > _MAX_HEX_DIGITS, 400, 413)
    faults.allow(len(digits) > _LEADING_ZEROS, 400)
    return None if faults.must else int(digits, 16)


def check_weight(raw: int, content: bytes, limits: Limits, faults: Faults, *, whole: bool) -> None:
    """Judge framing that is much larger than its body."""
    allowed = 16 * len(content) + limits.header_bytes
    faults.allow(raw > allowed, 400, 431)
    faults.demand(not whole and raw > 2 * allowed, 400, 431)


def read_trailers(
    data: bytes, at: int, begin: int, content: bytes, limits: Limits, faults: Faults
) -> int | None:
    """Return the end of the trailers (RFC 9112, section 7.1.2), None while it has not arrived."""
    count = 0
    while True:
        line_end = data.find(CRLF, at)
        if line_end < 0:
            check_weight(len(data) - begin, content, limits, faults, whole=False)
            faults.allow(bool(data[at:]) and not may_become_field(data[at:]), 400)
            return None
        line, at = data[at:line_end], line_end + 2
        check_weight(at - begin, content, limits, faults, whole=True)
        if not line:
            return at
        name, colon, value = line.partition(b":")
        wrong = not colon or not TOKEN.fullmatch(name) or not FIELD_VALUE.fullmatch(value)
        faults.demand(wrong, 400)
        # Fields that would change the framing must not be heeded; refusing them is allowed.
        faults.allow(name.lower() in (b"content-length", b"transfer-encoding"), 400)
        count += 1
        faults.demand(count > limits.header_fields, 400, 431)
        if faults.must:
            return None
