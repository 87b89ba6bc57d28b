"""R23: more connections than there may be. `python -m tests.faults.flood`"""

from __future__ import annotations

import asyncio
import socket
import time

from tests.faults.figures import Figure, at_least, at_most, exactly, main
from tests.faults.load import good_load
from tests.faults.serving import open_files, serving

__all__ = ["flood", "scenario"]

_FLOOD = 12_000
_LIMIT = 10_000
"""The default of `max_connections`."""


async def flood(port: int, count: int, *, request: bytes = b"") -> list[socket.socket]:
    """Open so many connections that say nothing, or little, as fast as they are accepted."""
    loop = asyncio.get_running_loop()
    found = []
    for at in range(0, count, 200):
        clients = [socket.socket() for _ in range(min(200, count - at))]
        for client in clients:
            client.setblocking(False)
        await asyncio.gather(*(loop.sock_connect(each, ("127.0.0.1", port)) for each in clients))
        if request:
            await asyncio.gather(
                *(loop.sock_sendall(each, request) for each in clients), return_exceptions=True
            )
        found += clients
    return found


def scenario(cluster: str) -> list[Figure]:
    """12,000 silent connections where 10,000 may be open, while good clients ask."""
    open_files()
    # They are to stay for longer than the flood takes, so that the limit is met.
    with serving(cluster, receive_head_timeout_s=120) as server:
        files, before = server.files(), server.sizes()
        with good_load(server.port) as load:
            time.sleep(3)
            began = time.monotonic()
            clients = asyncio.run(flood(server.port, _FLOOD))
            took_s = time.monotonic() - began
            time.sleep(10)
            held = max(count - files[name] for name, count in server.files().items())
            grown = {name: size - before[name] for name, size in server.sizes().items()}
            for client in clients:
                client.close()
            time.sleep(2)
        left = max(count - files[name] for name, count in server.files().items())
    return [
        at_least("connections opened", len(clients), _FLOOD),
        Figure("in", took_s, "s"),
        at_most("of which the proxy held", held, _LIMIT + 64),
        exactly("good requests that failed", load.failed, 0),
        Figure("good requests", load.count),
        Figure("their p99", load.took_ms(0.99, began), "ms"),
        Figure("before the flood", load.took_ms(0.99, until=began), "ms"),
        *[Figure(f"growth of {name}", size, "MiB") for name, size in grown.items()],
        at_most("descriptors left open afterwards", left, 64),
    ]


if __name__ == "__main__":
    main(scenario)
