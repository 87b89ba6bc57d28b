"""A WebSocket that sends every message back, in FastAPI behind `@serve.ingress`."""

# Without `from __future__ import annotations`: in a replica, Ray Serve does not find what they
# name, takes the socket for a query parameter, and refuses every client.

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from program import serve, serve_until_told

app = FastAPI()


@serve.deployment(max_ongoing_requests=100)
@serve.ingress(app)
class Echo:
    @app.get("/ready")
    async def ready(self):
        return "yes"

    @app.websocket("/")
    async def echo(self, socket: WebSocket):
        await socket.accept()
        try:
            while True:
                await socket.send_text(await socket.receive_text())
        except WebSocketDisconnect:
            pass


if __name__ == "__main__":
    serve_until_told(Echo.bind())
