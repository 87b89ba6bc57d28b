"""R27: clients that vanish in the middle of a chain. `python -m tests.faults.vanishing`"""

from __future__ import annotations

import asyncio
import time

from tests.faults.figures import Figure, at_most, exactly, main
from tests.faults.raw import connect, reset
from tests.faults.serving import Server, open_files, serving

__all__ = ["all_at_once", "one_after_the_other", "scenario"]

_REQUEST = b"GET /chain?0,0,%d HTTP/1.1\r\nHost: x\r\n\r\n"


async def all_at_once(server: Server, count: int, work_s: int = 60) -> float:
    """Have so many calls at the end of the chain, then vanish; return when nobody works any more.

    Half of the clients close their connections, half reset them.
    """
    clients = []
    for _ in range(count):
        _, writer = await connect(server.port)
        writer.write(_REQUEST % work_s)
        clients.append(writer)
    async with asyncio.timeout(30):
        while (await _gauge(server))[-1][1] < count:
            await asyncio.sleep(0.01)
    for number, writer in enumerate(clients):
        if number % 2:
            reset(writer)
        else:
            writer.close()
    return await _settled(server)


async def one_after_the_other(server: Server, count: int, rate: float) -> list[int]:
    """Vanish 50 ms after asking; return what runs at each link 500 ms after the last."""

    async def one() -> None:
        _, writer = await connect(server.port)
        writer.write(_REQUEST % 5)
        await asyncio.sleep(0.05)
        writer.close()

    began = time.monotonic()
    async with asyncio.TaskGroup() as clients:
        for number in range(count):
            await asyncio.sleep(max(began + number / rate - time.monotonic(), 0))
            clients.create_task(one())
    await asyncio.sleep(0.5)
    return [running for _, running in await _gauge(server)]


async def _gauge(server: Server) -> list[list[int]]:
    return await asyncio.to_thread(server.gauge)


async def _settled(server: Server) -> float:
    began = time.monotonic()
    async with asyncio.timeout(30):
        while any(running for _, running in await _gauge(server)):
            await asyncio.sleep(0.01)
    return time.monotonic() - began


def scenario(cluster: str) -> list[Figure]:
    """1,000 clients vanish in the middle of a chain of three deployments, twice."""
    open_files()
    with serving(cluster) as server:
        took_s = asyncio.run(all_at_once(server, 1000))
        left = asyncio.run(one_after_the_other(server, 1000, 200))
        asyncio.run(_settled(server))
        begun = [started for started, _ in server.gauge()]
        again = asyncio.run(all_at_once(server, 1000))
    return [
        at_most("1,000 at once: handlers all ended after", took_s * 1000, 500, "ms"),
        at_most("the same again", again * 1000, 500, "ms"),
        *[
            exactly(f"200 a second, 500 ms later: handlers at link {at}", running, 0)
            for at, running in enumerate(left, 1)
        ],
        *[Figure(f"of both, begun at link {at}", count) for at, count in enumerate(begun, 1)],
    ]


if __name__ == "__main__":
    main(scenario)
