"""WebSockets through proxy and replica, with the client of websockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from alacarte import serve
from alacarte.serve import _current
from alacarte.testing import wait_until
from alacarte_http._websocket import websocket_connection as websocket_connection
from alacarte_http._websocket.websocket_connection import WebSocketConnection

from .. import gates
from ..gates import WAIT_S
from .apps import Items, echo, handshake, various
from .support import UPGRADE, serve_app

pytestmark = pytest.mark.once  # bytes on a socket, the same whatever Python answers


@contextlib.asynccontextmanager
async def opened(site: Any, path: str = "/", **options: Any) -> AsyncIterator[ClientConnection]:
    # A socket of its own: whatever proxy the environment names is not for tests.
    own = socket.create_connection(("127.0.0.1", site.port), timeout=WAIT_S)
    own.setblocking(False)
    url = f"ws://127.0.0.1:{site.port}{path}"
    async with connect(url, sock=own, open_timeout=WAIT_S, **options) as client:
        yield client


async def note() -> Any:
    """Return the next note of the handlers, without blocking this loop."""
    return await asyncio.to_thread(gates.GATE.next_note)


async def closed(client: ClientConnection) -> tuple[int | None, str]:
    """Wait until the other side has closed; return code and reason."""
    async with asyncio.timeout(WAIT_S):
        with contextlib.suppress(ConnectionClosed):
            while True:
                await client.recv()
    return client.close_code, client.close_reason or ""


async def refused(site: Any, path: str = "/", **options: Any) -> Any:
    """Connect, be refused, and return the response."""
    with pytest.raises(InvalidStatus) as caught:
        async with opened(site, path, **options):
            pass
    return caught.value.response


# --- messages ---------------------------------------------------------------------------


async def test_messages_come_back_as_they_went(site: Any) -> None:
    """Text and bytes come back in order, from empty to a megabyte."""
    serve_app(site, echo)
    async with opened(site, max_size=None) as client:
        for message in ("hello", "", b"", "ünïcode ✓", b"\x00\xff", "x" * 200, os.urandom(70_000)):
            await client.send(message)
            assert await client.recv() == message
        for message in (os.urandom(1 << 20), "é" * (1 << 19)):
            await client.send(message)
            assert await client.recv() == message
        for index in range(200):
            await client.send(str(index))
        assert [await client.recv() for _ in range(200)] == [str(index) for index in range(200)]


async def test_fragments_are_one_message(site: Any) -> None:
    """A fragmented message reaches the application as one."""
    serve_app(site, echo)
    async with opened(site) as client:
        await client.send(["one ", "", "two ", "three"])
        assert await client.recv() == "one two three"
        await client.send([b"\x01", b"\x02" * 70_000])
        assert await client.recv() == b"\x01" + b"\x02" * 70_000


async def test_pings_are_answered(site: Any) -> None:
    """The proxy answers pings with their payload, even between messages."""
    serve_app(site, echo)
    async with opened(site) as client:
        async with asyncio.timeout(WAIT_S):
            await (await client.ping(b"are you there"))
        await client.send("yes")
        assert await client.recv() == "yes"


async def test_a_message_too_long_closes_with_1009(start: Any) -> None:
    """A message above the limit closes with 1009, which the application sees."""
    site = start(max_websocket_message_bytes=1000)
    serve_app(site, echo)
    async with opened(site) as client:
        await client.send(b"x" * 1000)
        assert await client.recv() == b"x" * 1000
        await client.send([b"x" * 600, b"x" * 600])
        assert (await closed(client))[0] == 1009
    assert (await note())[0] == 1009


async def test_text_that_is_none_closes_with_1007(site: Any) -> None:
    """Text that is not UTF-8 closes with 1007."""
    serve_app(site, echo)
    async with opened(site) as client:
        await client.send(b"\xff\xfe", text=True)
        assert (await closed(client))[0] == 1007
    assert (await note())[0] == 1007


# --- closing ----------------------------------------------------------------------------


async def test_the_clients_close_reaches_the_application(site: Any) -> None:
    """The client's close reaches the application, and its code is echoed."""
    serve_app(site, echo)
    async with opened(site) as client:
        await client.close(4123, "enough")
        assert client.close_code == 4123
    assert await note() == (4123, "enough")


async def test_the_applications_close_reaches_the_client(site: Any) -> None:
    """The application's close reaches the client, and `receive` returns it."""
    serve_app(site, handshake)
    async with opened(site) as client:
        assert await closed(client) == (4321, "told")
    assert await note() == {"type": "websocket.disconnect", "code": 4321, "reason": "told"}


@pytest.mark.parametrize(("deed", "code"), [("return", 1000), ("raise", 1011), ("cancelled", 1011)])
async def test_how_an_application_ends_is_how_its_socket_closes(
    site: Any, deed: str, code: int
) -> None:
    """Returning closes with 1000, an exception with 1011 and without details."""
    serve_app(site, various)
    async with opened(site, f"/{deed}") as client:
        assert (await closed(client))[0] == code
        assert "secret" not in (client.close_reason or "")


async def test_a_code_that_must_not_be_sent_is_refused(site: Any) -> None:
    """An invalid close code raises an error that lists the valid ones."""
    serve_app(site, various)
    async with opened(site, "/bad_code") as client:
        await closed(client)
    assert "3000 to 4999" in await note()


async def test_a_reason_too_long_is_an_error(site: Any) -> None:
    """A close reason of 124 bytes raises."""
    serve_app(site, various)
    async with opened(site, "/long_reason") as client:
        assert (await closed(client))[0] == 1011


def raw(site: Any, path: bytes = b"/") -> socket.socket:
    """Return a socket with an open WebSocket."""
    client = socket.create_connection(("127.0.0.1", site.port), timeout=WAIT_S)
    client.sendall(UPGRADE % path)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += client.recv(1)
    assert head.startswith(b"HTTP/1.1 101 ")
    return client


async def test_a_reset_is_a_disconnect_with_1006(site: Any) -> None:
    """A reset connection ends `receive` with code 1006."""
    serve_app(site, echo)
    client = await asyncio.to_thread(raw, site)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    assert await note() == (1006, "")


async def test_a_silent_client_is_found_dead(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that answers no ping is closed with 1011; the application sees 1006."""
    monkeypatch.setattr(websocket_connection, "PING_INTERVAL_S", 0.05)
    serve_app(site, echo)
    client = await asyncio.to_thread(raw, site)
    received = b""
    while piece := await asyncio.to_thread(client.recv, 4096):
        received += piece
    client.close()
    assert received.startswith(b"\x89\x08alacarte\x88")
    assert received[12:14] == struct.pack("!H", 1011)
    assert (await note())[0] == 1006


async def test_pings_keep_a_quiet_connection(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that answers pings stays connected without messages."""
    monkeypatch.setattr(websocket_connection, "PING_INTERVAL_S", 0.2)
    serve_app(site, echo)
    async with opened(site) as client:
        pongs = 0
        before = client.protocol.receive_data

        def count(data: bytes) -> None:
            nonlocal pongs
            pongs += data.startswith(b"\x89")
            before(data)

        monkeypatch.setattr(client.protocol, "receive_data", count)
        await asyncio.to_thread(wait_until, lambda: pongs >= 3)
        await client.send("still here")
        assert await client.recv() == "still here"


async def test_before_accepting_a_handler_is_cancelled_with_its_client(site: Any) -> None:
    """A disconnect before the acceptance cancels the handler."""
    serve_app(site, various)
    client = socket.create_connection(("127.0.0.1", site.port), timeout=WAIT_S)
    client.sendall(UPGRADE % b"/stay_before")
    await asyncio.to_thread(gates.GATE.entered)
    client.close()
    assert await note() == "cancelled"


async def test_after_accepting_a_handler_has_time_to_return(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the acceptance, a disconnected handler is cancelled only after its grace period."""
    monkeypatch.setattr(websocket_connection, "APPLICATION_GRACE_S", 0.3)
    serve_app(site, various)
    client = await asyncio.to_thread(raw, site, b"/stay")
    client.close()
    await asyncio.to_thread(gates.GATE.entered)
    assert await note() == "cancelled"


# --- the handshake ----------------------------------------------------------------------


async def test_the_application_sees_the_handshake(site: Any) -> None:
    """The application sees the handshake, and the client its subprotocol and headers."""
    serve_app(site, handshake, "/app")
    async with opened(
        site,
        "/app/a%20b?q=1",
        subprotocols=["first", "second"],
        additional_headers={"X-Request-ID": "my-id", "X-Other": "2"},
    ) as client:
        seen = json.loads(await client.recv())
        assert client.subprotocol == "second"
        headers = client.response.headers
        assert headers["x-own"] == "1"
        assert headers["x-request-id"] == "my-id"
        assert headers["connection"] == "Upgrade"
    assert seen["type"] == "websocket"
    assert seen["path"] == "/app/a b"
    assert seen["root_path"] == "/app"
    assert seen["query"] == "q=1"
    assert seen["scheme"] == "ws"
    assert seen["subprotocols"] == ["first", "second"]
    assert seen["headers"]["x-other"] == "2"
    assert seen["client"] == "127.0.0.1"
    assert not seen["method"]


async def test_a_request_id_is_made_where_none_is_given(site: Any) -> None:
    """Every handshake's response has a request id."""
    serve_app(site, echo)
    async with opened(site) as client:
        assert len(client.response.headers["x-request-id"]) == 32


async def test_a_denial_response_arrives_whole(site: Any) -> None:
    """An application can deny a handshake with a whole response."""
    serve_app(site, various)
    response = await refused(site, "/deny")
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Basic"
    assert response.body == b"who are you?"


@pytest.mark.parametrize(
    ("path", "status"),
    [("/refuse", 403), ("/raise_before", 500), ("/silent", 500), ("/-/healthz", 404)],
)
async def test_refusals(site: Any, path: str, status: int) -> None:
    """Closing before accepting is 403, failing is 500, and paths below `/-/` are 404."""
    serve_app(site, various)
    response = await refused(site, path)
    assert response.status_code == status
    assert b"secret" not in response.body


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_a_refused_handshake_is_answered_and_then_read(site: Any, method: bytes) -> None:
    """Bytes behind a refused handshake are read and dropped, so that no reset follows."""
    with site.wire() as wire:
        wire.send((UPGRADE % b"/nowhere").replace(b"GET", method))
        head = wire.head()
        body = wire.rest()  # to the end of the stream: no more is written
        assert len(body) == (0 if method == b"HEAD" else int(head["content-length"]))
        for _ in range(3):
            wire.send(b"x" * 1000)  # fails once the other side has closed its socket


def test_a_broken_frame_is_answered_and_the_rest_read(site: Any) -> None:
    """The close after a broken frame arrives, even if the client keeps sending."""
    serve_app(site, echo)
    with site.wire() as wire:
        wire.send(UPGRADE % b"/")
        assert wire.head().status == 101
        wire.send(b"\xf1\x80\0\0\0\0")
        close = wire.rest()
        assert (close[0], struct.unpack_from("!H", close, 2)[0]) == (0x88, 1002)
        for _ in range(3):
            wire.send(b"x" * 1000)


async def test_a_path_without_a_route_is_404(site: Any) -> None:
    """A handshake without a route is 404."""
    serve_app(site, echo, "/app")
    assert (await refused(site, "/other")).status_code == 404


async def test_a_plain_handler_takes_no_websockets(
    site: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A plain handler denies WebSockets with 403, and the log has the remedy."""

    @serve.deployment
    async def plain() -> str:
        return "plain"

    site.run(plain.bind())
    assert (await refused(site)).status_code == 403
    assert "@serve.ingress" in caplog.text
    assert site.http.get("/").text == "plain"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ((b"Version: 13", b"Version: 8"), b"426"),
        ((b"GET", b"POST"), b"405"),
        ((b"dGhlIHNhbXBsZSBub25jZQ==", b"c2hvcnQ="), b"400"),
        ((b"dGhlIHNhbXBsZSBub25jZQ==", b"!!!"), b"400"),
    ],
)
def test_a_handshake_that_is_none(site: Any, change: tuple[bytes, bytes], status: bytes) -> None:
    """An invalid handshake gets the reason, and its connection is closed."""
    serve_app(site, echo)
    with socket.create_connection(("127.0.0.1", site.port), timeout=WAIT_S) as client:
        client.sendall((UPGRADE % b"/").replace(*change))
        answer = b""
        while piece := client.recv(4096):
            answer += piece
    assert answer.split(b" ")[1] == status


async def test_a_deadline_ends_with_the_handshake(start: Any) -> None:
    """A late handshake is 504 and cancels the handler; an open WebSocket has no deadline."""
    site = start(request_timeout_s=1.5)
    serve_app(site, various)
    short = {"x-request-timeout-seconds": "0.2"}
    assert (await refused(site, "/stay_before", additional_headers=short)).status_code == 504
    assert await note() == "cancelled"
    serve_app(site, echo)
    async with opened(site) as client:
        with pytest.raises(TimeoutError):  # nothing comes, a close no more than a message
            await asyncio.wait_for(client.recv(), 1.6)
        await client.send("late")
        assert await client.recv() == "late"


async def test_a_receive_that_times_out_loses_no_message(site: Any) -> None:
    """A handler that times out in `receive` does not lose the message."""
    serve_app(site, various)
    async with opened(site, "/polls") as client:
        assert [await client.recv() for _ in range(6)] == ["waiting"] * 6
        await client.send("late")
        assert await client.recv() == "late"


async def test_a_connection_holds_its_slot(site: Any) -> None:
    """A WebSocket occupies its slot: with slot and queue full, the next one gets 503."""
    serve_app(site, echo, max_ongoing_requests=1, max_queued_requests=1)

    async def attempt() -> Any:
        try:
            async with opened(site) as client:
                await client.send("in turn")
                return await client.recv()
        except InvalidStatus as error:
            return error.response

    async with opened(site) as client:
        await client.send("mine")
        assert await client.recv() == "mine"
        both = {asyncio.create_task(attempt()), asyncio.create_task(attempt())}
        [shed], [queued] = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        assert shed.result().status_code == 503
        assert shed.result().headers["retry-after"] == "1"
    assert await queued == "in turn"


# --- flow -------------------------------------------------------------------------------


async def test_an_application_that_does_not_read_holds_its_client_back(site: Any) -> None:
    """An application that does not read slows its client down."""
    serve_app(site, various)
    sent = 0

    async def send() -> None:
        nonlocal sent
        while sent < 64 << 20:
            await client.send(bytes(1 << 16))
            sent += 1 << 16

    async with opened(site, "/deaf", ping_interval=None, close_timeout=1) as client:
        await asyncio.to_thread(gates.GATE.entered)
        sending = asyncio.create_task(send())
        before = -1
        while before != sent:  # until a quarter of a second brings nothing new
            before = sent
            await asyncio.wait([sending], timeout=0.25)
        assert sent < 32 << 20
        gates.GATE.open.set()
        async with asyncio.timeout(WAIT_S * 2):
            await sending
        await client.close(1000)
    notes = []
    while not notes or notes[-1] != 1000:
        notes.append(await note())
    assert notes[-2] == 64 << 20


async def test_a_client_that_does_not_read_holds_its_application_back(site: Any) -> None:
    """A client that does not read slows the application down; after a disconnect, send raises."""
    serve_app(site, various)
    gates.GATE.sent = 0  # type: ignore[attr-defined]
    client = await asyncio.to_thread(raw, site, b"/flood")

    def sent() -> int:
        found: int = gates.GATE.sent  # type: ignore[attr-defined]
        return found

    before = -1
    while before != sent() or not before:
        before = sent()
        await asyncio.wait([asyncio.create_task(asyncio.to_thread(client.fileno))])
        await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=0.25)
    assert sent() < 32 << 20
    client.close()
    assert await note() == "WebSocketDisconnect"


async def test_one_direction_does_not_hold_up_the_other(site: Any) -> None:
    """A client that does not read can still send."""
    serve_app(site, various)
    client = await asyncio.to_thread(raw, site, b"/both")
    frame = struct.pack("!BBQ", 0x82, 0xFF, 1 << 18) + b"\0\0\0\0" + bytes(1 << 18)

    def send() -> None:
        for _ in range(64):
            client.sendall(frame)
        client.sendall(b"\x81\x83\0\0\0\0end")

    await asyncio.to_thread(send)
    assert await note() == 16 << 20
    client.close()


async def test_a_flood_of_pings_is_bounded(site: Any) -> None:
    """A client that sends pings without reading pongs is not read."""
    serve_app(site, echo)
    client = await asyncio.to_thread(raw, site)
    client.setblocking(False)
    ping = b"\x89\xfd\0\0\0\0" + bytes(125)
    loop = asyncio.get_running_loop()
    total = 0
    with contextlib.suppress(TimeoutError):
        while total < 64 << 20:
            await asyncio.wait_for(loop.sock_sendall(client, ping * 500), 2)
            total += len(ping) * 500
    client.close()
    assert total < 64 << 20


# --- ends -------------------------------------------------------------------------------


async def test_a_replica_that_dies_closes_with_1011(site: Any) -> None:
    """A lost replica closes its WebSockets with 1011 and a reason."""
    serve_app(site, echo)
    async with opened(site) as client:
        await client.send("here")
        assert await client.recv() == "here"
        await asyncio.to_thread(_kill_replicas)
        assert await closed(client) == (1011, "the replica was lost")


def _kill_replicas() -> None:
    """Kill every replica, like `kill -9`."""
    for name, actor in list(_current.current().cluster._actors.items()):
        if "replica:" in name:
            actor.kill()


async def test_a_replica_that_stops_closes_with_1012(site: Any) -> None:
    """A stopping replica closes its WebSockets with 1012 after its grace period."""
    serve_app(site, echo, graceful_shutdown_timeout_s=0.2)
    async with opened(site) as client:
        await client.send("here")
        assert await client.recv() == "here"
        await asyncio.to_thread(serve.delete, "default")
        assert await closed(client) == (1012, "service restart")


async def test_a_proxy_that_leaves_closes_with_1012(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A draining proxy closes with 1012, which the application sees."""
    connections: list[WebSocketConnection] = []
    before = WebSocketConnection.connection_made

    def made(self: WebSocketConnection, transport: Any) -> None:
        connections.append(self)
        before(self, transport)

    monkeypatch.setattr(WebSocketConnection, "connection_made", made)
    serve_app(site, echo)
    async with opened(site) as client:
        await client.send("here")
        assert await client.recv() == "here"
        [connection] = connections
        connection.loop.call_soon_threadsafe(connection.drain)
        assert await closed(client) == (1012, "service restart")
    assert await note() == (1012, "service restart")


# --- frameworks -------------------------------------------------------------------------


async def test_fastapi_routes(site: Any) -> None:
    """WebSocket routes can be methods with parameters; other paths are refused."""
    serve_app(site, Items)
    async with opened(site, "/items/3?q=x") as client:
        await client.send("hello")
        assert json.loads(await client.recv()) == {"items": 3, "q": "x", "text": "hello"}
    assert (await refused(site, "/nothing")).status_code == 403


async def test_a_handler_whose_client_left_ends_quietly(
    site: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Starlette's `WebSocketDisconnect` is how handlers usually end; no error is logged."""
    serve_app(site, Items, max_ongoing_requests=1)
    async with opened(site, "/items/3") as client:
        await client.send("hello")
        await client.recv()
    assert await note() == "left"
    async with opened(site, "/items/4"):  # which waits for its slot, so for all of its end
        pass
    assert "failed" not in caplog.text
