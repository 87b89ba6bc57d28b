"""Bare FastAPI with the WebSocket of `websocket.py`."""

from __future__ import annotations

import bare
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

app = FastAPI()


@app.get("/ready")
async def ready() -> str:
    return "yes"


@app.websocket("/")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    try:
        while True:
            await socket.send_text(await socket.receive_text())
    except WebSocketDisconnect:
        pass


if __name__ == "__main__":
    bare.run(app)
