"""Every request ends exactly once, whatever its client or its service does."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest

from alacarte.errors import RequestError
from alacarte.types import Call, DeploymentId, Message, Reply, Route, RouteTable
from alacarte_http._edge.edge import Edge
from alacarte_http._edge.edge_limits import edge_limits
from alacarte_http._edge.http_connection import HttpConnection
from alacarte_http._head_codec import pack_response
from alacarte_http._proxy.proxy_app import ProxyApp
from alacarte_http._websocket.websocket_connection import WebSocketConnection
from alacarte_http.config import HTTPOptions

from ..memory_transport import MemoryTransport
from ..websocket.support import UPGRADE

TABLE = RouteTable(1, (Route("/", "app", {DeploymentId("app", "d"): 1.0}),))
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
CLIENT_CLOSED_REQUEST = 499


class Rest:
    """The endless rest of a reply."""

    def __init__(self) -> None:
        self.num_read = 0
        self.closed = 0

    def __aiter__(self) -> Rest:
        return self

    async def __anext__(self) -> Message:
        self.num_read += 1
        await asyncio.sleep(0)
        return (b"part",)

    async def aclose(self) -> None:
        self.closed += 1


class Proxy:
    """The proxy's handler behind a connection in memory.

    Args:
        plain: Calls are begun without a task.
    """

    def __init__(self, service: Callable[[Call], Any], *, plain: bool = True, **options: Any):
        self.logged: list[int] = []
        self.http = HTTPOptions(**options)
        self._service, self._plain = service, plain
        self.app = ProxyApp(self, self.http, self)  # type: ignore[arg-type]
        self.app.update(TABLE)
        self.edge = Edge(self.app, edge_limits(self.http))

    def connect(self) -> HttpConnection:
        connection = HttpConnection(self.edge)
        connection.connection_made(MemoryTransport())
        return connection

    async def ended(self) -> None:
        """Wait until no request is in progress and no task runs."""
        async with asyncio.timeout(5):
            while self.app.ongoing or self.edge.tasks:
                await asyncio.sleep(0)

    # --- what the application uses of its runtime, and of the access log

    def route_service(self, route: Route, failed: Any) -> Any:
        return self._service

    def is_task_free(self, deployment: DeploymentId) -> bool:
        return self._plain

    def record(self, method: str, path: bytes, route: str, status: int, *_: Any) -> None:
        self.logged.append(status)


def lose(connection: HttpConnection) -> None:
    connection.transport.close()
    connection.connection_lost(None)


def statuses(connection: HttpConnection) -> list[int]:
    transport: Any = connection.transport
    return [int(each) for each in re.findall(rb"HTTP/1.1 (\d+)", transport.written)]


async def hello(call: Call) -> Reply:
    return Reply((pack_response(200, ()) + b"hello",))


async def test_a_body_that_is_refused_in_the_read_of_its_head():
    """A request refused in the read of its head ends, though its task never ran."""
    proxy = Proxy(hello, max_concurrent_requests=2)
    for _ in range(3):
        connection = proxy.connect()
        connection.data_received(CHUNKED + b"ZZ\r\n")
        assert statuses(connection) == [400]
        await proxy.ended()
        lose(connection)
    assert proxy.logged == [CLIENT_CLOSED_REQUEST] * 3
    after = proxy.connect()
    after.data_received(GET)
    assert statuses(after) == [200]
    lose(after)


async def test_a_stream_whose_client_leaves_before_its_first_part():
    """A stream whose client has disconnected is closed at the replica."""
    rest, replied = Rest(), asyncio.get_running_loop().create_future()

    async def service(call: Call) -> Reply:
        return await replied  # type: ignore[no-any-return]

    proxy = Proxy(service)
    connection = proxy.connect()
    connection.data_received(GET)
    replied.set_result(Reply((pack_response(200, ()),), rest))
    asyncio.get_running_loop().call_soon(lose, connection)  # behind the reply, before the task
    await proxy.ended()
    assert (rest.num_read, rest.closed, proxy.logged) == (0, 1, [CLIENT_CLOSED_REQUEST])


@pytest.mark.parametrize("plain", [False, True])
async def test_a_queued_call_whose_turn_comes_as_its_client_leaves(plain):
    """A queued call is not sent if its client disconnects as its turn comes."""
    turn = asyncio.get_running_loop().create_future()
    sent = []

    async def service(call: Call) -> Reply:
        await turn
        sent.append(call)
        return await hello(call)

    proxy = Proxy(service, plain=plain)
    connection = proxy.connect()
    connection.data_received(GET)
    await asyncio.sleep(0)
    turn.set_result(None)
    lose(connection)
    await proxy.ended()
    assert (sent, proxy.logged) == ([], [CLIENT_CLOSED_REQUEST])


@pytest.mark.parametrize("streams", [False, True])
async def test_a_reply_to_a_client_that_has_left(streams):
    """The reply of a service that ignores its cancellation is dropped."""
    rest = Rest()

    async def service(call: Call) -> Reply:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return Reply((pack_response(200, ()),), rest if streams else None)
        raise AssertionError

    proxy = Proxy(service)
    connection = proxy.connect()
    connection.data_received(GET)
    lose(connection)
    await proxy.ended()
    assert (rest.num_read, rest.closed, proxy.logged) == (0, int(streams), [CLIENT_CLOSED_REQUEST])


@pytest.mark.parametrize("plain", [False, True])
async def test_a_service_that_cancels_itself(plain):
    """A service that raises CancelledError itself causes a 500."""

    async def service(call: Call) -> Reply:
        await asyncio.sleep(0)
        raise asyncio.CancelledError

    proxy = Proxy(service, plain=plain)
    connection = proxy.connect()
    connection.data_received(GET)
    await proxy.ended()
    assert (statuses(connection), proxy.logged) == ([500], [500])
    lose(connection)


@pytest.mark.parametrize("plain", [False, True])
async def test_a_stream_that_begins_with_no_response(plain):
    """An invalid reply is closed, and its client gets a response."""
    rest = Rest()

    async def service(call: Call) -> Reply:
        return Reply((b"x",), rest)

    proxy = Proxy(service, plain=plain)
    connection = proxy.connect()
    connection.data_received(GET)
    await proxy.ended()
    assert (statuses(connection), proxy.logged, rest.closed) == ([500], [500], 1)
    lose(connection)


@pytest.mark.parametrize("plain", [False, True])
async def test_requests_sent_ahead_are_not_in_progress_at_once(plain):
    """Pipelined requests are in progress one at a time."""

    async def service(call: Call) -> Reply:
        await asyncio.sleep(0)
        return await hello(call)

    proxy = Proxy(service, plain=plain, max_concurrent_requests=1)
    connection = proxy.connect()
    connection.data_received(GET * 3)
    async with asyncio.timeout(5):
        while len(statuses(connection)) < 3:
            await asyncio.sleep(0)
    assert statuses(connection) == [200] * 3
    await proxy.ended()
    assert proxy.logged == [200] * 3
    lose(connection)


async def test_a_refusal_as_a_request_that_has_waited_is_to_begin():
    """A refusal waits for the responses to earlier requests."""
    replied = asyncio.get_running_loop().create_future()

    async def service(call: Call) -> Reply:
        return await replied  # type: ignore[no-any-return]

    proxy = Proxy(service)
    connection = proxy.connect()
    connection.data_received(GET + GET)
    replied.set_result(await hello(None))  # type: ignore[arg-type]
    asyncio.get_running_loop().call_soon(connection.data_received, b"nonsense\r\n\r\n")
    async with asyncio.timeout(5):
        while len(statuses(connection)) < 3:
            await asyncio.sleep(0)
    assert statuses(connection) == [200, 200, 400]
    await proxy.ended()
    lose(connection)


@pytest.mark.parametrize("target", [b"OPTIONS *", b"GET /-/healthz"])
async def test_local_responses_wait_for_a_client_that_does_not_read(target):
    """Local responses wait for a client that does not read, so that memory is bounded."""
    proxy = Proxy(hello)
    connection = proxy.connect()
    connection.flow.pause_writing()
    connection.data_received((target + b" HTTP/1.1\r\nHost: x\r\n\r\n") * 100)
    await asyncio.sleep(0)
    assert statuses(connection) == []
    assert connection.flow.read_paused
    connection.resume_writing()
    async with asyncio.timeout(5):
        while len(statuses(connection)) < 100:
            await asyncio.sleep(0)
    assert statuses(connection) == [200] * 100
    lose(connection)


SMALL_POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n%b\r\nhello"


@pytest.mark.parametrize("expect", [b"", b"Expect: 100-continue\r\n"])
async def test_a_small_upload_in_one_read_takes_no_task(expect):
    """A small upload in one read takes no task, and needs no 100 Continue."""
    bodies = []

    async def service(call: Call) -> Reply:
        bodies.append(bytes(call.payload[1]))
        assert call.body is None
        await asyncio.sleep(0)
        return await hello(call)

    proxy = Proxy(service)
    connection = proxy.connect()
    connection.data_received(SMALL_POST % expect * 3)
    assert len(bodies) == 1
    while len(statuses(connection)) < 3:
        assert not proxy.edge.tasks
        await asyncio.sleep(0)
    assert statuses(connection) == [200] * 3
    assert bodies == [b"hello"] * 3
    assert not connection.transport.is_closing()
    lose(connection)


async def test_an_upload_whose_end_comes_later():
    """An upload that ends later is read in a task, from its first part on."""
    bodies = []

    async def service(call: Call) -> Reply:
        rest = [] if call.body is None else [bytes(part) async for [part] in call.body]
        bodies.append(b"".join([*call.payload[1:], *rest]))
        return await hello(call)

    proxy = Proxy(service)
    connection = proxy.connect()
    connection.data_received(SMALL_POST[:-2] % b"")
    assert len(proxy.edge.tasks) == 1
    await asyncio.sleep(0)
    connection.data_received(b"lo" + GET)
    async with asyncio.timeout(5):
        while len(statuses(connection)) < 2:
            await asyncio.sleep(0)
    assert (statuses(connection), bodies) == ([200, 200], [b"hello", b""])
    lose(connection)


class Untold(RequestError):
    """An error whose attributes raise."""

    @property
    def status(self) -> int:
        raise KeyError("status")


class Strange:
    """Await an object that asyncio does not support."""

    def __await__(self) -> Any:
        yield 17


def gives(value: Any) -> Any:
    async def service(call: Call) -> Any:
        return value

    return service


def raises_at_once(call: Call) -> Any:
    raise KeyError("x")


def is_no_coroutine(call: Call) -> Any:
    return 17


async def raises_the_untold(call: Call) -> Any:
    raise Untold("x")


async def waits_for_anything(call: Call) -> Any:
    await Strange()


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(
    "service",
    [
        gives(None),
        gives(17),
        gives(Reply(17)),  # type: ignore[arg-type]
        gives(Reply((17,))),  # type: ignore[arg-type]
        gives(Reply((), 17)),  # type: ignore[arg-type]
        raises_at_once,
        is_no_coroutine,
        raises_the_untold,
        waits_for_anything,
    ],
)
async def test_a_layer_that_breaks_the_contract_of_a_service(service, plain):
    """A request of a broken service gets a response and frees its slot in the proxy."""
    proxy = Proxy(service, plain=plain, max_concurrent_requests=1)
    for _ in range(3):
        connection = proxy.connect()
        connection.data_received(GET)
        await proxy.ended()
        assert statuses(connection) == [500]
        lose(connection)
    assert len(proxy.logged) == 3


@pytest.mark.parametrize("value", [None, 17, Reply(()), Reply((b"",)), Reply((17,))])  # type: ignore[arg-type]
async def test_a_layer_that_answers_a_handshake_with_anything(value):
    """A handshake with an invalid reply gets a response, which is logged."""
    proxy = Proxy(gives(value))
    connections: set[Any] = set()
    edge = Edge(
        proxy.app,
        edge_limits(proxy.http),
        lambda: WebSocketConnection(proxy.app.websocket, connections, proxy.edge.tasks, 1000),
    )
    connection = HttpConnection(edge)
    connection.connection_made(MemoryTransport())
    connection.data_received(UPGRADE % b"/")
    await asyncio.sleep(0)
    await proxy.ended()
    assert (statuses(connection), proxy.logged) == ([500], [500])
    [websocket] = connections
    websocket.connection_lost(None)
