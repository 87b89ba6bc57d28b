"""R22: bodies that drip, responses nobody reads, silence. `python -m tests.faults.slow_clients`"""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import dataclass

from tests.faults.figures import Figure, at_most, exactly, main
from tests.faults.load import good_load
from tests.faults.raw import Seen, gather_in_waves, talk
from tests.faults.serving import Server, serving

__all__ = ["Outcome", "attack", "scenario", "unread"]

HEAD_S, BODY_S, SEND_S = 10, 20, 30
"""The defaults of the deadlines."""
SWEEP_S = 1.1


@dataclass
class Outcome:
    """What became of the slow clients.

    Attributes:
        bodies: Of those that sent a byte in a while.
        silent: Of those that sent nothing.
        unread_s: How long the server went on with responses that nobody read.
    """

    bodies: list[Seen]
    silent: list[Seen]
    unread_s: float


async def attack(server: Server, each: int, every_s: float = 1.0) -> Outcome:
    """Be so many slow clients of each kind, until the server has had enough of all."""
    head = b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
    bodies, silent, unread_s = await asyncio.gather(
        gather_in_waves(lambda: talk(server.port, [head, *[b"x"] * 1000], every_s=every_s), each),
        gather_in_waves(lambda: talk(server.port, []), each),
        asyncio.to_thread(_leave_unread, server, each),
    )
    return Outcome(bodies, silent, unread_s)


def _leave_unread(server: Server, count: int) -> float:
    """Ask for large responses and read nothing; return when the server has given them up."""
    clients = _unread(server.port, count)
    began = time.monotonic()
    while server.running and time.monotonic() - began < 90:
        time.sleep(0.1)
    took_s = time.monotonic() - began
    for client in clients:
        client.close()
    return took_s


def unread(server: Server, count: int, part: int) -> dict[str, float]:
    """Return what each process needs for a response in parts of that size that nobody reads."""
    before = server.sizes()
    clients = _unread(server.port, count, part)
    time.sleep(5)
    grown = {name: (size - before[name]) / count for name, size in server.sizes().items()}
    for client in clients:
        client.close()
    while server.running:
        time.sleep(0.1)
    return grown


def _unread(port: int, count: int, part: int = 65536) -> list[socket.socket]:
    clients = []
    for _ in range(count):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.sendall(b"GET /download?%d,%d HTTP/1.1\r\nHost: x\r\n\r\n" % (2 << 30, part))
        clients.append(client)
    return clients


def scenario(cluster: str) -> list[Figure]:
    """50 clients each that drip a body, read nothing, or say nothing, while good clients ask."""
    with serving(cluster) as server:
        server.forget_peaks()
        before = server.sizes()
        with good_load(server.port) as load:
            time.sleep(3)
            began = time.monotonic()
            outcome = asyncio.run(attack(server, 50))
        grown = {name: size - before[name] for name, size in server.peaks().items()}
        each = {part: unread(server, 50, part << 10) for part in (4, 64, 1024)}
    bodies = [one for one in outcome.bodies if one.status == 408 and one.ending == "closed"]
    silent = [one for one in outcome.silent if one.ending == "closed"]
    usual = load.took_ms(0.99, until=began)
    return [
        exactly("slow bodies told 408 and closed", len(bodies), 50),
        at_most("longest of them", max(one.took_s for one in bodies), BODY_S + SWEEP_S, "s"),
        exactly("silent connections closed", len(silent), 50),
        at_most("longest of them", max(one.took_s for one in silent), HEAD_S + SWEEP_S, "s"),
        at_most(
            "until unread responses were given up", outcome.unread_s, SEND_S + 2 * SWEEP_S, "s"
        ),
        exactly("good requests that failed", load.failed, 0),
        Figure("their p99", load.took_ms(0.99, began), "ms"),
        Figure("before the attack", usual, "ms"),
        *[at_most(f"growth of {name}", size, 32, "MiB") for name, size in grown.items()],
        *[
            Figure(f"{name}, for each unread response in parts of {part} KiB", size, "MiB")
            for part, sizes in each.items()
            for name, size in sizes.items()
            if name in ("all", "proxy", "Front")
        ],
    ]


if __name__ == "__main__":
    main(scenario)
