"""A client of raw bytes, for requests that an HTTP library would not send."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
from dataclasses import dataclass, field
from types import TracebackType

from .gates import WAIT_S


@dataclass
class Answer:
    """A response as received, with header names in lower case."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def __getitem__(self, name: str) -> str:
        [value] = self.all(name)
        return value


class Wire:
    """A client's socket. Reads have a timeout."""

    def __init__(self, port: int, *, receive_buffer: int | None = None) -> None:
        self._socket = socket.socket()
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(WAIT_S)
        self._socket.connect(("127.0.0.1", port))
        self._buffer = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def stop_sending(self) -> None:
        """Close the sending half of the connection; responses can still be read."""
        with contextlib.suppress(OSError):  # the server may have reset it
            self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Reset the connection, like a killed process with unread bytes."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def send(self, *pieces: bytes) -> None:
        self._socket.sendall(b"".join(pieces))

    def try_send(self, data: bytes) -> None:
        """Send, and ignore that the server has closed the connection."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.send(data)

    def readable(self, timeout_s: float) -> bool:
        """Wait until bytes or the end of the connection can be read."""
        return bool(self._buffer or select.select([self._socket], [], [], timeout_s)[0])

    def hung_up(self, timeout_s: float = WAIT_S) -> bool:
        """Wait, without reading, until the server has reset the connection."""
        poll = select.poll()
        poll.register(self._socket, 0)
        return bool(poll.poll(timeout_s * 1000))

    def ask(self, target: str = "/", method: str = "GET", *headers: str, body: bytes = b"") -> None:
        """Send a request."""
        lines = [f"{method} {target} HTTP/1.1", "Host: x", *headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1"), body)

    def head(self) -> Answer:
        """Read up to the end of the headers."""
        first, *lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        version, status, *_ = first.split(" ")
        assert version == "HTTP/1.1"
        pairs = [line.split(": ", 1) for line in lines]
        return Answer(int(status), [(name.lower(), value) for name, value in pairs])

    def answer(self, method: str = "GET") -> Answer:
        """Read one response, and nothing after it."""
        answer = self.head()
        if method == "HEAD" or answer.status in (204, 304) or answer.status < 200:
            return answer
        if answer.all("transfer-encoding"):
            while chunk := self.chunk():
                answer.body += chunk
        else:
            answer.body = self.take(int(answer["content-length"]))
        return answer

    def chunk(self) -> bytes:
        """Read one chunk of a body; b"" is the last one."""
        size = int(self._until(b"\r\n"), 16)
        data = self.take(size)
        assert self.take(2) == b"\r\n"
        return data

    def rest(self) -> bytes:
        """Read until the server hangs up."""
        while self._receive():
            pass
        rest, self._buffer = self._buffer, b""
        return rest

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            assert self._receive(), f"the server hung up after {self._buffer!r}"
        found, _, self._buffer = self._buffer.partition(mark)
        return found

    def take(self, size: int) -> bytes:
        """Read so many bytes."""
        while len(self._buffer) < size:
            assert self._receive(), f"the server hung up, {len(self._buffer)} of {size} bytes"
        found, self._buffer = self._buffer[:size], self._buffer[size:]
        return found

    def _receive(self) -> bool:
        try:
            data = self._socket.recv(1 << 20)
        except ConnectionResetError:
            return False
        self._buffer += data
        return bool(data)
