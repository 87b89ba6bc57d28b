"""Where the messages of a connection begin and end, and how their request lines are spaced. Pure.

httptools skips bytes in front of a request, and spaces within its line, that RFC 9112 does not
allow; it accepts RTSP; and it does not say where one message ends and the next begins. So a
connection feeds the parser no piece that goes beyond the end of a message, and measures each
request line itself.
"""

from __future__ import annotations

from .checks import Refused

__all__ = ["Framing"]

MAX_EMPTY_LINES = 16
"""In front of a request: some clients end a body with a line too many."""
_EMPTY_LINE, _END = b"\r\n", b"\r\n\r\n"
_CR, _LF = b"\r\n"
_VERSION_SIZE = len(b"HTTP/1.1")


class Framing:
    """What is known of the bytes of one connection, however they are cut into reads.

    Attributes:
        empty_lines: How many have arrived in front of a request, a half one included.
        half_empty_line: The last byte was a CR in front of a request.
        in_line: The end of the request line has not arrived.
        line_size: Bytes of the request line, as far as it has arrived.
        line_tail: The last eight of them: protocol and version.
        spaces: How many of them are spaces.
    """

    __slots__ = (
        "_tail",
        "empty_lines",
        "half_empty_line",
        "in_line",
        "line_size",
        "line_tail",
        "spaces",
    )

    def __init__(self) -> None:
        self.in_line = False
        self.line_size = 0
        self.line_tail = b""
        self.spaces = 0
        self.empty_lines = 0
        self.half_empty_line = False
        self._tail = b""

    def skip_empty_lines(self, data: bytes, at: int) -> int:
        """Return where the next request begins in `data`.

        Raises:
            Refused: There are too many empty lines, or one that does not end with CR LF.
        """
        if self.half_empty_line:
            self.half_empty_line = False
            if data[at] != _LF:
                raise _stray()
            at += 1
        while data.startswith(_EMPTY_LINE, at):
            at += 2
            self.empty_lines += 1
        if self.empty_lines > MAX_EMPTY_LINES:
            raise Refused(400, f"More than {MAX_EMPTY_LINES} empty lines, and no request.")
        if at < len(data) and data[at] in (_CR, _LF):
            if data[at] == _LF or at + 1 < len(data):
                raise _stray()
            self.half_empty_line = True
            self.empty_lines += 1
            at += 1
        return at

    def begin(self, data: bytes, at: int) -> int:
        """Note that a request begins in `data`; return the end of its head, as far as it is there.

        Nearly every request comes through here alone, in one read.
        """
        end = data.find(_END, at) + 4
        if end < 4:
            end = len(data)
            self._tail = data[max(at, end - 3) :]
        line_end = data.find(b"\r", at, end)
        self.in_line = line_end < 0
        if line_end < 0:
            line_end = end
        self.line_size = line_end - at
        self.line_tail = data[max(at, line_end - _VERSION_SIZE) : line_end]
        self.spaces = data.count(b" ", at, line_end)
        self.empty_lines = 0
        return end

    def find_end(self, data: bytes, at: int) -> int:
        """Return the end of the first part that a head, or a chunked body, may end with."""
        tail, self._tail = self._tail, b""
        if tail:
            found = (tail + data[at : at + 3]).find(_END)
            if found >= 0:
                return at + found + len(_END) - len(tail)
        found = data.find(_END, at)
        if found >= 0:
            return found + len(_END)
        self._tail = (tail + data[max(at, len(data) - 3) :])[-3:]
        return len(data)

    def measure_line(self, data: bytes, at: int, end: int) -> None:
        """Count the part of the request line that `data` holds between two positions."""
        line_end = data.find(b"\r", at, end)
        if line_end < 0:
            line_end = end
        else:
            self.in_line = False
        self.line_size += line_end - at
        self.line_tail = (self.line_tail + data[at:line_end])[-_VERSION_SIZE:]
        self.spaces += data.count(b" ", at, line_end)


def _stray() -> Refused:
    return Refused(400, "A lone CR or LF stands in front of the request.")
