"""Connections that send just the bytes they are told to, and see what comes back."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["Seen", "connect", "gather_in_waves", "reset", "statuses", "talk", "until_end"]


T = TypeVar("T")


@dataclass
class Seen:
    """What a connection received, and how it ended.

    Attributes:
        data: All bytes.
        took_s: From the connection to its end.
        ending: "closed", "reset" or "open", the last for one that outlived the patience.
    """

    data: bytes = b""
    took_s: float = 0.0
    ending: str = "open"

    @property
    def status(self) -> int:
        """Of the first response that is not an interim one, 0 for none."""
        rest = self.data
        while rest.startswith(b"HTTP/1.1 1"):
            rest = rest.partition(b"\r\n\r\n")[2]
        return int(rest[9:12]) if rest.startswith(b"HTTP/1.1 ") else 0


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the proxy."""
    return await asyncio.open_connection("127.0.0.1", port)


async def until_end(reader: asyncio.StreamReader, patience_s: float) -> Seen:
    """Read for as long as something comes."""
    began = time.monotonic()
    parts = []
    ending = "open"
    try:
        async with asyncio.timeout(patience_s):
            while part := await reader.read(65536):
                parts.append(part)
            ending = "closed"
    except TimeoutError:
        pass
    except ConnectionError:
        ending = "reset"
    return Seen(b"".join(parts), time.monotonic() - began, ending)


async def talk(
    port: int, pieces: Iterable[bytes], *, every_s: float = 0.0, patience_s: float = 60.0
) -> Seen:
    """Send pieces, one in a while, until they are all sent or the other side ends it."""
    began = time.monotonic()
    reader, writer = await connect(port)
    reading = asyncio.create_task(until_end(reader, patience_s))
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            if every_s:
                await asyncio.wait([reading], timeout=every_s)
            if reading.done():
                break
    except ConnectionError:
        pass  # what there is to read tells why
    seen = await reading
    seen.took_s = time.monotonic() - began
    writer.close()
    return seen


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST, as a process that crashed or a middlebox does."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def statuses(seen: Iterable[Seen]) -> Counter[str]:
    """Count the answers: status and ending."""
    return Counter(f"{each.status} {each.ending}" for each in seen)


async def gather_in_waves(make: Callable[[], Awaitable[T]], count: int, wave: int = 200) -> list[T]:
    """Run so many, some at a time; a listener's queue is short."""
    found: list[T] = []
    for at in range(0, count, wave):
        found += await asyncio.gather(*(make() for _ in range(min(wave, count - at))))
    return found
