"""Proxies restarted again and again, and killed, under connections that are kept and fresh ones.

    python -m tests.faults.proxy_restart [restarts] [kept connections] [workers] [cluster]

Prints what was lost in the restarts, which must be nothing; and, on Ray, what a `kill -9` costs
with one proxy and with two: connect errors, and the time until connections are accepted again.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.faults.serving import open_files
from tests.integration.processes import listeners

from alacarte import serve
from alacarte.testing import wait_until

_REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
_TIMEOUT_S = 30
_PAUSE_S = 1.0
"""Between two requests of one kept connection, so most of them idle when a restart begins."""


@serve.deployment(num_replicas=2, max_ongoing_requests=200, max_queued_requests=-1)
class Hello:
    async def __call__(self) -> str:
        return "hello"


class Clients:
    """Kept connections that ask now and then, and fresh ones that ask at once."""

    def __init__(self, port: int, kept: int, fresh: int) -> None:
        self.outcomes: Counter[str] = Counter()
        self.told = 0
        self._port = port
        self._over = False
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._keep(number / kept)) for number in range(kept)]
        self._tasks += [loop.create_task(self._connect_anew()) for _ in range(fresh)]

    async def end(self) -> None:
        self._over = True
        await asyncio.gather(*self._tasks)

    @property
    def failures(self) -> dict[str, int]:
        return {name: count for name, count in self.outcomes.items() if name != "answered"}

    async def _keep(self, phase: float) -> None:
        await asyncio.sleep(phase * _PAUSE_S)
        link: tuple[Any, Any] | None = None
        while not self._over:
            try:
                link = link or await asyncio.open_connection("127.0.0.1", self._port)
            except OSError as error:
                self.outcomes[f"connect: {error!r}"] += 1
                await asyncio.sleep(_PAUSE_S)
                continue
            if not await self._ask(*link):
                link[1].close()
                link = None
            await asyncio.sleep(_PAUSE_S)
        if link is not None:
            link[1].close()

    async def _connect_anew(self) -> None:
        while not self._over:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError as error:
                self.outcomes[f"connect: {error!r}"] += 1
                await asyncio.sleep(0.01)
                continue
            await self._ask(reader, writer)
            writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Send a request and read its answer; return whether the connection can be used again."""
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                writer.write(_REQUEST)
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(5)
        except (OSError, EOFError, TimeoutError) as error:
            self.outcomes[f"{type(error).__name__}: {error}"] += 1
            return False
        good = head.startswith(b"HTTP/1.1 200") and body == b"hello"
        self.outcomes["answered" if good else str(head[:60])] += 1
        closes = b"connection: close" in head.lower()
        self.told += closes
        return good and not closes


def _proxies(port: int) -> list[int]:
    address = ("127.0.0.1", port)
    return [pid for pid, ports in listeners().items() if address in ports]


async def _restarts(port: int, count: int, kept: int) -> bool:
    clients = Clients(port, kept, 4)
    await asyncio.sleep(2 * _PAUSE_S)
    before = clients.outcomes["answered"]
    began = time.monotonic()
    for _ in range(count):
        await asyncio.to_thread(serve.restart_services, "http", drain_s=30.0)
    took_s = time.monotonic() - began
    during = clients.outcomes["answered"] - before
    await clients.end()
    print(
        f"{count} restarts under {kept} kept and 4 fresh connections: {during} requests in "
        f"{took_s:.1f} s, {clients.told} connections told to close, lost: {clients.failures or 0}"
    )
    return not clients.failures


async def _killed(port: int, workers: int) -> bool:
    clients = Clients(port, 50, 4)
    await asyncio.sleep(2 * _PAUSE_S)
    victim = _proxies(port)[0]
    os.kill(victim, signal.SIGKILL)
    killed_at = time.monotonic()
    await asyncio.to_thread(wait_until, lambda: victim not in _proxies(port), 10)
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.01)
            continue
        writer.close()
        break
    accepts_s = time.monotonic() - killed_at
    await asyncio.to_thread(wait_until, lambda: len(_proxies(port)) == workers, 30)
    whole_s = time.monotonic() - killed_at
    await asyncio.sleep(2 * _PAUSE_S)
    await clients.end()
    refused = sum(n for name, n in clients.failures.items() if name.startswith("connect"))
    broken = sum(clients.failures.values()) - refused
    print(
        f"kill -9 of one of {workers}: accepts again after {accepts_s:.2f} s, all {workers} after "
        f"{whole_s:.2f} s; {refused} connect errors, {broken} connections broken"
    )
    return workers == 1 or not refused


def main(restarts: int = 20, kept: int = 1000, workers: int = 2, cluster: str = "ray") -> int:
    open_files()
    directory = Path(tempfile.mkdtemp(prefix="alc-", dir="/tmp"))  # the paths of sockets are short
    os.environ["TMPDIR"] = tempfile.tempdir = str(directory)
    for name in ("RAY_ADDRESS", "RAY_TMPDIR"):
        os.environ.pop(name, None)
    if cluster == "ray":
        import ray

        ray.init(
            address="local",
            num_cpus=8,
            include_dashboard=False,
            logging_level="warning",
            log_to_driver=False,
            _temp_dir=str(directory / "ray"),
        )
    good = True
    try:
        for count in (1, workers) if workers > 1 else (1,):
            serve.start(cluster=cluster, http_options={"port": 0, "workers": count})
            try:
                serve.run(Hello.bind())
                [proxy] = serve.status().proxies.values()
                port = int(proxy.url.rstrip("/").rsplit(":", 1)[1])
                print(f"workers={count}:")
                good &= asyncio.run(_restarts(port, restarts, kept))
                if cluster == "ray":
                    good &= asyncio.run(_killed(port, count))
            finally:
                serve.shutdown()
    finally:
        if cluster == "ray":
            ray.shutdown()
        shutil.rmtree(directory, ignore_errors=True)
    return 0 if good else 1


if __name__ == "__main__":
    given = sys.argv[1:]
    sys.exit(main(*(int(each) for each in given[:3]), *given[3:]))  # type: ignore[arg-type]
