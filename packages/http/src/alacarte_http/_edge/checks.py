"""What a request's head must be, beyond what httptools checks. Pure functions.

RFC 9112 is strict where two readers of the same bytes could disagree on where a request ends or for
whom it is; so are these. Whatever they refuse, the connection is closed.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = [
    "Refused",
    "RequestTarget",
    "check_coding",
    "check_expectation",
    "check_host",
    "no_connect",
    "parse_target",
    "refused_by_parser",
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


class Refused(Exception):
    """A request that is answered here, and its connection closed.

    Attributes:
        bodiless: Its method is HEAD: the answer ends with its headers.
    """

    bodiless = False

    def __init__(self, status: int, text: str, extra: bytes = b"") -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text
        self.extra = extra


class RequestTarget(NamedTuple):
    """A request target, taken apart.

    Attributes:
        path: As it was sent; `*` for the server as a whole.
        query: Without its question mark.
        host: The host an absolute-form target names, None in the other forms.
    """

    path: bytes
    query: bytes
    host: bytes | None


def parse_target(target: bytes, method: str) -> RequestTarget:
    """Take apart a target of any form, percent-encoding and dots left as they are.

    Raises:
        Refused: It is of no form that this method may have.
    """
    if method == "CONNECT":
        raise no_connect()
    if b"#" in target:
        raise Refused(400, "The request target has a fragment (#); leave it out.")
    host = None
    if target == b"*":
        if method != "OPTIONS":
            raise Refused(400, f"The target * is for OPTIONS, not for {method}.")
        return RequestTarget(b"*", b"", None)
    if not target.startswith(b"/"):
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute is None:
            raise Refused(400, "The request target must be /path, or http(s)://host/path.")
        host, target = absolute.groups()
        check_host(host)
        if not target:
            target = b"*" if method == "OPTIONS" else b"/"
        elif target.startswith(b"?"):
            target = b"/" + target
    path, _, query = target.partition(b"?")
    if not target.isascii():
        raise Refused(400, "The request target has bytes beyond ASCII; percent-encode them.")
    return RequestTarget(path, query, host)


def no_connect() -> Refused:
    """Return the answer to a request for a tunnel."""
    return Refused(400, "CONNECT is not supported: this server is no proxy for others.")


def check_host(value: bytes) -> None:
    """Check the value of a Host header, or the authority in a target.

    Raises:
        Refused: It is no host with an optional port.
    """
    if not _HOST.fullmatch(value):
        raise Refused(400, "Host must be a name or an address, with an optional port.")


def check_coding(value: bytes, version: str) -> None:
    """Check the value of Transfer-Encoding.

    Raises:
        Refused: It is not just `chunked`, or the request is of HTTP/1.0, which has none.
    """
    if version == "1.0":
        raise Refused(400, "HTTP/1.0 has no Transfer-Encoding; send Content-Length or HTTP/1.1.")
    if value.lower() != b"chunked":
        raise Refused(501, "The only Transfer-Encoding understood is chunked.")


def check_expectation(value: bytes) -> None:
    """Check the value of Expect.

    Raises:
        Refused: It is not `100-continue`.
    """
    if value.lower() != b"100-continue":
        raise Refused(417, "The only expectation understood is 100-continue.")


def refused_by_parser(reason: str, data: bytes, wrong_method: bool) -> Refused:
    """Return the answer to bytes that httptools did not accept.

    Args:
        reason: What it said.
        data: What it was fed last, from the beginning of the request.
        wrong_method: It stopped at the method.
    """
    if wrong_method and _WELL_FORMED.match(data):
        return Refused(501, "The request's method is not known here.")
    if reason == "Invalid HTTP version" or reason == "Pause on PRI/Upgrade":
        return Refused(505, "The versions understood are HTTP/1.0 and HTTP/1.1.")
    return Refused(400, f"The request is not HTTP/1.1: {reason}.")
