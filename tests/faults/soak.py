"""R38: a million mixed requests. `python -m tests.faults.soak [--requests N] [--minutes M]`

With aborts, streams, and new code each half minute. Prints what memory, descriptors and threads of
the processes that stay did meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from statistics import median

from tests.faults.figures import Figure, at_most, markdown
from tests.faults.raw import reset
from tests.faults.serving import resident
from tests.faults.systems import ALACARTE, RAY_SERVE, System, running
from tests.faults.trial import Size

__all__ = ["Clients", "Sample", "scenario", "soak"]

_CLIENTS = 32
_OPTIONS = {"num_replicas": 2, "max_ongoing_requests": 100}
_ARGUMENTS = {"pause_s": 0.001}
_LINES = 20
_BODY = bytes(2000)


class Clients:
    """Clients that each do one thing after the other, drawn with a seed."""

    def __init__(self, port: int, requests: int, until: float) -> None:
        self.done: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self._port = port
        self._requests = requests
        self._until = until
        self._random = random.Random(3)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as clients:
            for _ in range(_CLIENTS):
                clients.create_task(self._client())

    def _over(self) -> bool:
        return self.done.total() >= self._requests or time.monotonic() > self._until

    async def _client(self) -> None:
        kinds = {"brief": 60, "size": 20, "stream": 10, "abort": 5, "abort of a stream": 5}
        link: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not self._over():
            [kind] = self._random.choices(list(kinds), list(kinds.values()))
            try:
                async with asyncio.timeout(30):
                    if link is None or link[0].at_eof():
                        link = await asyncio.open_connection("127.0.0.1", self._port)
                    if kind.startswith("abort"):
                        await self._abort(*link, stream=kind.endswith("stream"))
                        link = None
                    elif not await self._ask(kind, *link):
                        link = None
            except Exception as error:  # whatever it is, it is a lost request
                self.failures[f"{kind}: {error!r}"] += 1
                link = None
            self.done[kind] += 1

    async def _abort(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, stream: bool
    ) -> None:
        path = "/stream?100000" if stream else "/brief?0"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        if stream:
            await reader.readline()
        await asyncio.sleep(self._random.uniform(0, 0.005))
        reset(writer)

    async def _ask(
        self, kind: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Ask and check; return whether the connection can be used again."""
        number = self._random.randrange(10**9)
        if kind == "size":
            head = f"POST /size HTTP/1.1\r\nHost: x\r\nContent-Length: {len(_BODY)}\r\n\r\n"
            writer.write(head.encode() + _BODY)
        else:
            query = _LINES if kind == "stream" else number
            writer.write(f"GET /{kind}?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        body = await _body(reader, head)
        expected = {"brief": str(number), "size": str(len(_BODY)), "stream": "0"}[kind]
        if " 200 " not in head.split("\r\n")[0] + " ":
            self.failures[f"{kind}: {head.splitlines()[0]}"] += 1
        elif body.split()[0].decode() != expected or (
            kind == "stream" and len(body.split()) != _LINES
        ):
            self.failures[f"{kind}: a wrong answer"] += 1
        if "connection: close" in head:
            writer.close()
            return False
        return True


async def _body(reader: asyncio.StreamReader, head: str) -> bytes:
    for line in head.split("\r\n"):
        if line.startswith("content-length: "):
            return await reader.readexactly(int(line.partition(": ")[2]))
    parts = []
    while size := int(await reader.readline(), 16):
        parts.append(await reader.readexactly(size))
        await reader.readline()
    await reader.readline()
    return b"".join(parts)


@dataclass(frozen=True)
class Sample:
    """What a process had at a moment."""

    at: float
    rss_mib: float
    files: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> Sample:
        files, threads = (len(os.listdir(f"/proc/{pid}/{name}")) for name in ("fd", "task"))
        return cls(time.monotonic(), resident(pid), files, threads)


def slope(points: list[tuple[float, float]]) -> float:
    """Return by how much the second number grows as the first one does: a least-squares fit."""
    middle_x = sum(x for x, _ in points) / len(points)
    middle_y = sum(y for _, y in points) / len(points)
    spread = sum((x - middle_x) ** 2 for x, _ in points)
    return sum((x - middle_x) * (y - middle_y) for x, y in points) / spread if spread else 0.0


def scenario(system: str, size: Size) -> list[Figure]:
    """32 clients ask, stream, send and hang up as fast as they can, under updates."""
    with running(system) as it:
        return soak(it, size.requests * 5, 60, every_s=5)


def soak(it: System, requests: int, seconds: float, every_s: float) -> list[Figure]:
    """Do so many requests, or for so long; look at the processes and deploy now and then."""
    it.deploy("v0", options=_OPTIONS, arguments=_ARGUMENTS)
    watched = {"proxy": next(iter(it.proxies().values())), "controller": it.controller()[1]}
    began = time.monotonic()
    clients = Clients(it.port, requests, began + seconds)
    work = threading.Thread(target=lambda: asyncio.run(clients.run()))
    work.start()
    samples: dict[str, list[Sample]] = defaultdict(list)
    version = 0
    while work.is_alive():
        work.join(every_s)
        for name, pid in watched.items():
            samples[name].append(Sample.of(pid))
        if time.monotonic() - began > 6 * every_s * (version + 1):
            version += 1
            it.deploy(f"v{version}", options=_OPTIONS, arguments=_ARGUMENTS)
    took_s = time.monotonic() - began
    told = ", ".join(f"{count:,} × {name}" for name, count in sorted(clients.done.items()))
    kinds = "; ".join(f"{count} × {what}" for what, count in clients.failures.most_common(3))
    failed = clients.failures.total()
    figures = [
        Figure("requests", clients.done.total(), text=told),
        Figure("a second", clients.done.total() / took_s),
        Figure("updates meanwhile", version),
        Figure("failed", failed, "", "0", not failed, f"{failed:,} {kinds}".strip()),
    ]
    for name, found in samples.items():
        figures += _of_process(name, found)
    return figures


def _of_process(name: str, found: list[Sample]) -> list[Figure]:
    # The first third warms caches and buffers.
    late = found[len(found) // 3 :]
    hours = [((each.at - late[0].at) / 3600, each.rss_mib) for each in late]
    half = len(late) // 2 or 1
    grown = median(each.rss_mib for each in late[half:] or late) - median(
        each.rss_mib for each in late[:half]
    )
    return [
        at_most(f"{name}: growth from the middle third to the last", grown, 5, "MiB"),
        Figure(f"{name}: slope", slope(hours), "MiB/h"),
        Figure(f"{name}: memory at the end", found[-1].rss_mib, "MiB"),
        at_most(f"{name}: descriptors gained", late[-1].files - late[0].files, 40),
        # Pools start their threads one by one, as they need them; the largest has 32.
        at_most(f"{name}: threads gained", late[-1].threads - late[0].threads, 32),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=scenario.__doc__)
    parser.add_argument("--peer", choices=(ALACARTE, RAY_SERVE), default=ALACARTE)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--minutes", type=float, default=120, help="at most")
    options = parser.parse_args()
    with running(options.peer) as it:
        figures = soak(it, options.requests, options.minutes * 60, every_s=5)
    print(markdown(figures))
    if not all(figure.met for figure in figures):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
