"""Sends a message on each of some WebSockets, and the next when it has come back.

Standard library only, and no more of the protocol than an echo of short messages needs, so that
the client is not what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import time

HOST = "127.0.0.1"
TEXT, PING = 0x81, 0x89  # whole messages: the FIN bit is set
TEXT_BYTES = 20


def frame(kind: int, payload: bytes) -> bytes:
    """Give a short frame of a client, which has to be masked."""
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    return bytes((kind, 0x80 | len(payload))) + mask + masked


class Echo(asyncio.Protocol):
    """A connection that counts the messages that come back."""

    def __init__(self, ended: asyncio.Future[None]) -> None:
        self.messages = 0
        self._ended = ended
        self._buffer = b""
        self._open = False
        message = b"x" * TEXT_BYTES
        self._sent = frame(TEXT, message)
        self._expected = bytes((TEXT, len(message))) + message

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET / HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        if data == self._expected and not self._buffer:  # nearly always
            self.messages += 1
            self._transport.write(self._sent)
            return
        self._buffer += data
        while self._advance():
            pass

    def _advance(self) -> bool:
        """Take one thing off the buffer; return whether there was one."""
        buffer = self._buffer
        if not self._open:
            head, found, self._buffer = buffer.partition(b"\r\n\r\n")
            if not found:
                self._buffer = buffer
                return False
            if not head.startswith(b"HTTP/1.1 101 "):
                self._fail(f"no WebSocket: {head[:80]!r}")
                return False
            self._open = True
            self._transport.write(self._sent)
            return True
        if len(buffer) < 2 or len(buffer) < 2 + buffer[1]:
            return False
        received, self._buffer = buffer[: 2 + buffer[1]], buffer[2 + buffer[1] :]
        if received[0] == PING:
            self._transport.write(frame(0x8A, received[2:]))
        elif received == self._expected:
            self.messages += 1
            self._transport.write(self._sent)
        else:
            self._fail(f"not what was sent: {received[:80]!r}")
            return False
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(f"the server closed the connection: {error}")

    def _fail(self, reason: str) -> None:
        if not self._ended.done():
            self._ended.set_exception(ConnectionError(reason))


async def measure(port: int, connections: int, warmup_s: float, seconds: float) -> dict[str, float]:
    """Echo for a while, and count after the warm-up."""
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    clients = []
    for _ in range(connections):
        _, client = await loop.create_connection(lambda: Echo(ended), HOST, port)
        clients.append(client)

    async def watch(limit_s: float) -> tuple[int, float]:
        await asyncio.wait([ended], timeout=limit_s)
        if ended.done():
            ended.result()
        return sum(client.messages for client in clients), time.perf_counter()

    before, began = await watch(warmup_s)
    after, now = await watch(seconds)
    silent = sum(not client.messages for client in clients)
    if silent:
        raise ConnectionError(f"{silent} of {connections} connections got nothing back")
    return {"messages": after - before, "seconds": now - began}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--warmup-s", type=float, default=3)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    found = asyncio.run(
        measure(options.port, options.connections, options.warmup_s, options.seconds)
    )
    print(json.dumps({"bench": found}))


if __name__ == "__main__":
    main()
