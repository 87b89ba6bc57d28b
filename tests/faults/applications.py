"""What the scenarios serve. Replicas import this module, so it imports nothing of the tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import StreamingResponse

from alacarte import serve
from alacarte.serve.handle import DeploymentHandle

__all__: list[str] = []
_PART = 64 * 1024
_SLOTS = 4000


class Hop:
    """A link of a chain: waits, then calls the next one. It knows who is inside."""

    def __init__(self, following: DeploymentHandle | None = None) -> None:
        self.following = following
        self.started = 0
        self.running = 0
        self.smuggled = 0
        self.unforeseen = 0

    async def work(self, pauses: list[float]) -> str:
        """Wait for the first of the pauses here, for the others further on."""
        self.started += 1
        self.running += 1
        try:
            await asyncio.sleep(pauses[0])
            if self.following is None:
                return "done"
            result: str = await self.following.work.remote(pauses[1:])
            return result
        finally:
            self.running -= 1

    async def gauge(self) -> list[tuple[int, int]]:
        """Return how many were started and are running, here and further on."""
        rest = [] if self.following is None else await self.following.gauge.remote()
        return [(self.started, self.running), *rest]


options = {"max_ongoing_requests": _SLOTS, "max_queued_requests": _SLOTS}


@serve.deployment(**options)
class Back(Hop):
    """The end of the chain."""


@serve.deployment(**options)
class Middle(Hop):
    """In the middle of it."""


@serve.deployment(**options)
class Front(Hop):
    """Answers by path."""

    async def __call__(self, request: Request) -> Any:
        # A server in front of us may say here what it has sent.
        if request.headers.get("x-front", "") != request.url.path:
            self.unforeseen += 1
        match request.url.path:
            case "/brief":
                await asyncio.sleep(0.02)
                return request.url.query
            case "/chain":
                return await self.work([float(each) for each in request.url.query.split(",")])
            case "/gauge":
                return await self.gauge()
            case "/upload":
                return await self.upload(request)
            case "/download":
                size, _, part = request.url.query.partition(",")
                return StreamingResponse(self.download(int(size), int(part or _PART)))
            case "/whole":
                return bytes(int(request.url.query.partition(",")[0]))
            case "/hold":
                return await self.hold()
            case "/drip":
                return StreamingResponse(self.drip())
            case "/smuggled":
                self.smuggled += 1
            case "/seen":
                return [self.smuggled, self.unforeseen]
        return {"path": request.url.path, "size": len(await request.body())}

    async def upload(self, request: Request) -> int:
        """Return the size of the body, none of which is kept."""
        size = 0
        self.running += 1
        try:
            async for part in request.stream():
                size += len(part)
        finally:
            self.running -= 1
        return size

    async def download(self, size: int, part_size: int) -> AsyncIterator[bytes]:
        """Produce so many bytes, as fast as they are taken."""
        part = bytes(part_size)
        self.running += 1
        try:
            for at in range(0, size, part_size):
                yield part[: size - at]
        finally:
            self.running -= 1

    async def hold(self) -> str:
        """Never answer."""
        self.running += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.running -= 1
        return ""

    async def drip(self) -> AsyncIterator[bytes]:
        """Produce a little, again and again."""
        self.running += 1
        try:
            while True:
                yield b"drip "
                await asyncio.sleep(0.01)
        finally:
            self.running -= 1


application = Front.bind(Middle.bind(Back.bind()))
