"""Boundaries of the messages on a connection, and measurements of their request lines. Pure.

httptools skips bytes before a request and spaces within the request line that RFC 9112 does not
allow, accepts RTSP, and does not report where one message ends and the next begins. So the reader
feeds the parser no bytes beyond the end of a message, and measures each request line itself.
"""

from __future__ import annotations

from .head_checks import Refusal

__all__ = ["Framing"]

MAX_EMPTY_LINES = 16
"""Empty lines accepted before a request: some clients send an extra one after a body."""
_EMPTY_LINE, _END = b"\r\n", b"\r\n\r\n"
_CR, _LF = b"\r\n"
_VERSION_SIZE = len(b"HTTP/1.1")


class Framing:
    """The framing state of one connection, independent of how its bytes are split into reads.

    Attributes:
        empty_lines: Empty lines before the next request, an incomplete one included.
        has_pending_cr: The last byte was a CR before a request; its LF has not arrived.
        is_in_line: The end of the request line has not arrived.
        line_size: Bytes of the request line that have arrived.
        line_tail: The last eight bytes of the request line: protocol and version.
        spaces: Number of spaces in the request line.
    """

    __slots__ = (
        "_tail",
        "empty_lines",
        "has_pending_cr",
        "is_in_line",
        "line_size",
        "line_tail",
        "spaces",
    )

    def __init__(self) -> None:
        self.is_in_line = False
        self.line_size = 0
        self.line_tail = b""
        self.spaces = 0
        self.empty_lines = 0
        self.has_pending_cr = False
        self._tail = b""

    def skip_empty_lines(self, data: bytes, offset: int) -> int:
        """Return the offset in `data` where the next request begins.

        Raises:
            Refusal: There are too many empty lines, or a line does not end with CR LF.
        """
        if self.has_pending_cr:
            self.has_pending_cr = False
            if data[offset] != _LF:
                raise _stray_line_end()
            offset += 1
        while data.startswith(_EMPTY_LINE, offset):
            offset += 2
            self.empty_lines += 1
        if self.empty_lines > MAX_EMPTY_LINES:
            raise Refusal(400, f"More than {MAX_EMPTY_LINES} empty lines precede the request.")
        if offset < len(data) and data[offset] in (_CR, _LF):
            if data[offset] == _LF or offset + 1 < len(data):
                raise _stray_line_end()
            self.has_pending_cr = True
            self.empty_lines += 1
            offset += 1
        return offset

    def begin(self, data: bytes, offset: int) -> int:
        """Measure a request that begins in `data`; return the end of its head within `data`.

        Nearly every head arrives in one read, and needs no other method.
        """
        end = data.find(_END, offset) + 4
        if end < 4:
            end = len(data)
            self._tail = data[max(offset, end - 3) :]
        line_end = data.find(b"\r", offset, end)
        self.is_in_line = line_end < 0
        if line_end < 0:
            line_end = end
        self.line_size = line_end - offset
        self.line_tail = data[max(offset, line_end - _VERSION_SIZE) : line_end]
        self.spaces = data.count(b" ", offset, line_end)
        self.empty_lines = 0
        return end

    def find_end(self, data: bytes, offset: int) -> int:
        """Return the offset behind the first CR LF CR LF, where a head or chunked body may end."""
        tail, self._tail = self._tail, b""
        if tail:
            found = (tail + data[offset : offset + 3]).find(_END)
            if found >= 0:
                return offset + found + len(_END) - len(tail)
        found = data.find(_END, offset)
        if found >= 0:
            return found + len(_END)
        self._tail = (tail + data[max(offset, len(data) - 3) :])[-3:]
        return len(data)

    def measure_line(self, data: bytes, offset: int, end: int) -> None:
        """Measure the part of the request line between two offsets of `data`."""
        line_end = data.find(b"\r", offset, end)
        if line_end < 0:
            line_end = end
        else:
            self.is_in_line = False
        self.line_size += line_end - offset
        self.line_tail = (self.line_tail + data[offset:line_end])[-_VERSION_SIZE:]
        self.spaces += data.count(b" ", offset, line_end)


def _stray_line_end() -> Refusal:
    return Refusal(400, "A lone CR or LF precedes the request.")
