"""What the tests deploy. Replicas import this module, so it imports no test.

Where a handler has to be caught in the middle of something, it waits for a file to appear and
notes what it sees in files: the same on either cluster.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)

from alacarte import serve
from alacarte.serve.handle import DeploymentHandle

__all__: list[str] = []
_LOOK_S = 0.01


async def appears(path: str | Path) -> None:
    """Wait for a file."""
    while not Path(path).exists():
        await asyncio.sleep(_LOOK_S)


@serve.deployment
class Late:
    """Is ready when a file appears."""

    async def __init__(self, path: str) -> None:
        Path(f"{path}.begun").touch()
        await appears(path)

    def __call__(self) -> str:
        return "here"


# --- the key concepts -------------------------------------------------------------------


@serve.deployment
class MyFirstDeployment:
    # Take the message to return as an argument to the constructor.
    def __init__(self, msg: str) -> None:
        self.msg = msg

    def __call__(self) -> str:
        return self.msg


@serve.deployment
class Hello:
    def __call__(self) -> str:
        return "Hello"


@serve.deployment
class World:
    def __call__(self) -> str:
        return " world!"


@serve.deployment
class Driver:
    def __init__(self, hello_handle: DeploymentHandle, world_handle: DeploymentHandle) -> None:
        self._hello_handle = hello_handle
        self._world_handle = world_handle

    async def __call__(self) -> str:
        hello_response = self._hello_handle.remote()
        world_response = self._world_handle.remote()
        return (await hello_response) + (await world_response)


@serve.deployment
class MostBasicIngress:
    async def __call__(self, request: Request) -> str:
        name = (await request.json())["name"]
        return f"Hello {name}!"


@serve.deployment
def lower_case(request: Request) -> str:
    """A function as an ingress."""
    return request.query_params["text"].lower()


@serve.deployment
class Responses:
    """Returns all that an ingress may."""

    async def __call__(self, request: Request) -> Any:
        match request.url.path.rpartition("/")[2]:
            case "text":
                return "text"
            case "bytes":
                return b"\x00\xff"
            case "none":
                return None
            case "json":
                return {"list": [1, 2.5, None, True], "text": "ü"}
            case "plain":
                return PlainTextResponse("teapot", 418, {"x-mine": "1"})
            case "made":
                return JSONResponse({"made": True}, 201)
            case "html":
                return HTMLResponse("<p>")
            case "redirect":
                return RedirectResponse("/elsewhere")
            case "empty":
                return Response(status_code=204)
            case "stream":
                return StreamingResponse(self.words(), media_type="text/plain")
            case "echo":
                return {
                    "method": request.method,
                    "path": request.url.path,
                    "root_path": request.scope["root_path"],
                    "query": dict(request.query_params),
                    "header": request.headers.get("x-mine"),
                    "body": (await request.body()).decode(),
                }
        raise LookupError(request.url.path)

    async def words(self) -> AsyncIterator[str]:
        for word in ("one ", "two ", "three"):
            yield word


# --- handles ----------------------------------------------------------------------------


@serve.deployment(max_ongoing_requests=20)
class Tools:
    """Methods of every kind. What they wait for and note is in a directory."""

    def __init__(self, directory: str = "") -> None:
        self.directory = Path(directory)

    def add(self, one: Any, two: Any = 0) -> Any:
        return one + two

    async def add_async(self, one: Any, two: Any = 0) -> Any:
        return one + two

    def count(self, to: int) -> Iterator[int]:
        yield from range(to)

    async def count_async(self, to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number

    def count_and_fail(self, to: int) -> Iterator[int]:
        yield from range(to)
        raise UserError("after the last", to)

    def fail(self, message: str) -> None:
        raise UserError(message, 42)

    def lock(self) -> Any:
        import threading

        return {"lock": threading.Lock()}

    async def wait(self, name: str) -> str:
        """Wait for a file `name`; note the beginning, and the end when it is too early."""
        (self.directory / f"{name}.started").touch()
        try:
            await appears(self.directory / name)
        except asyncio.CancelledError:
            (self.directory / f"{name}.cancelled").touch()
            raise
        return name

    async def drip(self, name: str) -> AsyncIterator[int]:
        """Produce numbers for ever; note the end."""
        try:
            for number in range(1_000_000):
                yield number
                await asyncio.sleep(0)
        finally:
            (self.directory / f"{name}.closed").touch()


class UserError(Exception):
    """The user's own, with more than a message."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message, code)
        self.message = message
        self.code = code


@serve.deployment
class Caller:
    """Calls `Tools` from inside a replica."""

    def __init__(self, tools: DeploymentHandle) -> None:
        self.tools = tools

    async def add(self, one: int, two: int) -> int:
        result: int = await self.tools.add.remote(one, two)
        return result

    def add_sync(self, one: int, two: int) -> int:
        result: int = self.tools.add.remote(one, two).result()
        return result

    async def chain(self, number: int) -> int:
        first = self.tools.add.remote(number, 1)
        second = self.tools.add_async.remote(first, two=first)
        result: int = await self.tools.add.remote(second, 1)
        return result

    async def stream(self, to: int) -> list[int]:
        return [number async for number in self.tools.options(stream=True).count.remote(to)]

    def stream_sync(self, to: int) -> list[int]:
        return list(self.tools.options(stream=True).count_async.remote(to))

    async def catch(self) -> str:
        try:
            await self.tools.fail.remote("inner")
        except UserError as error:
            return f"{error.message} {error.code}"
        return "nothing"

    async def wait(self, name: str) -> Any:
        return await self.tools.wait.remote(name)


# --- updates and faults -----------------------------------------------------------------


@serve.deployment(num_replicas=2, max_ongoing_requests=10)
class Versioned:
    """Says which version it is, after a moment of work."""

    def __init__(self, version: str, problem: str = "") -> None:
        if problem:
            raise ValueError(problem)
        self.version = version

    async def __call__(self) -> str:
        await asyncio.sleep(0.005)
        return f"{self.version} {serve.get_replica_context().replica_id}"


@serve.deployment(max_ongoing_requests=4)
class Gated:
    """Answers by path: at once, when a file appears, or not in order at all."""

    def __init__(self, directory: str, gate: str = "") -> None:
        self.directory = Path(directory)
        self.running = 0
        # A constructor that takes its time, for as long as the test wants.
        while gate and not (self.directory / gate).exists():
            time.sleep(_LOOK_S)

    async def __call__(self, request: Request) -> Any:
        path = request.url.path.rpartition("/")[2]
        self.running += 1
        try:
            return await self.answer(path)
        except asyncio.CancelledError:
            (self.directory / f"{path}.cancelled").touch()
            raise
        finally:
            self.running -= 1

    def running_now(self) -> int:
        """Return how many HTTP requests are inside."""
        return self.running

    def note(self, name: str) -> None:
        """Add a line with this replica's id to a file."""
        with (self.directory / name).open("a") as file:
            file.write(f"{serve.get_replica_context().replica_id}\n")

    async def answer(self, path: str) -> Any:
        if path == "fail":
            raise UserError("a secret of the application", 7)
        if path == "brief":
            await asyncio.sleep(0.02)
            return "brief"
        if path.startswith("wait"):
            self.note(f"{path}.started")
            await appears(self.directory / f"{path}.open")
        return serve.get_replica_context().replica_id
