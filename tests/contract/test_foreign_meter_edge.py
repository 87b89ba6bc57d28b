"""A stranger's meter sees every outcome that the HTTP edge can produce, each exactly once.

It lies in tests/foreign_plugin_meter; `nox -s contract` builds and installs it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.websockets import WebSocket

from alacarte import serve
from alacarte.testing import local_instance, wait_until

counting_meter = pytest.importorskip(
    "counting_meter", reason="nox -s contract installs tests/foreign_plugin_meter"
)
fastapi = pytest.importorskip("fastapi")
WAIT_S = 10.0
GUARD = "GET /-/healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
UPGRADE = (
    "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
CLOSE = b"\x88\x82\x00\x00\x00\x00" + struct.pack("!H", 1000)


@serve.deployment(name="Model", max_ongoing_requests=2, max_queued_requests=1)
class Model:
    """Answers as its query says."""

    async def __call__(self, request: Request) -> Response:
        what = request.query_params.get("do", "")
        if what == "fail":
            raise ValueError("a bug")
        if what == "wait":
            await asyncio.sleep(WAIT_S)
        await request.body()
        return PlainTextResponse("hello", int(request.query_params.get("status", "200")))


api = fastapi.FastAPI()


@serve.deployment(name="Socket")
@serve.ingress(api)
class Socket:
    @api.get("/wait")
    async def wait(self) -> None:
        await asyncio.sleep(WAIT_S)

    @api.websocket("/echo")
    async def echo(self, websocket: WebSocket) -> None:
        await websocket.accept()
        async for text in websocket.iter_text():
            await websocket.send_text(text)

    @api.websocket("/deny")
    async def deny(self, websocket: WebSocket) -> None:
        await websocket.close()


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    """An instance whose every request is counted, with two applications and narrow limits."""
    options = {
        "port": 0,
        "receive_head_timeout_s": 0.5,
        "receive_body_timeout_s": 0.5,
        "max_body_bytes": 100,
        "max_header_bytes": 1000,
        "max_concurrent_requests": 4,
    }
    with local_instance(http_options=options, counting_meter_options={"enabled": True}) as url:
        serve.run(Model.bind(), name="a", route_prefix="/a")
        serve.run(Socket.bind(), name="ws", route_prefix="/ws")
        parts = urllib.parse.urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        yield parts.hostname, parts.port


def edge() -> Counter[str]:
    """Return what was counted at the edge, bytes and connections left out."""
    counts = dict(counting_meter.counts)
    return Counter(
        {
            what: number
            for (subject, _, what), number in counts.items()
            if subject == "edge" and what.startswith(("ended", "refused"))
        }
    )


def talk(address: tuple[str, int], *sent: bytes) -> bytes:
    """Send bytes, each after an answer to those before, and return all that comes back."""
    with socket.create_connection(address, WAIT_S) as client:
        received = b""
        for number, data in enumerate(sent):
            if number:
                received += client.recv(65536)
            client.sendall(data)
        while data := client.recv(65536):
            received += data
    return received


def get(path: str, *headers: str, method: str = "GET", body: str = "") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


REQUESTS: dict[str, tuple[tuple[bytes, ...], str]] = {
    "answered": ((get("/a"),), "ended http 200 a"),
    "an answer of 404": ((get("/a?status=404"),), "ended http 404 a"),
    "an answer of 503": ((get("/a?status=503"),), "ended http 503 a"),
    "a body": ((get("/a", method="POST", body="x" * 50),), "ended http 200 a"),
    "code that raises": ((get("/a?do=fail"),), "ended http 500 a"),
    "its time is over": (
        (get("/a?do=wait", "X-Request-Timeout-Seconds: 0.2"),), "ended http 504 a",
    ),
    "no route": ((get("/b"),), "refused http 404"),
    "a bad header of ours": ((get("/a", "X-Request-Timeout-Seconds: x"),), "refused http 400"),
    "no HTTP": ((b"hello?\r\n\r\n",), "refused http 400"),
    "two lengths": (
        (b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",),
        "refused http 400",
    ),
    "too many headers": ((get("/a", f"X: {'x' * 2000}"),), "refused http 431"),
    "too large a body": ((get("/a", method="POST", body="x" * 101),), "refused http 413"),
    "a head that does not come": ((b"GET /a HTTP/1.1\r\nHost:",), "refused http 408"),
    "the proxy's health": ((get("/-/healthz"),), "ended http 200 "),
    "the proxy's routes": ((get("/-/routes", "Host: localhost"),), "refused http 400"),
    "none of the proxy's": ((get("/-/nothing"),), "refused http 404"),
    "a change of the proxy's": ((get("/-/healthz", method="POST"),), "refused http 405"),
    "the server as a whole": ((get("*", method="OPTIONS"),), "ended http 200 "),
    "a WebSocket": ((UPGRADE.format(path="/ws/echo").encode(), CLOSE), "ended websocket 101 ws"),
    "a WebSocket that is denied": (
        (UPGRADE.format(path="/ws/deny").encode(),), "ended websocket 403 ws",
    ),
    "a WebSocket to nowhere": ((UPGRADE.format(path="/x").encode(),), "refused websocket 404"),
    "a WebSocket to the proxy": (
        (UPGRADE.format(path="/-/healthz").encode(),), "refused websocket 404",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REQUESTS)
def test_each_outcome_is_seen_once(address: tuple[str, int], name: str):
    """What the client is answered is what the meter counts, and nothing else."""
    sent, expected = REQUESTS[name]
    before = edge()
    received = talk(address, *sent)
    assert received.split(b" ", 2)[1].decode() == expected.split(" ")[2], received
    wait_until(lambda: edge() - before != {}, WAIT_S, "its end")
    assert edge() - before == {expected: 1}


def test_a_client_that_leaves(address: tuple[str, int]):
    """499, as the access log has it; and the router hears of it."""
    before = edge()
    with socket.create_connection(address, WAIT_S) as client:
        runs = _runs("a#Model")
        client.sendall(get("/a?do=wait"))
        wait_until(runs, WAIT_S, "the request runs")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_until(lambda: edge() - before != {}, WAIT_S, "its end")
    assert edge() - before == {"ended http 499 a": 1}


def _runs(deployment: str) -> Callable[[], bool]:
    def started() -> int:
        return int(counting_meter.counts["replica", deployment, "started"])

    before = started()
    return lambda: started() > before


def test_more_than_may_be(address: tuple[str, int]):
    """Beyond the application's queue: its own 503. Beyond what the proxy takes: the proxy's."""
    before = edge()
    clients: list[Any] = []
    try:
        for _ in range(3):
            clients.append(socket.create_connection(address, WAIT_S))
            clients[-1].sendall(get("/a?do=wait"))
        queued = "router", "a#Model", "queued"
        wait_until(lambda: counting_meter.counts[queued] >= 1, WAIT_S, "one waits")
        assert b" 503 " in talk(address, get("/a"))
        assert edge() - before == {"ended http 503 a": 1}
        clients.append(socket.create_connection(address, WAIT_S))
        clients[-1].sendall(get("/ws/wait"))
        wait_until(lambda: b" 503 " in talk(address, get("/b")), WAIT_S, "the proxy is full")
        wait_until(lambda: (edge() - before)["refused http 503"] >= 1, WAIT_S, "the refusal")
    finally:
        for client in clients:
            client.close()
    wait_until(lambda: (edge() - before)["ended http 499 a"] >= 3, WAIT_S, "their ends")


def test_connections_and_bytes(address: tuple[str, int]):
    """Each connection opens and closes once, WebSockets too; bytes are those of the sockets."""

    def counts(what: str) -> int:
        return int(counting_meter.counts["edge", "http", what])

    wait_until(lambda: counts("opened") == counts("closed"), WAIT_S, "all others are closed")
    before = {what: counts(what) for what in ("opened", "closed", "received", "sent")}
    upgrade = UPGRADE.format(path="/ws/echo").encode()
    sizes = 0
    for sent in ((get("/a"),), (upgrade, CLOSE)):
        sizes += len(talk(address, *sent))
    wait_until(lambda: counts("closed") == before["closed"] + 2, WAIT_S, "both are closed")
    assert counts("opened") == before["opened"] + 2
    assert counts("received") == before["received"] + len(get("/a")) + len(upgrade) + len(CLOSE)
    assert counts("sent") == before["sent"] + sizes
