"""The proxy as a node service, with a fake runtime."""

from __future__ import annotations

import asyncio
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from alacarte.errors import (
    BackPressureError,
    DeploymentUnavailableError,
    NotFoundError,
    ReplicaUnavailableError,
)
from alacarte.types import Call, DeploymentId, NodeService, Reply, Route, RouteTable
from alacarte_http import HTTPOptions
from alacarte_http._head_codec import pack_response, unpack_request
from alacarte_http._proxy import http_proxy
from alacarte_http._proxy.http_proxy import HttpProxy
from alacarte_http._proxy.proxy_server import ProxyServer

from .service_context import FakeServiceContext

TARGET = DeploymentId("app", "d")
TABLE = RouteTable(1, (Route("/a", "app", {TARGET: 1.0}),))


class Runtime:
    """A minimal runtime: one deployment, served by a function."""

    def __init__(self, service: Any, context: FakeServiceContext, *, plain: bool) -> None:
        self.plain = plain
        self.loop = asyncio.get_running_loop()
        self.config = self.hooks = self
        self.node_id = "node"
        self.service_context = context
        self.changed: Callable[[RouteTable], None] | None = None
        self.looked_up: list[str] = []
        self._service = service

    def implements(self, hook: str) -> bool:
        return False

    def observe(self, kind: str, base: type[Any], *subject: object) -> None:
        return None

    def section(self, name: str) -> HTTPOptions:
        assert name == "http"
        return HTTPOptions(port=0)

    def watch_routes(self, changed: Callable[[RouteTable], None]) -> None:
        self.changed = changed

    def is_task_free(self, deployment: DeploymentId) -> bool:
        return self.plain

    def route_service(self, route: Route, failed: Callable[[Reply], bool]) -> Any:
        self.looked_up.append(route.prefix)
        return self._service


@pytest.fixture(autouse=True)
def _routes_come_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do nothing: a test delivers the routes after the proxy's start."""
    monkeypatch.setattr(http_proxy, "_ROUTES_TIMEOUT_S", 0.01)


class Running:
    """A proxy, its runtime and a client."""

    def __init__(self, service: Any, *, plain: bool = False) -> None:
        # Short, as the path of a Unix socket must be.
        self.directory = Path(tempfile.mkdtemp())
        self.runtime = Runtime(service, FakeServiceContext(self.directory), plain=plain)
        self.proxy = HttpProxy()

    async def __aenter__(self) -> Running:
        metadata = await self.proxy.start(self.runtime)  # type: ignore[arg-type]
        self.http = httpx.AsyncClient(base_url=metadata["url"], trust_env=False, timeout=20)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()
        await self.proxy.drain(20, replaced=False)
        await self.proxy.stop()
        shutil.rmtree(self.directory)


def hello(body: bytes = b"hello") -> Reply:
    return Reply((pack_response(200, [(b"x-own", b"1")]) + body,))


async def answer(call: Call) -> Reply:
    return hello()


async def test_it_is_a_node_service():
    """`HttpProxy` is a `NodeService`."""
    assert isinstance(HttpProxy(), NodeService)


async def test_before_the_routes_are_known():
    """Without a route table, requests get 503 with Retry-After; afterwards they are served."""
    async with Running(answer) as running:
        for path in ("/-/healthz", "/-/routes", "/a"):
            refused = await running.http.get(path)
            assert (refused.status_code, refused.text) == (503, "Route table is not populated yet.")
        assert refused.headers["retry-after"] == "1"
        running.runtime.changed(TABLE)
        assert (await running.http.get("/-/healthz")).text == "success"
        assert (await running.http.get("/a")).text == "hello"


async def test_no_request_looks_up_its_service():
    """Services are looked up once per route table, for requests and for WebSockets."""
    table = RouteTable(1, (*TABLE.routes, Route("/b", "b", {TARGET: 1.0}, exact=True)))
    async with Running(answer) as running:
        running.runtime.changed(table)
        assert sorted(running.runtime.looked_up) == ["/a", "/a", "/b", "/b"]
        for path in ("/a", "/a/x", "/b"):
            assert (await running.http.get(path)).text == "hello"
        assert len(running.runtime.looked_up) == 4
        running.runtime.changed(TABLE)
        assert (await running.http.get("/b")).status_code == 404
        assert len(running.runtime.looked_up) == 6


async def test_contents_of_a_call():
    """A call has protocol, route and id; head and first part of the body are one message."""
    calls = []

    async def keep(call: Call) -> Reply:
        calls.append(call)
        return hello()

    async with Running(keep) as running:
        running.runtime.changed(TABLE)
        await running.http.post("/a/b", content=b"body", headers={"X-Request-ID": "mine"})
    [call] = calls
    assert (call.protocol, call.method, call.streaming) == ("http", "__call__", True)
    assert (call.request_id, call.app, call.route) == ("mine", "app", "/a")
    assert call.deadline is None
    scope, body = unpack_request(b"".join(call.payload))
    assert (scope["method"], scope["path"], scope["root_path"]) == ("POST", "/a/b", "/a")
    assert bytes(body) == b"body"


async def test_routes_change():
    """A newer route table applies to the next request on an open connection."""
    async with Running(answer) as running:
        running.runtime.changed(TABLE)
        assert (await running.http.get("/a")).status_code == 200
        running.runtime.changed(RouteTable(2, (Route("/b", "app", {TARGET: 1.0}),)))
        assert (await running.http.get("/a")).status_code == 404
        assert (await running.http.get("/b")).status_code == 200
        assert (await running.http.get("/-/routes")).json() == {"/b": "app"}


@pytest.mark.parametrize(
    ("error", "status", "logged"),
    [
        (BackPressureError("app#d", 1, 1), 503, False),
        (DeploymentUnavailableError("app#d", "secret"), 503, False),
        (ReplicaUnavailableError("app#d", "r", "secret"), 503, False),
        (NotFoundError("secret"), 500, True),
        (ZeroDivisionError("secret"), 500, True),
        (SystemExit("secret"), 500, True),
    ],
)
@pytest.mark.parametrize("plain", [False, True])
async def test_errors(error, status, logged, plain, caplog):
    """Errors become responses; internal ones are logged with the request's id."""

    async def fail(call: Call) -> Reply:
        raise error

    async with Running(fail, plain=plain) as running:
        running.runtime.changed(TABLE)
        for _ in range(2):
            got = await running.http.get("/a", headers={"X-Request-ID": "the-id"})
            assert got.status_code == status
            assert got.headers["x-request-id"] == "the-id"
            assert "secret" not in got.text
    assert ("the-id failed" in caplog.text) is logged


@pytest.mark.parametrize("plain", [False, True])
async def test_the_rest_of_a_reply_is_closed(plain):
    """The rest of a reply is closed after a disconnect and at its end."""
    closed = asyncio.Event()

    async def stream(call: Call) -> Reply:
        async def rest() -> AsyncIterator[Any]:
            try:
                yield (b"second",)
                if call.request_id == "endless":
                    await asyncio.Event().wait()
            finally:
                closed.set()

        return Reply((pack_response(200, []) + b"first",), rest())

    async with Running(stream, plain=plain) as running:
        running.runtime.changed(TABLE)
        assert (await running.http.get("/a")).text == "firstsecond"
        await asyncio.wait_for(closed.wait(), 20)
        closed.clear()
        headers = {"X-Request-ID": "endless"}
        async with running.http.stream("GET", "/a", headers=headers) as got:
            assert await anext(got.aiter_bytes())
        await asyncio.wait_for(closed.wait(), 20)


@pytest.mark.parametrize("plain", [False, True])
async def test_draining(plain):
    """While draining, accepted requests are answered, and idle connections are closed."""
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def slow(call: Call) -> Reply:
        inside.set()
        await go_on.wait()
        return hello()

    async with Running(slow, plain=plain) as running:
        running.runtime.changed(TABLE)
        host, port = running.http.base_url.host, running.http.base_url.port
        idle, idle_writer = await asyncio.open_connection(host, port)
        used, used_writer = await asyncio.open_connection(host, port)
        used_writer.write(b"GET /-/healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        await used.readuntil(b"success")
        working = asyncio.create_task(running.http.get("/a"))
        await inside.wait()
        draining = asyncio.create_task(running.proxy.drain(20, replaced=False))
        assert await idle.read() == b""
        assert await used.read() == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(host, port)
        assert not draining.done()
        go_on.set()
        assert (await working).headers["connection"] == "close"
        await asyncio.wait_for(draining, 20)
        for writer in (idle_writer, used_writer):
            writer.close()
            await writer.wait_closed()


async def test_queued_connections_at_the_end():
    """Without a new proxy, queued connections are accepted and answered before the end."""
    async with Running(answer) as running:
        running.runtime.changed(TABLE)
        # From here to the drain the loop has no turn in which it could accept anything.
        await running.proxy._close_offer()
        address = (running.http.base_url.host, running.http.base_url.port)
        with socket.create_connection(address, 20) as client:
            client.sendall(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.wait_for(running.proxy.drain(20, replaced=False), 20)
            assert client.recv(1000).endswith(b"hello")


async def test_stopping_a_service_whose_start_failed(monkeypatch: pytest.MonkeyPatch):
    """After a failed start, drain and stop raise nothing and close the socket."""

    def fail(changed: Callable[[RouteTable], None]) -> None:
        raise RuntimeError("no routes")

    running = Running(answer)
    monkeypatch.setattr(running.runtime, "watch_routes", fail)
    with pytest.raises(RuntimeError, match="no routes"):
        await running.proxy.start(running.runtime)  # type: ignore[arg-type]
    assert running.proxy._listener is not None
    address = running.proxy._listener.getsockname()
    await running.proxy.drain(20, replaced=False)
    await running.proxy.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
    shutil.rmtree(running.directory)


async def test_a_stop_that_is_cancelled():
    """A cancelled stop raises CancelledError, not the server's."""

    async def slow_end() -> None:
        with pytest.raises(asyncio.CancelledError):
            await asyncio.Event().wait()
        await may_end.wait()

    may_end = asyncio.Event()
    server = ProxyServer(None, HTTPOptions(), None)  # type: ignore[arg-type]
    serving = server._serving = asyncio.create_task(slow_end())
    await asyncio.sleep(0)
    stopping = asyncio.create_task(server.stop())
    await asyncio.sleep(0)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    may_end.set()
    await serving
