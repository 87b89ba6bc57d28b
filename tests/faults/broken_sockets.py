"""R26: sockets that are half-closed or reset. `python -m tests.faults.broken_sockets`"""

from __future__ import annotations

import asyncio
import time

from tests.faults.figures import Figure, at_most, exactly, main, percentile
from tests.faults.raw import Seen, connect, gather_in_waves, reset, until_end
from tests.faults.serving import Server, open_files, serving

__all__ = ["ABANDONED", "abandon", "half_close", "noticed", "scenario"]

ABANDONED = {
    "before the response": b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n",
    "within the response": b"GET /drip HTTP/1.1\r\nHost: x\r\n\r\n",
    "within the body": b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1234",
}
"""What is sent before the connection is broken."""


async def half_close(port: int, target: str = "/brief?half") -> Seen:
    """Send a request, end our direction, and wait for the response."""
    reader, writer = await connect(port)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    writer.write_eof()
    seen = await until_end(reader, 10)
    writer.close()
    return seen


async def abandon(port: int, request: bytes, *, by_reset: bool = True) -> None:
    """Send a request, and break the connection a moment later."""
    _, writer = await connect(port)
    writer.write(request)
    await writer.drain()
    await asyncio.sleep(0.05)
    if by_reset:
        reset(writer)
    else:
        writer.close()


async def noticed(server: Server, request: bytes, *, by_reset: bool) -> float:
    """Return how long, in seconds, a handler ran on without its client."""
    _, writer = await connect(server.port)
    writer.write(request)
    await _until(server, 1)
    if by_reset:
        reset(writer)
    else:
        writer.close()
    return await _until(server, 0)


async def _until(server: Server, running: int, patience_s: float = 30) -> float:
    began = time.monotonic()
    while await asyncio.to_thread(lambda: server.running) != running:
        if time.monotonic() - began > patience_s:
            raise TimeoutError(f"not {running} handlers within {patience_s:g} s")
        await asyncio.sleep(0.001)
    return time.monotonic() - began


def scenario(cluster: str) -> list[Figure]:
    """Half-closed clients, single ones that vanish, and 10,000 of them."""
    open_files()
    figures = []
    with serving(cluster) as server:
        seen = asyncio.run(gather_in_waves(lambda: half_close(server.port), 1000))
        whole = sum(each.status == 200 and each.data.endswith(b"half") for each in seen)
        figures.append(exactly("half-closed clients that got their response", whole, 1000))
        for name, request in ABANDONED.items():
            for how in ("reset", "close"):

                async def times(request: bytes = request, how: str = how) -> list[float]:
                    by_reset = how == "reset"
                    return [await noticed(server, request, by_reset=by_reset) for _ in range(20)]

                took = asyncio.run(times())
                limit = 200
                figures.append(
                    at_most(
                        f"{how} {name}: cancelled, slowest of 20", max(took) * 1000, limit, "ms"
                    )
                )
                figures.append(Figure("median", percentile(took, 0.5) * 1000, "ms"))
        files = server.files()
        before = server.sizes()
        requests = list(ABANDONED.values())
        for turn in range(10_000 // 500):

            def one(turn: int = turn) -> object:
                return abandon(server.port, requests[turn % 3], by_reset=turn % 2 == 0)

            asyncio.run(gather_in_waves(one, 500))  # type: ignore[arg-type]
        took_s = asyncio.run(_until(server, 0))
        time.sleep(1)
        left = max(count - files[name] for name, count in server.files().items())
        grown = {name: size - before[name] for name, size in server.sizes().items()}
        figures += [
            exactly("handlers left of 10,000 abandoned", server.running, 0),
            Figure("the last ended after", took_s * 1000, "ms"),
            at_most("descriptors left open", left, 4),
            *[Figure(f"growth of {name}", size, "MiB") for name, size in grown.items()],
        ]
    return figures


if __name__ == "__main__":
    main(scenario)
