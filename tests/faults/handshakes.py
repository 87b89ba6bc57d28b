"""S5: strangers at a replica's socket. `python -m tests.faults.handshakes`"""

from __future__ import annotations

import asyncio
import time

from tests.faults.figures import Figure, at_most, exactly, main
from tests.faults.load import good_load
from tests.faults.raw import Seen, gather_in_waves, until_end
from tests.faults.serving import open_files, serving

__all__ = ["attack", "scenario"]

_HALVES = (b"", b"\x01", bytes([64, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0]), b"\xff" * 12)
"""Nothing, a byte, the header of a frame without what it announces, and no frame at all."""


async def attack(path: str, count: int, patience_s: float = 30.0) -> list[Seen]:
    """Begin so many handshakes at a socket, and go on with none."""
    turns = iter(range(count))

    async def one() -> Seen:
        half = _HALVES[next(turns) % len(_HALVES)]
        began = time.monotonic()
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(path)
                break
            except BlockingIOError:  # the listener's queue is full
                await asyncio.sleep(0.01)
        try:
            if half:
                writer.write(half)
            seen = await until_end(reader, patience_s)
        except OSError:  # hung up on before the first byte
            seen = Seen(ending="reset")
        seen.took_s = time.monotonic() - began
        writer.close()
        return seen

    return await gather_in_waves(one, count, count)


def scenario(cluster: str) -> list[Figure]:
    """1,000 half handshakes at each replica's socket, while good clients ask."""
    open_files()
    with serving(cluster) as server:
        files = server.files()
        with good_load(server.port) as load:
            time.sleep(5)
            began = time.monotonic()
            seen = []
            for path in server.sockets:
                seen += asyncio.run(attack(path, 1000))
            ended = time.monotonic()
        left = max(count - files[name] for name, count in server.files().items())
    usual = load.took_ms(0.99, until=began)
    return [
        exactly("connections that outlived 30 s", sum(each.ending == "open" for each in seen), 0),
        at_most("longest-lived of 3,000", max(each.took_s for each in seen), 3, "s"),
        exactly("good requests that failed", load.failed, 0),
        at_most("their p99", load.took_ms(0.99, began, ended), 2 * usual, "ms"),
        Figure("before the attack", usual, "ms"),
        at_most("descriptors left open", left, 12),
    ]


if __name__ == "__main__":
    main(scenario)
