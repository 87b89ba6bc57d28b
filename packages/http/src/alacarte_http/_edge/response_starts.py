"""Status lines and common headers of responses, encoded once per status and second."""

from __future__ import annotations

import http
from email.utils import formatdate

from .head_checks import Refusal

__all__ = ["BODILESS", "CONTINUE", "STATUS_LINE", "ResponseStarts", "refusal_bytes"]

BODILESS = frozenset((204, 304))
"""Statuses of responses that have no body, regardless of their headers."""
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def _status_line(status: int) -> bytes:
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


STATUS_LINE = {status: _status_line(status) for status in range(100, 600)}


class ResponseStarts(dict[int, bytes]):
    """A cache from status to the response's first bytes: the status line and the date header."""

    def __init__(self) -> None:
        super().__init__()
        self._date = b""

    def renew(self) -> None:
        """Use the current time in further responses."""
        date = f"date: {formatdate(usegmt=True)}\r\n".encode()
        if date != self._date:
            self._date = date
            self.clear()

    def __missing__(self, status: int) -> bytes:
        start = self[status] = STATUS_LINE[status] + self._date
        return start


def refusal_bytes(start: bytes, refusal: Refusal) -> bytes:
    """Return the response to a refused request.

    Args:
        start: The entry of `ResponseStarts` for the refusal's status.
    """
    body = (refusal.text + "\n").encode("utf-8", "backslashreplace")
    return (
        b"%b%bcontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n"
        b"connection: close\r\n\r\n%b"
        % (start, refusal.extra, len(body), b"" if refusal.bodiless else body)
    )
