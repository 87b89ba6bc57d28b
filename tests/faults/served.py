"""What the scenarios of the life cycle serve, on alacarte and on Ray Serve alike.

Replicas of both import this module, in different environments, so it imports nothing but Starlette.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import StreamingResponse

__all__ = ["Child", "Parent", "Worker"]


class Worker:
    """Answers which request it was, and who answers: its number, application, version and process.

    Args:
        app: Its own name.
        version: Of the code, so to say.
        folder: Where tests leave it notes: `ill` makes its health check fail, `ill-PID` that of
            one process; `counted` is where it notes what it has executed.
        pause_s: How long a request takes.
        start_s: How long the constructor takes.
        start: What the constructor does: "", or "raise" or "hang".
        fails: Whether every other request raises.
    """

    def __init__(
        self,
        app: str,
        version: str,
        folder: str,
        pause_s: float = 0.02,
        start_s: float = 0.0,
        start: str = "",
        fails: bool = False,
    ) -> None:
        self.name = f"{app} {version} {os.getpid()}"
        self.folder = Path(folder)
        self.pause_s = pause_s
        self.fails = fails
        time.sleep(start_s)
        if start == "raise":
            raise RuntimeError("this version cannot start")
        if start == "hang":
            time.sleep(3600)

    async def __call__(self, request: Request) -> Any:
        if request.url.path == "/stream":
            return StreamingResponse(self.stream(int(request.url.query)))
        if request.url.path == "/size":
            return f"{len(await request.body())} {self.name}"
        return await self.answer(request.url.path, request.url.query)

    async def stream(self, count: int) -> AsyncIterator[str]:
        """Produce so many lines."""
        for number in range(count):
            yield f"{number}\n"
            await asyncio.sleep(0)

    async def answer(self, path: str, number: str) -> str:
        """Do what a path says."""
        match path:
            case "/count":
                with (self.folder / "counted").open("a") as file:
                    file.write(f"{number}\n")
            case "/block":
                time.sleep(float(number))  # noqa: ASYNC251  that is the fault
            case "/poison":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "/grow":
                self.grown = bytearray(os.urandom(1024)) * (int(number) * 1024)
        await asyncio.sleep(self.pause_s)
        if self.fails and int(number) % 2:
            raise RuntimeError("this version fails")
        return f"{number} {self.name}"

    def check_health(self) -> None:
        """Fail when a test wants it."""
        if (self.folder / "ill").exists() or (self.folder / f"ill-{os.getpid()}").exists():
            raise RuntimeError("a test has made it ill")


class Child(Worker):
    """What another deployment depends on; slow when `slow` is in the folder."""

    async def answer(self, path: str, number: str) -> str:
        if (self.folder / "slow").exists():
            await asyncio.sleep(100 * self.pause_s)
        return await super().answer(path, number)


class Parent:
    """Asks the deployment that it depends on."""

    def __init__(self, child: Any) -> None:
        self.child = child

    async def __call__(self, request: Request) -> str:
        answer: str = await self.child.answer.remote(request.url.path, request.url.query)
        return answer
