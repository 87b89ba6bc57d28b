"""Requests of which every tenth is abandoned by the client, in one of five ways.

Standard library only. With `--gate N` it sends N requests to `/gate` at once instead, and
counts those that came through.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import socket
import struct
import time
from collections import Counter

HOST = "127.0.0.1"
TIMEOUT_S = 30


def head(path: str, method: str = "GET", length: int | None = None) -> bytes:
    """Give the bytes of a request's head."""
    body = "" if length is None else f"Content-Length: {length}\r\n"
    return f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n{body}\r\n".encode()


class Client:
    """A client with one connection at a time, which connects again after each abort."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Write to the connection, opening it if need be."""
        if self.streams is None:
            self.streams = await asyncio.open_connection(HOST, self.port)
        self.streams[1].write(data)
        await self.streams[1].drain()
        return self.streams

    async def fetch(self, path: str) -> tuple[int, bytes]:
        """Send a whole request and read its answer, status and body."""
        reader, _ = await self.send(head(path))
        lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        headers = dict(line.lower().split(b": ", 1) for line in lines[1:] if b": " in line)
        if b"content-length" in headers:
            body = await reader.readexactly(int(headers[b"content-length"]))
        else:
            body = await self.chunks(reader)
        if headers.get(b"connection") == b"close":
            self.close()
        return int(lines[0].split()[1]), body

    @staticmethod
    async def chunks(reader: asyncio.StreamReader) -> bytes:
        """Read a body that comes in chunks."""
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
        return body

    async def abandon(self, way: int) -> None:
        """Begin a request and leave."""
        if way == 0:  # the whole request, then a reset
            _, writer = await self.send(head("/slow"))
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        elif way == 1:  # the whole request, gone while it is worked on
            await self.send(head("/slow"))
            await asyncio.sleep(0.01)
        elif way == 2:  # half a head
            await self.send(head("/slow")[:20])
        elif way == 3:  # a head that promises more body than comes
            await self.send(head("/upload", "POST", 100_000) + b"x" * 1000)
        else:  # the beginning of a streamed answer
            reader, _ = await self.send(head("/stream"))
            await reader.read(100)
        self.close()

    def close(self) -> None:
        """Drop the connection."""
        if self.streams is not None:
            self.streams[1].close()
            self.streams = None


async def storm(port: int, requests: int, connections: int) -> Counter[str]:
    """Send `requests` requests and count what became of them."""
    outcomes: Counter[str] = Counter()
    numbers = iter(range(requests))
    ways = itertools.cycle(range(5))

    async def worker() -> None:
        client = Client(port)
        for number in numbers:
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    if number % 10 == 9:
                        await client.abandon(next(ways))
                        outcomes["abandoned"] += 1
                    else:
                        status, _ = await client.fetch("/")
                        outcomes[str(status)] += 1
            except (OSError, EOFError, TimeoutError) as error:
                outcomes[type(error).__name__] += 1
                client.close()
        client.close()

    await asyncio.gather(*[worker() for _ in range(connections)])
    return outcomes


async def gate(port: int, number: int) -> Counter[str]:
    """Send `number` requests to the gate at once."""

    async def one() -> str:
        client = Client(port)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                status, body = await client.fetch("/gate")
        except (OSError, EOFError, TimeoutError) as error:
            return type(error).__name__
        finally:
            client.close()
        return body.decode() if status == 200 else str(status)

    return Counter(await asyncio.gather(*[one() for _ in range(number)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--gate", type=int, default=0)
    options = parser.parse_args()
    began = time.monotonic()
    if options.gate:
        outcomes = asyncio.run(gate(options.port, options.gate))
    else:
        outcomes = asyncio.run(storm(options.port, options.requests, options.connections))
    seconds = time.monotonic() - began
    print(json.dumps({"bench": {"outcomes": outcomes, "seconds": seconds}}))


if __name__ == "__main__":
    main()
