"""What the tests of endpoints and of traffic deploy. Replicas import this, so it imports no test.

As in `applications.py`, a handler that has to be caught in the middle of something waits for a
file, and notes what it sees in files.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from tests.integration.applications import appears

from alacarte import serve

__all__: list[str] = []
_LOOK_S = 0.01


# --- the key concepts -------------------------------------------------------------------


def handle_request(starlette_request):  # type: ignore[no-untyped-def]
    return "hello world"


class RequestHandler:
    # Take the message to return as an argument to the constructor.
    def __init__(self, msg):  # type: ignore[no-untyped-def]
        self.msg = msg

    def __call__(self, starlette_request):  # type: ignore[no-untyped-def]
        return self.msg


# --- answers ----------------------------------------------------------------------------


async def answers(request: Request) -> Any:
    """Return all that a backend may, by what the query asks for."""
    match request.query_params["kind"]:
        case "text":
            return "text"
        case "json":
            return {"list": [1, 2.5, None, True], "text": "ü"}
        case "response":
            return PlainTextResponse("teapot", 418, {"x-mine": "1"})
        case "stream":
            return StreamingResponse(iter(["one ", "two"]), media_type="text/plain")
        case "echo":
            body = (await request.body()).decode()
            return [request.method, request.url.path, request.headers.get("x-mine"), body]
    raise LookupError("a secret of the application")


class Tagged:
    """Says which backend it is, and which replica."""

    async def __call__(self, request: Any) -> str:
        return serve.get_current_backend_tag()

    async def replica(self, request: Any) -> str:
        return serve.get_current_replica_tag()

    def told(self, request: Any) -> Any:
        """Return what a call through a handle has brought along."""
        return {
            "data": request.data,
            "args": dict(request.args),
            "method": request.method,
            "mine": request.headers.get("x-mine"),
        }

    def _hidden(self, request: Any) -> str:
        return "hidden"


class Configured:
    """Tells what it was configured with, and by which process."""

    def __init__(self) -> None:
        self.config: Any = None

    def reconfigure(self, config: Any) -> None:
        self.config = config

    def __call__(self, request: Any) -> Any:
        return {"config": self.config, "pid": os.getpid()}


class Asking:
    """A backend that asks an endpoint: what it answers, the method `replica`, and for a key."""

    def __init__(self, endpoint: str) -> None:
        self.handle = serve.connect().get_handle(endpoint, sync=False)

    async def __call__(self, request: Request) -> list[str]:
        by_key = self.handle.options(shard_key=request.query_params["key"])
        return [
            await self.handle.remote(),
            await self.handle.options(method_name="replica").remote(),
            await by_key.remote(),
        ]


# --- batches ----------------------------------------------------------------------------


class Batches:
    """Answers with the sizes of the batches; the first of them waits for a file."""

    def __init__(self, directory: str) -> None:
        self.directory = Path(directory)
        self.config: Any = None

    def reconfigure(self, config: Any) -> None:
        self.config = config

    @serve.accept_batch
    def __call__(self, requests: list[Any]) -> list[Any]:
        (self.directory / "begun").touch()
        while not (self.directory / "open").exists():
            time.sleep(_LOOK_S)
        return [["call", len(requests), self.config]] * len(requests)

    @serve.accept_batch
    def other(self, requests: list[Any]) -> list[Any]:
        return [["other", len(requests), self.config]] * len(requests)


@serve.accept_batch
def too_few(requests: list[Any]) -> list[Any]:
    """Forgets the last one."""
    return list(range(len(requests)))[:-1]


# --- traffic ----------------------------------------------------------------------------


class Noting:
    """Notes every body in a file of its tag's name, then does what it is configured to.

    That is "answer", "raise", "wait" for the file `open`, or a pause in seconds.
    """

    def __init__(self, directory: str) -> None:
        self.directory = Path(directory)
        self.then = ""

    def reconfigure(self, then: str) -> None:
        self.then = then

    async def __call__(self, request: Request) -> str:
        tag = serve.get_current_backend_tag()
        body = (await request.body()).decode()
        with (self.directory / tag).open("a") as file:
            file.write(f"{body}\n")
        match self.then:
            case "answer":
                pass
            case "raise":
                raise RuntimeError("a shadow that fails")
            case "wait":
                await appears(self.directory / "open")
            case pause:
                await asyncio.sleep(float(pause))
        return f"{tag} {body}"


@serve.deployment(max_ongoing_requests=100)
class Release:
    """An application of some version; it fails where the query says so.

    Args:
        version: Its answer.
        pause_s: How long that takes.
    """

    def __init__(self, version: str, pause_s: float = 0.0) -> None:
        self.version = version
        self.pause_s = pause_s

    async def __call__(self, request: Request) -> str:
        await asyncio.sleep(self.pause_s)
        if "fail" in request.query_params:
            raise RuntimeError("a version that fails")
        return self.version
