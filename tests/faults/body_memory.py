"""What large bodies leave behind in a proxy. `python -m tests.faults.body_memory`"""

from __future__ import annotations

import asyncio
import time

from tests.faults.figures import Figure, at_most, main
from tests.faults.large_bodies import download, upload
from tests.faults.serving import serving

__all__ = ["scenario"]

_MIB = 1024 * 1024
SIZES = (5, 8, 12, 20, 35, 50)
"""In MiB; different ones, since a buffer is used again for a message of the same size only."""
AT_A_TIME = 4
LIMIT = 40
_SETTLE_S = 20.0


async def _bodies(port: int, size: int) -> None:
    """Send and fetch bodies of about this size, of all kinds, some at a time."""
    kinds = (
        lambda size: upload(port, size),
        lambda size: upload(port, size, chunked=True),
        lambda size: download(port, size),
        lambda size: download(port, size, path="/whole"),
    )
    for kind in kinds:
        await asyncio.gather(*[kind(size + 1000 * index) for index in range(AT_A_TIME)])


def scenario(cluster: str, sizes: tuple[int, ...] = SIZES) -> list[Figure]:
    """Bodies of 5 to 50 MiB, up and down, as streams and whole: then what the proxy still holds."""
    with serving(cluster, max_body_bytes=None) as server:
        process = "proxy" if "proxy" in server.pids else "all"
        for _ in range(200):
            server.get("/brief")
        asyncio.run(_bodies(server.port, 64 * 1024))
        before = server.sizes()[process]
        server.forget_peaks()
        for size in sizes:
            asyncio.run(_bodies(server.port, size * _MIB))
        peak = server.peaks()[process]
        right_after = left = server.sizes()[process]
        began = time.monotonic()
        while left > before + LIMIT / 2 and time.monotonic() < began + _SETTLE_S:
            time.sleep(0.5)
            left = server.sizes()[process]
        return [
            Figure(f"{process} before", before, "MiB"),
            Figure(f"{process} at most, above that", peak - before, "MiB"),
            Figure(f"{process} right after, above that", right_after - before, "MiB"),
            at_most(f"{process} once it rests, above that", left - before, LIMIT, "MiB"),
            Figure("until then", time.monotonic() - began, "s"),
        ]


if __name__ == "__main__":
    main(scenario)
