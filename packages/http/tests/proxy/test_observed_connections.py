"""Reports to an observer of the proxy: each request once, and each byte."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from alacarte.types import Call, DeploymentId, EdgeObserver, EdgeRequest, Reply, Route, RouteTable
from alacarte_http._edge.edge import Edge
from alacarte_http._edge.edge_limits import edge_limits
from alacarte_http._head_codec import pack_response
from alacarte_http._proxy.observed_connections import (
    ObservedApp,
    ObservedConnection,
    ObservedWebSocket,
)
from alacarte_http._websocket.websocket_codec import pack_accept, pack_close
from alacarte_http.config import HTTPOptions

from ..memory_transport import MemoryTransport
from ..websocket.support import UPGRADE

TABLE = RouteTable(
    1,
    (
        Route("/shop", "shop", {DeploymentId("shop", "Desk"): 1.0}),
        Route("/get", "get", {DeploymentId("get", "Desk"): 1.0}, frozenset({"GET"})),
    ),
)


class Observer(EdgeObserver):
    """An observer that records its calls."""

    def __init__(self) -> None:
        self.connections: list[str] = []
        self.bytes_in = self.bytes_out = 0
        self.requests: list[tuple[str, EdgeRequest]] = []
        self.reasons: list[str] = []

    def opened(self) -> None:
        self.connections.append("opened")

    def closed(self) -> None:
        self.connections.append("closed")

    def received(self, size_bytes: int) -> None:
        self.bytes_in += size_bytes

    def sent(self, size_bytes: int) -> None:
        self.bytes_out += size_bytes

    def refused(self, request: EdgeRequest, reason: str) -> None:
        self.requests.append(("refused", request))
        self.reasons.append(reason)

    def ended(self, request: EdgeRequest) -> None:
        self.requests.append(("ended", request))


class Transport(MemoryTransport):
    """Can be handed to another protocol.

    Attributes:
        protocol: The one that gets what the client sends.
    """

    protocol: Any

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol


class Runtime:
    """An application for every route."""

    def __init__(self, service: Callable[[Call], Any]) -> None:
        self._service = service

    def route_service(self, route: Route, failed: object) -> Callable[[Call], Any]:
        return self._service

    def is_task_free(self, deployment: DeploymentId) -> bool:
        return False


async def hello(call: Call) -> Reply:
    return Reply((pack_response(200, ()) + b"hello",))


async def accept(call: Call) -> Reply:
    async def rest() -> Any:
        async for _ in call.body or ():
            break
        yield (b"".join(pack_close(1000, "")),)

    return Reply((b"".join(pack_accept(None, ())),), rest())


class Bench:
    """A client of an observed proxy."""

    def __init__(self, service: Callable[[Call], Any] = hello, **options: Any) -> None:
        given, runtime = HTTPOptions(**options), Runtime(service)
        self.observer = Observer()
        self.app = ObservedApp(runtime, given)  # type: ignore[arg-type]
        self.app.observer = self.observer
        self.app.update(TABLE)
        self.edge = Edge(self.app, edge_limits(given), self._websocket)
        self.transport = Transport()
        self.connection = self.transport.protocol = ObservedConnection(self.edge, self.observer)
        self.connection.connection_made(self.transport)

    def _websocket(self) -> ObservedWebSocket:
        made = ObservedWebSocket(self.app.websocket, self.edge.connections, self.edge.tasks, 1024)
        made.observer = self.observer
        return made

    def send(self, data: bytes) -> None:
        self.transport.protocol.data_received(data)

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def report_of(self, data: bytes) -> tuple[str, EdgeRequest]:
        """Send a request; return its only report."""
        self.send(data)
        await self.settle()
        [report] = self.observer.requests
        return report


def get(path: str, method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\nX-Request-ID: mine\r\n\r\n".encode()


async def test_a_request_that_is_answered():
    """A served request is reported as ended, without its query."""
    bench = Bench()
    kind, request = await bench.report_of(get("/shop/a?secret=1"))
    assert (kind, request.protocol, request.method) == ("ended", "http", "GET")
    assert (request.path, request.route, request.app) == ("/shop/a", "/shop", "shop")
    assert (request.request_id, request.status) == ("mine", 200)
    assert 0 < request.total_s < 60


async def test_an_application_that_fails():
    """A failed request is reported as ended: the application has seen it."""

    async def fails(call: Call) -> Reply:
        raise ValueError("a bug")

    kind, request = await Bench(fails).report_of(get("/shop"))
    assert (kind, request.status, request.app) == ("ended", 500, "shop")


@pytest.mark.parametrize(
    ("sent", "status", "route", "reason"),
    [
        (get("/nowhere"), 404, "", "No application serves '/nowhere'"),
        (get("/get/x", "PUT"), 405, "/get", "PUT is not allowed"),
        (get("/-/nothing"), 404, "", "The proxy has no path /-/nothing"),
    ],
)
async def test_a_request_that_the_proxy_refuses(sent: bytes, status: int, route: str, reason: str):
    """A refused request is reported with the client's text and the path's route."""
    bench = Bench()
    kind, request = await bench.report_of(sent)
    assert (kind, request.status, request.route) == ("refused", status, route)
    assert (request.app, request.total_s) == (route.strip("/"), 0.0)
    [text] = bench.observer.reasons
    assert reason in text
    assert text.encode() in bench.transport.written


async def test_the_proxy_s_own_paths():
    """A request for the proxy's own paths is reported as ended, without an application."""
    kind, request = await Bench().report_of(get("/-/healthz"))
    assert (kind, request.status, request.route, request.app) == ("ended", 200, "", "")


async def test_the_server_as_a_whole():
    """`OPTIONS *` is reported although it reaches no application."""
    kind, request = await Bench().report_of(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (kind, request.method, request.path, request.status) == ("ended", "OPTIONS", "*", 200)


async def test_bytes_without_a_request():
    """Bytes without a request line are reported as refused without a path."""
    bench = Bench()
    kind, request = await bench.report_of(b"\x00\x01 nonsense\r\n\r\n")
    assert (kind, request.method, request.path, request.app) == ("refused", "", "", "")
    assert request.status == 400
    assert bench.observer.reasons[0].encode() in bench.transport.written


async def test_a_body_that_is_refused_in_the_middle():
    """A refused body is reported with its request, which also ends with 499 if it had begun."""

    async def reads(call: Call) -> Reply:
        async for _ in call.body or ():
            pass
        return await hello(call)

    bench = Bench(reads)
    bench.send(b"POST /shop HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
    await bench.settle()
    bench.send(b"no size\r\n")
    await bench.settle()
    reports = {
        kind: (each.method, each.path, each.status) for kind, each in bench.observer.requests
    }
    assert reports == {"refused": ("POST", "/shop", 400), "ended": ("POST", "/shop", 499)}
    assert len(bench.observer.requests) == 2


async def test_a_client_that_leaves():
    """A disconnect ends the request once, with 499, and then the connection."""

    async def waits(call: Call) -> Reply:
        await asyncio.Event().wait()
        raise AssertionError("it has no end")

    bench = Bench(waits)
    bench.send(get("/shop"))
    await bench.settle()
    assert bench.observer.requests == []
    bench.connection.connection_lost(None)
    await bench.settle()
    [(kind, request)] = bench.observer.requests
    assert (kind, request.status) == ("ended", 499)
    assert bench.observer.connections == ["opened", "closed"]


async def test_bytes_of_requests():
    """All bytes of several requests on one connection are counted."""
    bench = Bench()
    requests = [get("/shop"), get("/nowhere"), b"POST /shop HTTP/1.1\r\nHost: x\r\n"]
    requests += [b"Content-Length: 3\r\n\r\na", b"bc"]
    for data in requests:
        bench.send(data)
        await bench.settle()
    assert [kind for kind, _ in bench.observer.requests] == ["ended", "refused", "ended"]
    assert bench.observer.bytes_in == sum(map(len, requests))
    assert bench.observer.bytes_out == len(bench.transport.written) > 0


@pytest.mark.parametrize("together", [True, False])
async def test_bytes_of_a_websocket(together: bool):
    """Bytes behind a handshake are counted once, in the same read or later."""
    bench = Bench(accept)
    shake, message = UPGRADE % b"/shop/chat", b"\x81\x82\0\0\0\0hi"
    for data in [shake + message] if together else [shake, message]:
        bench.send(data)
        await bench.settle()
    assert bench.observer.bytes_in == len(shake) + len(message)
    assert bench.observer.bytes_out == len(bench.transport.written)
    assert bench.transport.written.startswith(b"HTTP/1.1 101 ")
    bench.transport.protocol.connection_lost(None)
    await bench.settle()
    [(kind, request)] = bench.observer.requests
    assert (kind, request.protocol, request.status) == ("ended", "websocket", 101)
    assert (request.path, request.route, request.app) == ("/shop/chat", "/shop", "shop")
    assert bench.observer.connections == ["opened", "closed"]


async def test_a_handshake_that_is_refused():
    """A refused handshake is reported as a WebSocket with the client's text."""
    bench = Bench(accept)
    kind, request = await bench.report_of(UPGRADE % b"/nowhere")
    assert (kind, request.protocol, request.status) == ("refused", "websocket", 404)
    assert bench.observer.reasons[0].encode() in bench.transport.written
