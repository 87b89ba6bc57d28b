"""R21: heads that never end. `python -m tests.faults.slowloris`"""

from __future__ import annotations

import asyncio
import time

from tests.faults.figures import Figure, at_most, exactly, main
from tests.faults.load import good_load
from tests.faults.raw import Seen, talk
from tests.faults.serving import serving

__all__ = ["attack", "scenario"]

HEAD_S = 10
"""The default of `receive_head_timeout_s`."""
SWEEP_S = 0.6
"""Deadlines are looked at twice a second."""


async def attack(port: int, connections: int, every_s: float, *, rate: float = 1000) -> list[Seen]:
    """Begin requests, and add a header line in a while, for as long as they let us.

    Args:
        rate: Connections opened in a second.
    """

    async def one(number: int) -> Seen:
        await asyncio.sleep(number / rate)
        return await talk(port, [b"GET /brief HTTP/1.1\r\nHost: x\r\n", *lines], every_s=every_s)

    lines = [b"X-%d: a\r\n" % number for number in range(100)]
    return list(await asyncio.gather(*map(one, range(connections))))


def scenario(cluster: str) -> list[Figure]:
    """500 connections, 100 a second, that send a header line every 5 s, while good clients ask."""
    with serving(cluster) as server, good_load(server.port) as load:
        time.sleep(5)
        began = time.monotonic()
        seen = asyncio.run(attack(server.port, 500, 5, rate=100))
        ended = time.monotonic()
    usual = load.took_ms(0.99, until=began)
    return [
        exactly("connections told 408 and closed", _told(seen), 500),
        at_most("longest of them", max(each.took_s for each in seen), HEAD_S + SWEEP_S, "s"),
        exactly("good requests that failed", load.failed, 0),
        at_most("their p99", load.took_ms(0.99, began, ended), 1.5 * usual, "ms"),
        Figure("before the attack", usual, "ms"),
        Figure("good requests", load.count),
    ]


def _told(seen: list[Seen]) -> int:
    return sum(each.status == 408 and each.ending == "closed" for each in seen)


if __name__ == "__main__":
    main(scenario)
