"""Checks of a request's head beyond httptools' own. Pure functions.

They are strict where RFC 9112 is: where two servers could disagree on the end of a request or on
its host. After a refusal the connection is closed.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = [
    "Refusal",
    "RequestTarget",
    "check_coding",
    "check_expectation",
    "check_host",
    "connect_refusal",
    "parse_target",
    "parser_refusal",
]

_HOST = re.compile(
    rb"(?:\[(?:[0-9A-Fa-f:.]+|[vV][0-9A-Fa-f]+\.[A-Za-z0-9._~!$&'()*+,;=:-]+)\]"  # an IP literal
    rb"|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+)"  # a name
    rb"(?::[0-9]{0,5})?"
)
_ABSOLUTE = re.compile(rb"[hH][tT][tT][pP][sS]?://([^/?]*)(.*)", re.DOTALL)
_WELL_FORMED = re.compile(
    rb"(?:\r?\n)*[!#$%&'*+.^_`|~0-9A-Za-z-]+ [!-~]+ HTTP/[0-9]\.[0-9]\r\n", re.DOTALL
)


class Refusal(Exception):
    """A request that the connection refuses by itself, and then closes.

    Args:
        extra: Further header lines of the response, each ended with CR LF.

    Attributes:
        bodiless: The request's method is HEAD, so the response has no body.
    """

    bodiless = False

    def __init__(self, status: int, text: str, extra: bytes = b"") -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text
        self.extra = extra


class RequestTarget(NamedTuple):
    """The parts of a request target.

    Attributes:
        path: As sent; `*` for the server as a whole.
        query: Without the question mark.
        host: The host in an absolute-form target, None in the other forms.
    """

    path: bytes
    query: bytes
    host: bytes | None


def parse_target(target: bytes, method: str) -> RequestTarget:
    """Split a request target of any form; keep percent-encoding and dot segments.

    Raises:
        Refusal: The target's form is not valid for this method.
    """
    if method == "CONNECT":
        raise connect_refusal()
    if b"#" in target:
        raise Refusal(400, "The request target has a fragment (#). Remove it.")
    host = None
    if target == b"*":
        if method != "OPTIONS":
            raise Refusal(400, f"The request target * is only valid for OPTIONS, not for {method}.")
        return RequestTarget(b"*", b"", None)
    if not target.startswith(b"/"):
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute is None:
            raise Refusal(400, "The request target must be /path or http(s)://host/path.")
        host, target = absolute.groups()
        check_host(host)
        if not target:
            target = b"*" if method == "OPTIONS" else b"/"
        elif target.startswith(b"?"):
            target = b"/" + target
    path, _, query = target.partition(b"?")
    if not target.isascii():
        raise Refusal(400, "The request target has bytes outside ASCII. Percent-encode them.")
    return RequestTarget(path, query, host)


def connect_refusal() -> Refusal:
    """Return the refusal of a CONNECT request."""
    return Refusal(400, "CONNECT is not supported: this server is not a forward proxy.")


def check_host(value: bytes) -> None:
    """Check the value of a Host header, or the authority in a target.

    Raises:
        Refusal: The value is not a host with an optional port.
    """
    if not _HOST.fullmatch(value):
        raise Refusal(400, "Host must be a name or an IP address, with an optional port.")


def check_coding(value: bytes, version: str) -> None:
    """Check the value of Transfer-Encoding.

    Raises:
        Refusal: The value is not exactly `chunked`, or the request is HTTP/1.0.
    """
    if version == "1.0":
        raise Refusal(
            400, "HTTP/1.0 has no Transfer-Encoding. Send Content-Length, or use HTTP/1.1."
        )
    if value.lower() != b"chunked":
        raise Refusal(501, "The only supported Transfer-Encoding is chunked.")


def check_expectation(value: bytes) -> None:
    """Check the value of Expect.

    Raises:
        Refusal: The value is not `100-continue`.
    """
    if value.lower() != b"100-continue":
        raise Refusal(417, "The only supported expectation is 100-continue.")


def parser_refusal(reason: str, data: bytes, wrong_method: bool) -> Refusal:
    """Return the refusal of bytes that httptools could not parse.

    Args:
        reason: The parser's error.
        data: The last bytes that the parser was fed, from the beginning of the request; empty when
            the request began in an earlier read.
        wrong_method: The parser failed at the method.
    """
    if wrong_method and _WELL_FORMED.match(data):
        return Refusal(501, "The server does not support the request's method.")
    if reason == "Invalid HTTP version" or reason == "Pause on PRI/Upgrade":
        return Refusal(505, "The supported versions are HTTP/1.0 and HTTP/1.1.")
    return Refusal(400, f"The request is not valid HTTP/1.1: {reason}.")
