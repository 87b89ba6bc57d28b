"""Plain ASGI applications behind `@serve.ingress`: their scopes, messages and ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from alacarte import serve
from alacarte.errors import BackPressureError
from alacarte.types import Call, UserCallable
from alacarte_http._head_codec import unpack_response
from alacarte_http._replica.asgi_exchange import ASGIExchange
from alacarte_http._replica.received_body import ReceivedBody

from .. import gates

START = {"type": "http.response.start", "status": 200, "headers": []}


async def raw(scope: Any, receive: Any, send: Any) -> None:
    """A plain ASGI application without a lifespan."""
    assert scope["type"] == "http"
    await CASES[scope["path"].removeprefix("/")](receive, send)


async def body(send: Any, content: bytes = b"", more: bool = False) -> None:
    await send({"type": "http.response.body", "body": content, "more_body": more})


async def whole(receive: Any, send: Any) -> None:
    await send(START)
    await body(send, b"whole")


async def parts(receive: Any, send: Any) -> None:
    await send({**START, "trailers": True})
    for content in (b"a", b"", b"b"):
        await body(send, content, True)
    await body(send, b"c")
    await send({"type": "http.response.trailers", "headers": []})


async def by_length(receive: Any, send: Any) -> None:
    await send({**START, "headers": [(b"content-length", b"3")]})
    await receive()
    await body(send, b"abc", True)
    await body(send)
    gates.GATE.note((await receive())["type"])


async def after_response(receive: Any, send: Any) -> None:
    await receive()
    await whole(receive, send)
    gates.GATE.note((await receive())["type"])


async def listening(receive: Any, send: Any) -> None:
    await receive()
    gates.GATE.inside.release()
    message = await receive()
    try:
        await send(START)
    except OSError:
        gates.GATE.note(message["type"])


async def staying(receive: Any, send: Any) -> None:
    await gates.GATE.wait_cancelled()


async def endless(receive: Any, send: Any) -> None:
    await send(START)
    sent = 0
    gates.GATE.inside.release()
    try:
        while True:
            await body(send, bytes(65536), True)
            sent += 65536
            if sent > 200_000_000:
                gates.GATE.note("too much")
                return
    except asyncio.CancelledError:
        gates.GATE.note("held back")
        raise


async def head_first(receive: Any, send: Any) -> None:
    await send(START)
    await gates.GATE.pass_async()
    await body(send, b"body")


async def failing_later(receive: Any, send: Any) -> None:
    await send(START)
    await gates.GATE.pass_async()
    raise ValueError("secret reason")


async def nothing(receive: Any, send: Any) -> None:
    pass


async def only_start(receive: Any, send: Any) -> None:
    await send(START)


async def body_first(receive: Any, send: Any) -> None:
    await body(send, b"x")


async def twice(receive: Any, send: Any) -> None:
    await send(START)
    await send(START)


async def unknown(receive: Any, send: Any) -> None:
    await send({"type": "http.response.push", "path": "/"})


async def bad_header(receive: Any, send: Any) -> None:
    await send({**START, "headers": [(b"x", b"a\r\nb: c")]})


async def raising(receive: Any, send: Any) -> None:
    raise ValueError("secret reason")


async def ending_the_program(receive: Any, send: Any) -> None:
    raise SystemExit(3)


async def busy(receive: Any, send: Any) -> None:
    raise BackPressureError("x", 9, 8, 2.5)


async def breaking_off(receive: Any, send: Any) -> None:
    await send(START)
    await body(send, b"begun", True)
    raise ValueError("secret reason")


async def stopping_short(receive: Any, send: Any) -> None:
    await send(START)
    await body(send, b"begun", True)


async def late(receive: Any, send: Any) -> None:
    await whole(receive, send)
    raise ValueError("too late to tell")


Case = Callable[[Any, Any], Awaitable[None]]
CASES: dict[str, Case] = {
    case.__name__: case
    for case in (
        whole, parts, by_length, after_response, listening, staying, endless, nothing, only_start,
        body_first, twice, unknown, bad_header, raising, busy, breaking_off, stopping_short, late,
        head_first, failing_later, ending_the_program,
    )
}  # fmt: skip


@serve.deployment(max_ongoing_requests=4)
@serve.ingress(raw)
class Raw:
    pass


@pytest.fixture
def bare(site):
    site.run(Raw.bind())
    return site


@pytest.mark.parametrize(
    ("path", "text"), [("/whole", "whole"), ("/parts", "abc"), ("/by_length", "abc")]
)
def test_responses(bare, path, text):
    """Responses of one or several messages are sent, without trailers."""
    with bare.wire() as wire:
        for _ in range(2):
            wire.ask(path)
            answer = wire.answer()
            assert (answer.status, answer.body.decode()) == (200, text)


def test_a_whole_response_in_parts_is_no_stream(bare):
    """A body of its whole Content-Length is one reply, despite more_body=True."""
    with bare.wire() as wire:
        wire.ask("/by_length")
        assert wire.answer()["content-length"] == "3"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_head_does_not_wait_for_its_body(bare, gate, method):
    """A head is sent before the application sends its body."""
    with bare.wire() as wire:
        wire.ask("/head_first", method)
        assert wire.head().status == 200
        gate.entered()
        gate.open.set()
        if method == "GET":
            assert (wire.chunk(), wire.chunk()) == (b"body", b"")
        wire.ask("/whole")
        assert wire.answer().body == b"whole"


def test_a_failure_between_head_and_body(bare, gate):
    """A failure between head and body truncates the response visibly."""
    with bare.wire() as wire:
        wire.ask("/failing_later")
        assert wire.head().status == 200
        gate.open.set()
        assert wire.rest() == b""


def test_an_application_that_ends_the_program(bare, gate):
    """SystemExit ends only its own request, with 500."""
    with bare.wire() as beside, bare.wire() as wire:
        beside.ask("/head_first")
        assert beside.head().status == 200
        gate.entered()
        wire.ask("/ending_the_program")
        assert wire.answer().status == 500
        wire.ask("/whole")
        assert wire.answer().body == b"whole"
        gate.open.set()
        assert (beside.chunk(), beside.chunk()) == (b"body", b"")


class Through(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        return response


@pytest.mark.parametrize("layers", [0, 1, 3])
async def test_head_and_body_that_come_together_leave_together(layers: int):
    """A whole response is one reply through any number of middleware."""

    async def answer(request: Request) -> Response:
        return PlainTextResponse("whole")

    async def stream(request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            yield b"one"
            await asyncio.Event().wait()

        return StreamingResponse(parts())

    app = Starlette(
        routes=[Route("/whole", answer), Route("/stream", stream)],
        middleware=[Middleware(Through)] * layers,
    )
    for path, streams in (("/whole", False), ("/stream", True)):
        scope: Any = {"type": "http", "method": "GET", "path": path, "headers": [], "state": {}}
        served, call = cast(UserCallable, None), cast(Call, None)
        exchange = ASGIExchange(app, scope, ReceivedBody(memoryview(b""), None), served, call)
        reply = await exchange.reply()
        _, content = unpack_response(b"".join(reply.payload))
        assert bytes(content) == (b"one" if streams else b"whole")
        assert (reply.rest is not None) == streams
        await exchange.aclose()


async def test_no_part_is_lost_to_a_cancelled_reader():
    """A part sent in the iteration in which the reader is cancelled is not lost."""
    go_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await body(send, b"one", more=True)
        await go_on.wait()
        await body(send, b"two", more=True)
        await asyncio.Event().wait()

    scope: Any = {"type": "http", "method": "GET", "path": "/", "headers": [], "state": {}}
    served, call = cast(UserCallable, None), cast(Call, None)
    exchange = ASGIExchange(app, scope, ReceivedBody(memoryview(b""), None), served, call)
    reply = await exchange.reply()
    assert reply.rest is exchange
    reader = asyncio.ensure_future(anext(exchange))
    await asyncio.sleep(0)
    taken: list[Any] = []

    def on_ready() -> None:
        reader.cancel()  # a CANCEL that arrives now; the turn's end is still to come
        taken.append(exchange.take_ready())

    exchange.on_ready = on_ready
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert taken == [None]
    await exchange.aclose()


@pytest.mark.parametrize("path", ["/after_response", "/by_length"])
def test_after_the_response(bare, gate, path):
    """After the response, `receive()` returns `http.disconnect`."""
    bare.http.get(path)
    assert gate.next_note() == "http.disconnect"


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        ("/nothing", "returned without a response"),
        ("/only_start", "returned without a response"),
        ("/body_first", "before http.response.start, the ASGI application must not send"),
        ("/twice", "after http.response.start, the ASGI application must not send"),
        ("/unknown", "must not send 'http.response.push'"),
        ("/bad_header", "contains a control character"),
        ("/raising", "secret reason"),
    ],
)
def test_mistakes(bare, caplog, path, logged):
    """A violation of ASGI is a 500 and one log entry that names it."""
    with caplog.at_level(logging.ERROR), bare.wire() as wire:
        wire.ask(path)
        assert (wire.answer().status, logged in caplog.text) == (500, True)
        wire.ask("/whole")
        assert wire.answer().body == b"whole"
    assert len([item for item in caplog.records if item.name.startswith("alacarte")]) == 1


def test_errors_of_nested_calls(bare):
    """Errors of nested calls reach the proxy, which maps their status."""
    answer = bare.http.get("/busy")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")


@pytest.mark.parametrize("path", ["/breaking_off", "/stopping_short"])
def test_responses_that_break_off(bare, path):
    """A response that breaks off is visibly truncated."""
    with bare.wire() as wire:
        wire.ask(path)
        assert wire.head().status == 200
        assert not wire.rest().endswith(b"0\r\n\r\n")


def test_a_failure_after_the_response(bare, caplog):
    """A failure after the response is logged, and the client has its response."""
    with caplog.at_level(logging.ERROR):
        assert bare.http.get("/late").text == "whole"
        serve.delete("default")
    assert "too late to tell" in caplog.text


def test_an_application_that_listens(bare, gate):
    """A waiting application gets `http.disconnect`, and its next send raises."""
    with bare.wire() as wire:
        wire.ask("/listening")
        gate.entered()
    assert gate.next_note() == "http.disconnect"


def test_an_application_that_does_not_listen(bare, gate):
    """An application that does not await a disconnect is cancelled."""
    with bare.wire() as wire:
        wire.ask("/staying")
        gate.entered()
    assert gate.next_note() == "cancelled"


def test_a_slow_client(bare, gate):
    """A slow client slows the application down; its disconnect ends the application."""
    with bare.wire(receive_buffer=4096) as wire:
        wire.ask("/endless")
        gate.entered()
        wire.head()
    assert gate.next_note() == "held back"
    assert bare.http.get("/whole").text == "whole"


# --- Starlette --------------------------------------------------------------------------


async def root(request: Request) -> Response:
    if "busy" in request.query_params:
        raise BackPressureError("x", 9, 8, 2.5)
    return JSONResponse([request.url.path, request.scope["root_path"], request.app.state.name])


async def inner(request: Request) -> Response:
    return PlainTextResponse(str(request.url_for("inner")))


class Stamp:
    def __init__(self, app: Any, stamp: str) -> None:
        self.app = app
        self.stamp = stamp.encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def stamped(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-stamp", self.stamp)]
            await send(message)

        await self.app(scope, receive, stamped)


starlette = Starlette(
    routes=[
        Route("/", root),
        Mount("/in", routes=[Route("/{x:int}", inner, name="in")]),
        Route("/inner", inner, name="inner"),
    ],
    middleware=[Middleware(Stamp, stamp="mine")],
)
starlette.state.name = "app"


@serve.deployment
@serve.ingress(starlette)
class OfStarlette:
    pass


def test_starlette(site):
    """Routes below the prefix, mounts, middleware, state and `url_for` work."""
    site.run(OfStarlette.bind(), "/star")
    answer = site.http.get("/star/")
    assert (answer.json(), answer.headers["x-stamp"]) == (["/star/", "/star", "app"], "mine")
    assert site.http.get("/star/inner").text == f"{site.url.rstrip('/')}/star/inner"
    assert site.http.get("/star/in/3").status_code == 200
    assert site.http.get("/star/none").status_code == 404
    assert site.http.get("/star/?busy=1").status_code == 503
