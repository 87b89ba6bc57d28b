"""Forwarding through layers, in memory: requests, responses, and closed streams."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from alacarte.errors import BackPressureError
from alacarte.types import Call, DeploymentId, Identity, Message, Reply, Route
from alacarte_http._call_builder import CallBuilder
from alacarte_http._edge.edge import Edge
from alacarte_http._edge.edge_limits import edge_limits
from alacarte_http._edge.exchange import Exchange
from alacarte_http._edge.head import Head, Peer
from alacarte_http._edge.http_connection import HttpConnection
from alacarte_http._head_codec import pack_peer, pack_response
from alacarte_http._local_response import LocalResponse
from alacarte_http._proxy.layered_forwarding import LayeredForwarding, WebSocketHandshake
from alacarte_http._proxy.layered_routes import RouteLayers, RouteTarget
from alacarte_http._request_options import RequestOptions, read_options
from alacarte_http._resolved_route import ResolvedRoute
from alacarte_http._websocket.websocket_codec import denied_with, pack_accept
from alacarte_http.config import HTTPOptions
from alacarte_http.layers import (
    APPLICATION,
    HttpLayer,
    HttpRequest,
    HttpResponse,
    HttpRoute,
    HttpService,
)
from alacarte_http.message import read_request

from ..memory_transport import MemoryTransport

GET = b"GET /shop/a?q=1 HTTP/1.1\r\nHost: x\r\n\r\n"
DESK = DeploymentId("shop", "Desk")


def hello(rest: AsyncIterator[Message] | None = None) -> Reply:
    return Reply((pack_response(200, [(b"x-own", b"1")]) + b"hello",), rest)


class Replica:
    """A deployment that records calls and returns given replies."""

    def __init__(self, does: Callable[[Call], Awaitable[Reply]] | None = None) -> None:
        self.got: list[Call] = []
        self._does = does

    async def __call__(self, call: Call) -> Reply:
        self.got.append(call)
        return hello() if self._does is None else await self._does(call)


class Rest:
    """The rest of a reply that counts how often it is closed."""

    def __init__(self, *parts: bytes) -> None:
        self.closed = 0
        self._parts = list(parts)

    def __aiter__(self) -> Rest:
        return self

    async def __anext__(self) -> Message:
        if not self._parts:
            raise StopAsyncIteration
        return (self._parts.pop(0),)

    async def aclose(self) -> None:
        self.closed += 1


def passes(service: HttpService) -> HttpService:
    return service


def changes(change: Callable[[HttpRequest], HttpRequest]) -> HttpLayer:
    """Return a layer that passes on a changed request."""

    def layer(service: HttpService) -> HttpService:
        async def call(request: HttpRequest) -> HttpResponse:
            return await service(change(request))

        return call

    return layer


def target(
    replica: Any,
    layer: HttpLayer,
    *,
    prefix: str = "/shop",
    task_free: bool = False,
    plain: bool = True,
    local_response: Callable[[RequestOptions], LocalResponse] | None = None,
) -> RouteTarget:
    async def forward(request: HttpRequest) -> HttpResponse:
        response: HttpResponse = await request._forward(request)
        return response

    layers = RouteLayers(HttpRoute(APPLICATION, prefix, "shop"), layer(forward), task_free)
    route = Route(prefix, "shop", {DESK: 1.0})
    return RouteTarget(
        layers, ResolvedRoute(route, replica, replica, None, False, plain), local_response
    )


class Bench:
    """A client's connection to one target.

    Attributes:
        ended: Statuses of the requests that have ended.
    """

    def __init__(self, to: RouteTarget, timeout_s: float | None = None) -> None:
        self.ended: list[int] = []
        self.transport = MemoryTransport()
        self.edge = Edge(self._begin, edge_limits(HTTPOptions()))
        self._to = to
        self._calls = CallBuilder(timeout_s, ())
        self._connection = HttpConnection(self.edge)
        self._connection.connection_made(self.transport)

    def _begin(self, exchange: Exchange) -> None:
        LayeredForwarding(
            exchange,
            self._to,
            read_options(exchange.head.headers),
            "id",
            self._calls,
            lambda forwarding, status: self.ended.append(status),
            0.0,
        ).begin()

    def send(self, data: bytes) -> None:
        self._connection.data_received(data)

    def leave(self) -> None:
        self._connection.connection_lost(None)

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def ask(self, data: bytes = GET) -> bytes:
        """Send a request; return its response after its end."""
        self.send(data)
        while self.edge.tasks:
            await asyncio.wait(self.edge.tasks)
        await self.settle()
        assert len(self.ended) == 1, self.ended
        return self.transport.written


def status_of(response: bytes) -> int:
    return int(response.split()[1])


# --- tasks ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task_free", "plain", "timeout_s", "sent", "takes_a_task"),
    [
        (True, True, None, GET, False),
        (False, True, None, GET, True),
        (True, False, None, GET, True),
        (True, True, 5.0, GET, True),
        (True, True, None, b"POST /shop HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na", True),
    ],
)
async def test_a_task_only_where_something_needs_one(
    task_free: bool, plain: bool, timeout_s: float | None, sent: bytes, takes_a_task: bool
):
    """A request takes a task only for a layer, a service, a deadline or a body that needs one."""
    bench = Bench(target(Replica(), passes, task_free=task_free, plain=plain), timeout_s)
    bench.send(sent)
    assert bool(bench.edge.tasks) is takes_a_task
    assert (bench.ended == [200]) is not takes_a_task  # in the very step that brought the request
    if sent is not GET:
        bench.send(b"b")
    await bench.settle()
    assert (status_of(bench.transport.written), bench.ended) == (200, [200])
    assert bench.transport.written.endswith(b"hello")


async def test_the_proxy_s_own_answer_takes_no_task():
    """A local response takes no task, with a plain service or not."""
    nowhere = target(
        None,
        passes,
        task_free=True,
        plain=False,
        local_response=lambda options: LocalResponse(404, "no"),
    )
    bench = Bench(nowhere)
    bench.send(GET)
    assert (bench.edge.tasks, bench.ended) == (set(), [404])


# --- rewrites ---------------------------------------------------------------------------


async def test_a_rewritten_request_reaches_the_replica():
    """A replica gets a layer's method, path, query, headers and identity; options are reread."""
    replica = Replica()
    somebody = Identity("somebody")

    def change(request: HttpRequest) -> HttpRequest:
        request = request.with_path("/shop/é").with_headers({"serve_multiplexed_model_id": "m"})
        return request._with(method="PUT", query=b"r=2").with_identity(somebody)

    await Bench(target(replica, changes(change))).ask()
    [call] = replica.got
    head = read_request(call)
    assert (head.method, head.path, head.raw_path) == ("PUT", "/shop/é", b"/shop/%C3%A9")
    assert head.query == b"r=2"
    assert (call.identity, call.model_id, call.app) == (somebody, "m", "shop")


async def test_a_request_that_no_layer_changes_is_the_client_s():
    """Without changes, the replica gets the client's head."""
    replica = Replica()
    await Bench(target(replica, passes)).ask()
    head = read_request(replica.got[0])
    assert (head.method, head.raw_path, head.query) == ("GET", b"/shop/a", b"q=1")
    assert list(head.headers) == [(b"host", b"x")]


@pytest.mark.parametrize(
    ("prefix", "path", "status"),
    [
        ("/shop", "/shop", 200),
        ("/shop", "/shop/b", 200),
        ("/shop", "/shopping", 500),
        ("/shop", "/", 500),
        ("/", "/anything", 200),
    ],
)
async def test_a_layer_keeps_a_request_in_its_route(prefix: str, path: str, status: int):
    """A layer cannot move a request to another route and so bypass that route's layers."""
    replica = Replica()
    layer = changes(lambda request: request.with_path(path))
    response = await Bench(target(replica, layer, prefix=prefix)).ask()
    assert (status_of(response), len(replica.got)) == (status, status == 200)


async def test_headers_that_a_layer_makes_senseless_are_refused():
    """Invalid option headers of a layer are refused like a client's."""
    replica = Replica()
    layer = changes(lambda request: request.with_headers({"x-request-timeout-seconds": "soon"}))
    response = await Bench(target(replica, layer)).ask()
    assert (status_of(response), replica.got) == (400, [])


async def test_a_request_is_passed_on_once():
    """A layer that passes a request on twice gets an error, and may still respond."""
    replica = Replica()

    def layer(service: HttpService) -> HttpService:
        async def call(request: HttpRequest) -> HttpResponse:
            await service(request)
            with pytest.raises(RuntimeError, match="once"):
                await service(request)
            return HttpResponse(202)

        return call

    assert status_of(await Bench(target(replica, layer)).ask()) == 202
    assert len(replica.got) == 1


async def test_an_error_of_the_application_is_a_response_to_layers():
    """Layers see an application's error as a response, and may replace it."""
    seen: list[int] = []

    async def busy(call: Call) -> Reply:
        raise BackPressureError("shop#Desk", 1, 1)

    def layer(service: HttpService) -> HttpService:
        async def call(request: HttpRequest) -> HttpResponse:
            response = await service(request)
            seen.append(response.status)
            return response.with_headers({"x-layer": "1"})

        return call

    response = await Bench(target(Replica(busy), layer)).ask()
    assert (seen, status_of(response)) == ([503], 503)
    assert b"x-layer: 1\r\n" in response


# --- the end ----------------------------------------------------------------------------


async def test_a_reply_that_a_layer_drops_is_closed():
    """A reply that a layer replaces is closed once."""
    rest = Rest(b"part")

    async def streams(call: Call) -> Reply:
        return hello(rest)

    def layer(service: HttpService) -> HttpService:
        async def call(request: HttpRequest) -> HttpResponse:
            await service(request)
            return HttpResponse(403, "no")

        return call

    response = await Bench(target(Replica(streams), layer)).ask()
    assert (status_of(response), rest.closed) == (403, 1)


async def test_a_reply_that_comes_too_late_is_closed():
    """A reply that arrives after a layer's response is closed."""
    rest, go_on = Rest(b"part"), asyncio.Event()

    async def slow(call: Call) -> Reply:
        await go_on.wait()
        return hello(rest)

    late: list[asyncio.Future[HttpResponse]] = []

    def layer(service: HttpService) -> HttpService:
        async def call(request: HttpRequest) -> HttpResponse:
            late.append(asyncio.ensure_future(service(request)))
            await asyncio.sleep(0)
            return HttpResponse(504, "too slow")

        return call

    bench = Bench(target(Replica(slow), layer))
    assert status_of(await bench.ask()) == 504
    assert rest.closed == 0
    go_on.set()
    await asyncio.wait(late)
    assert (rest.closed, bench.ended) == (1, [504])


async def test_a_layer_that_cancels_itself():
    """A layer that raises CancelledError itself causes a 500."""

    def layer(service: HttpService) -> HttpService:
        async def call(request: HttpRequest) -> HttpResponse:
            raise asyncio.CancelledError

        return call

    assert status_of(await Bench(target(Replica(), layer)).ask()) == 500


async def test_a_service_that_cancels_itself():
    """A service that raises CancelledError itself is a response to layers."""

    async def cancelled(call: Call) -> Reply:
        raise asyncio.CancelledError

    assert status_of(await Bench(target(Replica(cancelled), passes)).ask()) == 500


@pytest.mark.parametrize("task_free", [True, False])
async def test_a_client_that_leaves(task_free: bool):
    """A disconnect cancels the replica's call, and the request ends once, with 499."""
    cancelled: list[bool] = []

    async def waits(call: Call) -> Reply:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        raise AssertionError("it has no end")

    bench = Bench(target(Replica(waits), passes, task_free=task_free))
    bench.send(GET)
    await bench.settle()
    assert bench.ended == []
    bench.leave()
    await bench.settle()
    assert (cancelled, bench.ended, bench.transport.written) == ([True], [499], b"")


# --- deadlines --------------------------------------------------------------------------


async def test_layers_that_take_too_long():
    """A slow layer's client gets 504 at the deadline."""

    def layer(service: HttpService) -> HttpService:
        async def call(request: HttpRequest) -> HttpResponse:
            await asyncio.Event().wait()
            raise AssertionError("it has no end")

        return call

    replica = Replica()
    response = await Bench(target(replica, layer), timeout_s=0.01).ask()
    assert (status_of(response), replica.got) == (504, [])


async def test_time_in_layers_counts():
    """A call's deadline includes the time spent in layers."""
    replica = Replica()

    def layer(service: HttpService) -> HttpService:
        async def call(request: HttpRequest) -> HttpResponse:
            while time.monotonic() < began + 0.02:
                await asyncio.sleep(0)
            return await service(request)

        return call

    began = time.monotonic()
    bench = Bench(target(replica, layer), timeout_s=30.0)
    bench.send(GET)
    after = time.monotonic()
    while not bench.ended:
        await asyncio.sleep(0)
    [call] = replica.got
    assert call.deadline is not None
    assert began + 30 <= call.deadline <= after + 30


# --- WebSockets -------------------------------------------------------------------------


class Opened:
    """The connection of a handshake."""

    def __init__(self) -> None:
        self.head = Head("GET", b"/shop/a", "/shop/a", b"", "1.1", [(b"host", b"x")])
        self.peer = Peer(None, None, False, pack_peer(False, None, None))
        self.messages = SimpleNamespace()


def handshake(to: RouteTarget, timeout_s: float | None = None) -> WebSocketHandshake:
    connection: Any = Opened()
    return WebSocketHandshake(connection, to, RequestOptions(), CallBuilder(timeout_s, ()))


def accepted(rest: Any = None) -> Reply:
    return Reply((b"".join(pack_accept("chat", [(b"x-own", b"1")])),), rest)


async def test_a_handshake_passes():
    """An acceptance passes layers unchanged, and its stream stays open."""
    rest = Rest(b"part")

    async def accepts(call: Call) -> Reply:
        return accepted(rest)

    somebody = Identity("somebody")
    replica = Replica(accepts)
    shake = handshake(target(replica, changes(lambda request: request.with_identity(somebody))))
    reply = await shake(shake.make_call("id"))
    assert (bytes(reply.payload[0]), reply.rest) == (bytes(accepted().payload[0]), rest)
    [call] = replica.got
    assert call is shake.call
    assert (call.identity, call.no_shadow, rest.closed) == (somebody, True, 0)


async def test_a_handshake_that_a_layer_denies_after_all():
    """A layer's denial closes the stream of an application that has accepted."""
    rest = Rest()

    async def accepts(call: Call) -> Reply:
        return accepted(rest)

    def layer(service: HttpService) -> HttpService:
        async def call(request: HttpRequest) -> HttpResponse:
            assert request.websocket
            assert (await service(request)).status == 101
            return HttpResponse(403, "no")

        return call

    shake = handshake(target(Replica(accepts), layer))
    reply = await shake(shake.make_call("id"))
    assert (denied_with(reply.payload[0]), rest.closed) == (403, 1)


async def test_a_handshake_whose_layer_is_cancelled():
    """A disconnect during a layer closes the application's stream and cancels the layer."""
    rest, inside = Rest(), asyncio.Event()

    async def accepts(call: Call) -> Reply:
        return accepted(rest)

    def layer(service: HttpService) -> HttpService:
        async def call(request: HttpRequest) -> HttpResponse:
            response = await service(request)
            inside.set()
            await asyncio.Event().wait()
            return response

        return call

    shake = handshake(target(Replica(accepts), layer))
    task = asyncio.ensure_future(shake(shake.make_call("id")))
    await inside.wait()
    task.cancel()
    await asyncio.wait([task])
    assert (task.cancelled(), rest.closed) == (True, 1)


async def test_a_handshake_that_fails_or_leads_nowhere():
    """A failed or unrouted handshake is a denial to layers and client."""

    async def fails(call: Call) -> Reply:
        raise BackPressureError("shop#Desk", 1, 1)

    seen: list[int] = []

    def layer(service: HttpService) -> HttpService:
        async def call(request: HttpRequest) -> HttpResponse:
            response = await service(request)
            seen.append(response.status)
            return response

        return call

    nowhere = target(None, layer, local_response=lambda options: LocalResponse(404, "no"))
    for to, status in ((target(Replica(fails), layer), 503), (nowhere, 404)):
        shake = handshake(to)
        reply = await shake(shake.make_call("id"))
        assert (denied_with(reply.payload[0]), seen.pop()) == (status, status)
