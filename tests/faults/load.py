"""Good clients in a process of their own: requests on a schedule, each answer checked.

A request leaves when it is due, however slow the answers are, and its time counts from then. None
is sent twice. One in ten has a connection of its own, the others share connections that are kept
open. An answer must be the one to the very request, and of the right application.
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
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.figures import percentile

__all__ = ["Exchange", "Load", "Plan", "good_load"]

_LINE = "load: "
_WARM = 20


@dataclass(frozen=True)
class Plan:
    """What is sent, and how often.

    Attributes:
        port: Of the proxy.
        rate: Requests a second.
        target: Of the requests; each one's number is added.
        method: Of the requests.
        app: What the second word of an answer must be; "" where answers have only the number.
        timeout_s: How long a client waits.
        count: After how many requests it is over; 0 for when the block ends.
    """

    port: int
    rate: float = 200
    target: str = "/brief?"
    method: str = "GET"
    app: str = ""
    timeout_s: float = 30
    count: int = 0


@dataclass(frozen=True)
class Exchange:
    """What became of one request.

    Attributes:
        number: Its own.
        due: When it should leave, by `time.monotonic`.
        took: Until the end of its answer, in seconds.
        problem: What went wrong; "" for nothing.
        version: Which version answered.
        replica: And which process.
        headers: Of an answer that is not 200: what clients are promised there.
        size: Of that answer's body.
    """

    number: int
    due: float
    took: float
    problem: str = ""
    version: str = ""
    replica: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    size: int = 0

    @property
    def ended(self) -> float:
        return self.due + self.took

    @property
    def refused(self) -> bool:
        """Whether the server said that it has too much to do."""
        return self.problem.startswith("http/1.1 503")


class Load:
    """What became of the requests; complete after the block."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []

    @property
    def failures(self) -> dict[str, int]:
        """What went wrong, and how often."""
        return dict(Counter(each.problem for each in self.exchanges if each.problem))

    @property
    def failed(self) -> int:
        return sum(bool(each.problem) for each in self.exchanges)

    @property
    def count(self) -> int:
        return len(self.exchanges)

    def within(self, since: float = 0.0, until: float = float("inf")) -> Load:
        """Return what was due in a period."""
        some = Load()
        some.exchanges = [each for each in self.exchanges if since <= each.due < until]
        return some

    def took_ms(self, share: float, since: float = 0.0, until: float = float("inf")) -> float:
        """Return a percentile of the times of what was due in a period and answered well."""
        times = [each.took for each in self.within(since, until).exchanges if not each.problem]
        return percentile(times, share) * 1000

    def versions(self) -> Counter[str]:
        """Return how often each version has answered."""
        return Counter(each.version for each in self.exchanges if not each.problem)


@contextlib.contextmanager
def good_load(port: int, **plan: object) -> Iterator[Load]:
    """Send good requests for as long as the block lasts.

    Args:
        plan: What `Plan` has.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.load", json.dumps({"port": port, **plan})],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdin is not None
    assert process.stdout is not None
    load = Load()
    ended = False
    try:
        process.stdout.readline()  # it is at work
        yield load
        ended = bool(plan.get("count"))
    finally:
        if not ended:  # else it ends by itself
            process.stdin.close()
        text = process.stdout.readline()
        process.stdin.close()
        process.stdout.close()
        if process.wait():
            raise RuntimeError("the load generator failed")
        load.exchanges = [Exchange(**each) for each in json.loads(text.removeprefix(_LINE))]


class _Generator:
    def __init__(self, plan: Plan) -> None:
        self.exchanges: list[Exchange] = []
        self._plan = plan
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def run(self) -> None:
        plan = self._plan
        ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        warm = min(_WARM, max(int(plan.rate), 1))
        began = time.monotonic()
        number = 0
        async with asyncio.TaskGroup() as requests:
            while not ended.done() and (not plan.count or number < plan.count):
                due = began + number / plan.rate
                await asyncio.sleep(max(due - time.monotonic(), 0))
                requests.create_task(self._request(number, due))
                number += 1
                if number == warm:
                    print("at work", flush=True)
        for _, writer in self._idle:
            writer.close()

    async def _request(self, number: int, due: float) -> None:
        try:
            async with asyncio.timeout(self._plan.timeout_s):
                found = await self._exchange(number)
        except Exception as error:  # whatever it is, it is a lost request
            found = {"problem": repr(error)}
        self.exchanges.append(Exchange(number, due, time.monotonic() - due, **found))

    async def _exchange(self, number: int) -> dict[str, Any]:
        reader, writer = await self._connection(fresh=number % 10 == 9)
        kept = False
        try:
            target = f"{self._plan.method} {self._plan.target}{number} HTTP/1.1"
            length = "" if self._plan.method == "GET" else "Content-Length: 0\r\n"
            writer.write(f"{target}\r\nHost: x\r\n{length}\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").lower().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines[1:] if line)
            body = await _body(reader, headers)
            kept = headers.get("connection") != "close" and number % 10 != 9
            if not lines[0].startswith("http/1.1 200"):
                return {"problem": lines[0], "headers": headers, "size": len(body)}
            return self._judged(number, body.decode())
        finally:
            if kept:
                self._idle.append((reader, writer))
            else:
                writer.close()

    def _judged(self, number: int, body: str) -> dict[str, str]:
        answered, app, version, replica, *_ = [*body.split(), "", "", ""]
        if answered != str(number):
            return {"problem": "the answer to another request"}
        if app != self._plan.app:
            return {"problem": f"the answer of {app!r}"}
        return {"version": version, "replica": replica}

    async def _connection(
        self, *, fresh: bool
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle and not fresh:
            reader, writer = self._idle.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self._plan.port)


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    if headers.get("transfer-encoding") != "chunked":
        return await reader.read()
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return body


async def _main(plan: Plan) -> None:
    generator = _Generator(plan)
    await generator.run()
    found = [asdict(each) for each in sorted(generator.exchanges, key=lambda each: each.number)]
    print(_LINE + json.dumps(found), flush=True)


if __name__ == "__main__":
    asyncio.run(_main(Plan(**json.loads(sys.argv[1]))))
