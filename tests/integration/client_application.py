"""What clients that are not ours talk to. Replicas import this module, so it imports no test.

Handlers and clients wait for one another through files, so that a test shows the order of things.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from tests.integration.applications import appears

from alacarte import serve

__all__: list[str] = []

EVENTS = 5
_PAGE = f"""<!doctype html>
<title>Events</title>
<ol></ol>
<p></p>
<script>
  const source = new EventSource("events");
  source.onmessage = (event) => {{
    const item = document.createElement("li");
    item.textContent = event.data;
    document.querySelector("ol").append(item);
    fetch("seen?" + event.lastEventId, {{method: "POST"}});
    if (event.lastEventId == "{EVENTS}") source.close();
  }};
  source.onerror = () => {{ document.querySelector("p").textContent = "failed"; }};
</script>
<img src="shown">
"""
"""Shows events as they come, and says which it has shown. The image is loaded when all are."""


@serve.deployment(max_ongoing_requests=200)
class Site:
    """Answers by the last part of the path."""

    def __init__(self, directory: str) -> None:
        self.directory = Path(directory)

    async def __call__(self, request: Request) -> Any:
        match request.url.path.rpartition("/")[2]:
            case "echo":
                return await self.echo(request)
            case "listen":
                return await self.listen(request)
            case "tell":
                return StreamingResponse(self.tell(), media_type="text/plain")
            case "hold":
                return await self.hold()
            case "page":
                return HTMLResponse(_PAGE)
            case "events":
                return StreamingResponse(self.events(), media_type="text/event-stream")
            case "seen":
                (self.directory / f"seen-{request.url.query}").touch()
                return Response(status_code=204)
            case "shown":
                await appears(self.directory / f"seen-{EVENTS}")
                return Response(status_code=204)
        return f"Hello, {request.query_params.get('name', 'world')}!"

    async def echo(self, request: Request) -> dict[str, Any]:
        """Return what arrived."""
        body = await request.body()
        return {
            "method": request.method,
            "http_version": request.scope["http_version"],
            "path": request.url.path,
            "query": dict(request.query_params),
            "headers": dict(request.headers),
            "size": len(body),
            "digest": hashlib.sha256(body).hexdigest(),
        }

    async def listen(self, request: Request) -> int:
        """Say that the body's beginning is here, long before its end; return its size."""
        size = 0
        async for part in request.stream():
            size += len(part)
            (self.directory / "heard").touch()
        return size

    async def tell(self) -> AsyncIterator[str]:
        """Produce each line only after the one before has been read."""
        for number in range(3):
            yield f"line {number}\n"
            await appears(self.directory / f"read-{number}")

    async def hold(self) -> str:
        """Never answer; note the end."""
        (self.directory / "held").touch()
        try:
            await asyncio.Event().wait()
        finally:
            (self.directory / "let-go").touch()
        return ""

    async def events(self) -> AsyncIterator[str]:
        """Produce each event only after the one before has been shown."""
        for number in range(1, EVENTS + 1):
            yield f"id: {number}\ndata: event {number}\n\n"
            await appears(self.directory / f"seen-{number}")


async def _hello(request: Request) -> Response:
    return JSONResponse({"hello": request.path_params["name"]})


async def _echo(socket: WebSocket) -> None:
    await socket.accept()
    while (message := await socket.receive())["type"] == "websocket.receive":
        if message.get("text") == "leave":
            await socket.close(4001, "as asked")
            return
        if message.get("text") is not None:
            await socket.send_text(message["text"])
        else:
            await socket.send_bytes(message["bytes"])


_routes = [Route("/hello/{name}", _hello), WebSocketRoute("/echo", _echo)]


@serve.deployment(max_ongoing_requests=200)
@serve.ingress(Starlette(routes=_routes))
class Sockets:
    """An ASGI application with WebSockets."""
