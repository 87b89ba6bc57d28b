"""Good clients in a process of their own: requests on a schedule, each answer checked.

A request leaves when it is due, however slow the answers are, and its time counts from then. None
is sent twice. One in ten has a connection of its own, the others share connections that are kept
open. An answer must be the one to the very request.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.faults.figures import percentile

__all__ = ["Load", "good_load"]

_TIMEOUT_S = 30
_LINE = "load: "


@dataclass
class Load:
    """What became of the requests; complete after the block.

    Attributes:
        times: Of those that were answered well: when they were due, by `time.monotonic`, and how
            long they took, in seconds.
        failures: Of the others: what went wrong, and how often.
    """

    times: list[tuple[float, float]]
    failures: dict[str, int]

    @property
    def failed(self) -> int:
        return sum(self.failures.values())

    @property
    def count(self) -> int:
        return len(self.times) + self.failed

    def took_ms(self, share: float, since: float = 0.0, until: float = float("inf")) -> float:
        """Return a percentile of the times of what was due in a period."""
        times = [took for due, took in self.times if since <= due < until]
        return percentile(times, share) * 1000


@contextlib.contextmanager
def good_load(port: int, *, rate: float = 200) -> Iterator[Load]:
    """Send good requests for as long as the block lasts."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.load", str(port), str(rate)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdin is not None
    assert process.stdout is not None
    load = Load([], {})
    try:
        process.stdout.readline()  # it is at work
        yield load
    finally:
        process.stdin.close()
        text = process.stdout.read()
        process.stdout.close()
        if process.wait():
            raise RuntimeError("the load generator failed")
        found = json.loads(text.removeprefix(_LINE))
        load.times = [(due, took) for due, took in found["times"]]
        load.failures = found["failures"]


class _Generator:
    def __init__(self, port: int, rate: float) -> None:
        self.times: list[tuple[float, float]] = []
        self.failures: Counter[str] = Counter()
        self._port = port
        self._rate = rate
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def run(self) -> None:
        ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        began = time.monotonic()
        number = 0
        async with asyncio.TaskGroup() as requests:
            while not ended.done():
                due = began + number / self._rate
                await asyncio.sleep(max(due - time.monotonic(), 0))
                requests.create_task(self._request(number, due))
                number += 1
                if number == 20:
                    print("at work", flush=True)
        for _, writer in self._idle:
            writer.close()

    async def _request(self, number: int, due: float) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                problem = await self._exchange(number)
        except Exception as error:  # whatever it is, it is a lost request
            problem = repr(error)
        if problem:
            self.failures[problem] += 1
        else:
            self.times.append((due, time.monotonic() - due))

    async def _exchange(self, number: int) -> str:
        reader, writer = await self._connection(fresh=number % 10 == 9)
        kept = False
        try:
            target = f"/brief?{number}"
            writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").lower().split("\r\n")
            fields = dict(line.split(": ", 1) for line in lines[1:] if line)
            body = await reader.readexactly(int(fields["content-length"]))
            if not lines[0].startswith("http/1.1 200"):
                return lines[0]
            if body != str(number).encode():
                return "the answer to another request"
            kept = fields.get("connection") != "close" and number % 10 != 9
            return ""
        finally:
            if kept:
                self._idle.append((reader, writer))
            else:
                writer.close()

    async def _connection(
        self, *, fresh: bool
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle and not fresh:
            reader, writer = self._idle.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self._port)


async def _main(port: int, rate: float) -> None:
    generator = _Generator(port, rate)
    await generator.run()
    found = {"times": generator.times, "failures": generator.failures}
    print(_LINE + json.dumps(found), flush=True)


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), float(sys.argv[2])))
