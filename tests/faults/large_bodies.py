"""Bodies of 2 GB in little memory. `python -m tests.faults.large_bodies`"""

from __future__ import annotations

import asyncio
import time

from tests.faults.figures import Figure, at_most, exactly, main
from tests.faults.raw import connect
from tests.faults.serving import serving

__all__ = ["download", "scenario", "upload"]

_MIB = 1024 * 1024
SIZE = 2 * 1024 * _MIB
LIMIT = 300


async def upload(port: int, size: int, *, chunked: bool = False) -> int:
    """Send a body of so many bytes; return the size that the application counted."""
    reader, writer = await connect(port)
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % size
    writer.write(b"POST /upload HTTP/1.1\r\nHost: x\r\n%b\r\n\r\n" % framing)
    part = bytes(_MIB)
    for at in range(0, size, _MIB):
        piece = part[: size - at]
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        await writer.drain()
    if chunked:
        writer.write(b"0\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    body = await reader.read(64)
    writer.close()
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.decode("latin-1"))
    return int(body)


async def download(
    port: int,
    size: int,
    *,
    part_size: int = _MIB,
    pause_s: float = 0.0,
    path: str = "/download",
) -> int:
    """Ask for so many bytes; return how many came.

    Args:
        part_size: Of what the application produces at a time.
        pause_s: How long to read nothing, in the middle.
        path: `/download`, a stream; or `/whole`, one message.
    """
    reader, writer = await connect(port)
    target = b"%b?%d,%d" % (path.encode(), size, part_size)
    writer.write(b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % target)
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.decode("latin-1"))
    found = 0
    # The framing of chunks is counted out, not looked at: no other byte is zero.
    while part := await reader.read(_MIB):
        found += part.count(0)
        if pause_s and found > size // 2:
            await asyncio.sleep(pause_s)
            pause_s = 0
    writer.close()
    return found


def scenario(cluster: str) -> list[Figure]:
    """2 GB up, by length and in chunks, and 2 GB down, to a quick client and to one that pauses."""
    figures = []
    with serving(cluster, max_body_bytes=None) as server:
        runs = {
            "up": lambda: upload(server.port, SIZE),
            "up in chunks": lambda: upload(server.port, SIZE, chunked=True),
            "down": lambda: download(server.port, SIZE),
            "down in parts of 16 KiB": lambda: download(server.port, SIZE, part_size=16384),
            "down, with 5 s unread": lambda: download(server.port, SIZE, pause_s=5),
        }
        for name, run in runs.items():
            server.forget_peaks()
            began = time.monotonic()
            arrived = asyncio.run(run())
            took_s = time.monotonic() - began
            peaks = server.peaks()
            figures.append(exactly(f"{name}: bytes that arrived", arrived, SIZE))
            for each in [each for each in ("all", "proxy", "Front") if each in peaks]:
                figures.append(at_most(f"{name}: {each} at most", peaks[each], LIMIT, "MiB"))
            figures.append(Figure(f"{name}: speed", SIZE / _MIB / took_s, "MiB/s"))
    return figures


if __name__ == "__main__":
    main(scenario)
