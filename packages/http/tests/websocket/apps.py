"""ASGI applications for the tests of WebSockets."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import FastAPI
from starlette.websockets import WebSocket, WebSocketDisconnect

from alacarte import serve

from .. import gates


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Echo each message."""
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            gates.GATE.note((event["code"], event["reason"]))
            return
        await send({**event, "type": "websocket.send"})


async def handshake(scope: Any, receive: Any, send: Any) -> None:
    """Send the scope, in the way that the path says."""
    socket = WebSocket(scope, receive, send)
    chosen = scope["subprotocols"][-1] if scope["subprotocols"] else None
    await socket.accept(chosen, headers=[(b"x-own", b"1"), (b"Connection", b"close")])
    await socket.send_json(
        {
            "type": scope["type"],
            "path": scope["path"],
            "root_path": scope["root_path"],
            "query": scope["query_string"].decode(),
            "scheme": scope["scheme"],
            "subprotocols": scope["subprotocols"],
            "headers": {name.decode(): value.decode() for name, value in scope["headers"]},
            "client": scope["client"][0],
            "method": "method" in scope,
        }
    )
    await socket.close(4321, "told")
    gates.GATE.note(await socket.receive())


async def various(scope: Any, receive: Any, send: Any) -> None:
    """Behave as the last segment of the path says."""
    await _DEEDS[scope["path"].rpartition("/")[2]](WebSocket(scope, receive, send))


async def _refuse(socket: WebSocket) -> None:
    await socket.close(4000, "no")


async def _deny(socket: WebSocket) -> None:
    start = {"type": "websocket.http.response.start", "status": 401}
    await socket.send({**start, "headers": [(b"www-authenticate", b"Basic")]})
    await socket.send({"type": "websocket.http.response.body", "body": b"who ", "more_body": True})
    await socket.send({"type": "websocket.http.response.body", "body": b"are you?"})


async def _raise_before(socket: WebSocket) -> None:
    raise ValueError("secret reason")


async def _raise(socket: WebSocket) -> None:
    await socket.accept()
    raise ValueError("secret reason")


async def _cancelled(socket: WebSocket) -> None:
    await socket.accept()
    raise asyncio.CancelledError


async def _return(socket: WebSocket) -> None:
    await socket.accept()


async def _silent(socket: WebSocket) -> None:
    """Return without accepting or closing."""


async def _stay_before(socket: WebSocket) -> None:
    await gates.GATE.wait_cancelled()


async def _stay(socket: WebSocket) -> None:
    await socket.accept()
    await socket.receive()
    await gates.GATE.wait_cancelled()


async def _deaf(socket: WebSocket) -> None:
    """Accepts, reads nothing until the gate opens, then counts."""
    await socket.accept()
    await gates.GATE.pass_async()
    size = 0
    try:
        while True:
            size += len(await socket.receive_bytes())
            gates.GATE.note(size)
    except WebSocketDisconnect as gone:
        gates.GATE.note(gone.code)


async def _flood(socket: WebSocket) -> None:
    """Send without end; note the number of messages and the exception."""
    await socket.accept()
    sent = 0
    try:
        while True:
            await socket.send_bytes(bytes(65536))
            sent += 65536
            gates.GATE.sent = sent  # type: ignore[attr-defined]
    except Exception as error:
        gates.GATE.note(type(error).__name__)


async def _both(socket: WebSocket) -> None:
    """Send without end, and count received messages until a text."""
    await socket.accept()
    sending = asyncio.create_task(_send_for_ever(socket))
    size = 0
    while "text" not in (event := await socket.receive()):
        size += len(event["bytes"])
    gates.GATE.note(size)
    sending.cancel()


async def _send_for_ever(socket: WebSocket) -> None:
    while True:
        await socket.send_bytes(bytes(65536))


async def _bad_code(socket: WebSocket) -> None:
    await socket.accept()
    try:
        await socket.send({"type": "websocket.close", "code": 1006})
    except ValueError as error:
        gates.GATE.note(str(error))


async def _long_reason(socket: WebSocket) -> None:
    await socket.accept()
    await socket.close(1000, "é" * 62)


async def _polls(socket: WebSocket) -> None:
    """Time out several times while waiting for a message, and then receive it."""
    await socket.accept()
    for _ in range(3):
        try:
            await asyncio.wait_for(socket.receive_text(), 0.01)
        except TimeoutError:
            await socket.send_text("waiting")
            await socket.send_text("waiting")
    await socket.send_text(await socket.receive_text())
    await socket.close()


_DEEDS = {
    "refuse": _refuse,
    "deny": _deny,
    "raise_before": _raise_before,
    "raise": _raise,
    "cancelled": _cancelled,
    "return": _return,
    "silent": _silent,
    "stay_before": _stay_before,
    "stay": _stay,
    "deaf": _deaf,
    "flood": _flood,
    "both": _both,
    "bad_code": _bad_code,
    "long_reason": _long_reason,
    "polls": _polls,
}


async def by_status(scope: Any, receive: Any, send: Any) -> None:
    """Accepts and closes, or denies with the status that its path ends with."""
    assert scope["type"] == "websocket"
    await receive()
    what = scope["path"].rpartition("/")[2]
    if what.isdigit():
        start = {"type": "websocket.http.response.start", "status": int(what), "headers": []}
        await send(start)
        await send({"type": "websocket.http.response.body", "body": b"no"})
        return
    subprotocol = next(iter(scope["subprotocols"]), None)
    await send({"type": "websocket.accept", "subprotocol": subprotocol})
    await send({"type": "websocket.close"})


fastapi = FastAPI()


@serve.ingress(fastapi)
class Items:
    """Routes that are methods."""

    def __init__(self) -> None:
        self.name = "items"

    @fastapi.websocket("/items/{item}")
    async def items(self, websocket: WebSocket, item: int, q: str = "") -> None:
        await websocket.accept()
        try:
            while True:
                text = await websocket.receive_text()
                await websocket.send_json({self.name: item, "q": q, "text": text})
        finally:
            gates.GATE.note("left")
