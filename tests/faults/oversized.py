"""R25: requests larger than they may be. `python -m tests.faults.oversized`"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator

from tests.faults.figures import Figure, at_most, exactly, main
from tests.faults.raw import connect
from tests.faults.serving import serving

__all__ = ["CASES", "answer_to", "scenario"]

_KIB = 1024
_MIB = 1024 * _KIB
MAX_BODY = _MIB
"""For `max_body_bytes`, so that the endless one meets its limit soon."""


def _header() -> Iterator[bytes]:
    yield b"GET /brief HTTP/1.1\r\nHost: x\r\nX: "
    for _ in range(128):
        yield b"a" * 64 * _KIB


def _headers() -> Iterator[bytes]:
    yield b"GET /brief HTTP/1.1\r\nHost: x\r\n"
    for _ in range(20_000):
        yield b"X: a\r\n"
    yield b"\r\n"


def _target() -> Iterator[bytes]:
    yield b"GET /" + b"a" * 100 * _KIB + b" HTTP/1.1\r\nHost: x\r\n\r\n"


def _length() -> Iterator[bytes]:
    yield b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n"


def _endless(chunk: bytes) -> Iterator[bytes]:
    yield b"POST /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    while True:
        yield chunk


def _extension() -> Iterator[bytes]:
    yield b"POST /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;"
    while True:
        yield b"a" * 64 * _KIB


def _trailers() -> Iterator[bytes]:
    yield b"POST /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    while True:
        yield b"X: a\r\n" * 1000


CASES = {
    "a header of 8 MB": (_header, (431,)),
    "20,000 headers": (_headers, (431,)),
    "a target of 100 KB": (_target, (414,)),
    "a length of 1 GiB": (_length, (413,)),
    "chunks without end": (lambda: _endless(b"8000\r\n" + b"a" * 32 * _KIB + b"\r\n"), (413,)),
    "chunks of one byte without end": (lambda: _endless(b"1\r\na\r\n" * 5000), (413,)),
    "a chunk extension without end": (_extension, (400, 413, 431)),
    "trailers without end": (_trailers, (400, 413, 431)),
}
"""What is sent, and what it may be answered."""
_ACCEPTED = ("chunks without end", "chunks of one byte without end")
"""What is well-formed until the limit: so much is received and passed on first."""


async def answer_to(port: int, pieces: Iterator[bytes]) -> tuple[int, float, str]:
    """Send until there is an answer; return its status, the time it took, and the ending."""
    began = time.monotonic()
    reader, writer = await connect(port)
    answering = asyncio.create_task(reader.readuntil(b"\r\n\r\n"))

    async def send() -> None:
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                # A drain that need not wait lets nobody else run.
                await asyncio.sleep(0)
                if answering.done():
                    return

    sending = asyncio.create_task(send())
    try:
        async with asyncio.timeout(30):
            head = await answering
            took_s = time.monotonic() - began
            await sending
            with contextlib.suppress(ConnectionError):
                while await reader.read(65536):
                    pass
    except (TimeoutError, ConnectionError, asyncio.IncompleteReadError) as error:
        return 0, time.monotonic() - began, type(error).__name__
    finally:
        sending.cancel()
        answering.cancel()
        writer.close()
    return int(head[9:12]), took_s, ""


def scenario(cluster: str) -> list[Figure]:
    """Each case some times: its status, how long it took, and what it cost in memory."""
    figures = []
    with serving(cluster, max_body_bytes=MAX_BODY) as server:
        for case, _ in CASES.values():  # so that what a first time costs is not counted
            asyncio.run(answer_to(server.port, case()))
        for name, (case, allowed) in CASES.items():
            before = server.sizes()
            server.forget_peaks()
            found = [asyncio.run(answer_to(server.port, case())) for _ in range(10)]
            grown = sum(size - before[each] for each, size in server.peaks().items())
            wrong = [status for status, _, _ in found if status not in allowed]
            slowest = max(took_s for _, took_s, _ in found) * 1000
            wanted = " or ".join(map(str, allowed))
            figures.append(exactly(f"{name}: other answers than {wanted}", len(wrong), 0))
            if name in _ACCEPTED:
                figures.append(Figure(f"{name}: slowest of 10", slowest, "ms"))
                figures.append(Figure(f"{name}: growth", max(grown, 0.0), "MiB"))
            else:
                figures.append(at_most(f"{name}: slowest of 10", slowest, 100, "ms"))
                figures.append(at_most(f"{name}: growth", max(grown, 0.0), 1, "MiB"))
            if wrong:
                print(name, found)
    return figures


if __name__ == "__main__":
    main(scenario)
