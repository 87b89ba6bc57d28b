"""Handlers: their signatures, requests, results and failures."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response

from alacarte import serve
from alacarte.context import current_call, get_replica_context

from .. import gates
from ..gates import WAIT_S


@serve.deployment
class WithoutParameters:
    def __call__(self) -> str:
        return "class"


@serve.deployment
def function_without_parameters() -> str:
    return "function"


@serve.deployment
async def async_without_parameters() -> str:
    return "async function"


@serve.deployment
def keywords_only(*, limit: int = 3, **more: Any) -> str:
    return f"keywords {limit} {more}"


@serve.deployment
def with_default(request: Request | None = None) -> str:
    return f"default {request.method}"


@serve.deployment
def any_arguments(*args: Any) -> str:
    return f"any {args[0].method}"


@serve.deployment
class SyncWithRequest:
    def __call__(self, request: Request) -> str:
        return f"sync {request.query_params['q']}"


@serve.deployment
class Together:
    """A sync handler whose requests wait for one another."""

    def __init__(self, parties: int) -> None:
        self.barrier = parties

    def __call__(self) -> str:
        gates.GATE.pass_sync()
        return threading.current_thread().name


@serve.deployment
class Raising:
    async def __call__(self, request: Request) -> None:
        raise ValueError("secret reason")


@serve.deployment
class RaisingSync:
    def __call__(self, request: Request) -> None:
        raise KeyError("secret reason")


@serve.deployment
class Several:
    """A handler that responds by path."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    async def __call__(self, request: Request) -> Any:
        match request.url.path:
            case "/text":
                return "grüß"
            case "/none":
                return None
            case "/bytes":
                return b"\x00\xff"
            case "/json":
                return {"a": np.arange(2), "b": [1.5]}
            case "/nan":
                return {"a": float("nan")}
            case "/object":
                return object()
            case "/forgotten":
                return {"numbers": [asyncio.sleep(0)]}
            case "/generator":
                return (i for i in range(3))
            case "/async-generator":
                return numbers()
            case "/exception":
                return ValueError("why")
            case "/starlette":
                return PlainTextResponse("tea", 418, {"X-Own": "yes"})
            case "/starlette-json":
                return JSONResponse({"a": 1})
            case "/redirect":
                return RedirectResponse("/text")
            case "/short":
                return Response(b"abc", headers={"Content-Length": "2"})
            case "/long":
                return Response(b"abc", headers={"Content-Length": "4"})
            case "/negative":
                return Response(b"abc", headers={"Content-Length": "-1"})
            case "/header":
                return Response(b"abc", headers={"X-Own": "a\r\nSet-Cookie: evil=1"})
            case "/background":
                return Response("sent", background=BackgroundTask(background, "ran"))
            case "/background-fails":
                return Response("sent", background=BackgroundTask(failing_background))
            case "/disconnected":
                return await request.is_disconnected()
            case "/identity":
                call = current_call.get()
                here = get_replica_context()
                return [call.request_id, call.app, call.route, here.app_name, here.deployment]
        raise AssertionError(request.url.path)


async def numbers() -> AsyncIterator[int]:
    yield 1


async def background(what: str) -> None:
    await gates.GATE.pass_async()
    gates.GATE.note(what)


async def failing_background() -> None:
    raise ValueError("in the background")


@serve.deployment
def generator_function(request: Request) -> Iterator[str]:
    yield "never sent"


@serve.deployment
async def async_generator_function(request: Request) -> AsyncIterator[str]:
    yield "never sent"


@serve.deployment
class NotCallable:
    def predict(self) -> int:
        return 1


# --- signatures -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("app", "text"),
    [
        (WithoutParameters, "class"),
        (function_without_parameters, "function"),
        (async_without_parameters, "async function"),
        (keywords_only, "keywords 3 {}"),
        (with_default, "default GET"),
        (any_arguments, "any GET"),
        (SyncWithRequest, "sync x"),
    ],
)
def test_signatures(site, app, text):
    """A handler gets the request only if it has a parameter."""
    site.run(app.bind())
    answer = site.http.get("/?q=x")
    assert (answer.status_code, answer.text) == (200, text)


def test_sync_handlers_run_side_by_side(site, gate):
    """`max_ongoing_requests` sync handlers run at once, each in a thread."""
    site.run(Together.options(max_ongoing_requests=3).bind(3))
    wires = [site.wire() for _ in range(3)]
    for wire in wires:
        wire.ask("/")
    for _ in wires:
        gate.entered()
    gate.open.set()
    assert len({wire.answer().body for wire in wires}) == 3
    for wire in wires:
        wire.close()


def test_where_a_handler_is(site):
    """A handler's context has request id, application, route and replica."""
    site.run(Several.bind(), "/", "app")
    found = site.http.get("/identity", headers={"X-Request-ID": "mine"}).json()
    assert found == ["mine", "app", "/", "app", "Several"]


def test_a_client_that_is_still_there(site):
    """`request.is_disconnected()` is False while the client is connected."""
    site.run(Several.bind())
    assert site.http.get("/disconnected").json() is False


# --- results ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status", "content", "content_type"),
    [
        ("/text", 200, "grüß".encode(), "text/plain; charset=utf-8"),
        ("/none", 200, b"", "text/plain"),
        ("/bytes", 200, b"\x00\xff", "text/plain"),
        ("/json", 200, b'{"a":[0,1],"b":[1.5]}', "application/json"),
        ("/exception", 200, b'"why"', "application/json"),
        ("/starlette", 418, b"tea", "text/plain; charset=utf-8"),
        ("/starlette-json", 200, b'{"a":1}', "application/json"),
    ],
)
def test_results(site, path, status, content, content_type):
    """Values are encoded and Starlette responses sent unchanged, with correct lengths."""
    site.run(Several.bind())
    answer = site.http.get(path)
    assert (answer.status_code, answer.content) == (status, content)
    assert answer.headers["content-type"] == content_type
    assert answer.headers["content-length"] == str(len(content))


def test_redirects(site):
    """Redirects are sent like any response."""
    site.run(Several.bind())
    answer = site.http.get("/redirect")
    assert (answer.status_code, answer.headers["location"]) == (307, "/text")


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        ("/nan", "JSON compliant"),
        ("/object", "default#Several: Several.__call__ ("),
        ("/object", "returned a bare object(), which has no JSON form"),
        ("/forgotten", "coroutine of sleep() at ['numbers'][0]: did you forget `await`?"),
        ("/generator", "StreamingResponse"),
        ("/async-generator", "StreamingResponse"),
        ("/short", "Content-Length is 2, its body has 3 bytes"),
        ("/long", "Content-Length is 4, its body has 3 bytes"),
        ("/negative", "must be a single number"),
        ("/header", "contains a control character"),
    ],
)
def test_results_that_cannot_be_sent(site, path, logged, caplog):
    """A result without a form is a 500 with the reason in the log."""
    site.run(Several.bind())
    with site.wire() as wire:
        wire.ask(path)
        answer = wire.answer()
        assert (answer.status, answer.body) == (500, b"Internal Server Error")
        wire.ask("/bytes")
        assert wire.answer().body == b"\x00\xff"
    assert logged in caplog.text


@pytest.mark.parametrize("app", [generator_function, async_generator_function])
def test_generator_handlers(site, app, caplog):
    """A generator handler is a 500, and the log says to return a StreamingResponse."""
    site.run(app.bind())
    assert site.http.get("/").status_code == 500
    assert "StreamingResponse(generator)" in caplog.text


@pytest.mark.parametrize("app", [Raising, RaisingSync])
def test_exceptions(site, app, caplog):
    """500 without anything internal; the traceback with the request's id is in the log."""
    site.run(app.bind())
    with caplog.at_level(logging.ERROR, "alacarte"):
        answer = site.http.get("/", headers={"X-Request-ID": "the-id"})
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")
    assert answer.headers["x-request-id"] == "the-id"
    assert "secret reason" in caplog.text
    assert "the-id" in caplog.text
    assert "in __call__\n" in caplog.text


def test_a_class_that_cannot_be_called(site, caplog):
    """A class without `__call__` is a 500, and the log lists its methods."""
    site.run(NotCallable.bind())
    assert site.http.get("/").status_code == 500
    assert "has no method '__call__'. It has: predict" in caplog.text


# --- background tasks -------------------------------------------------------------------


def test_background_tasks(site, gate):
    """A response does not wait for its background task."""
    site.run(Several.bind())
    assert site.http.get("/background").text == "sent"
    gate.entered()
    assert gate.notes() == []
    gate.open.set()
    assert gate.next_note() == "ran"


def test_a_background_task_that_fails(site, caplog):
    """A background task's failure is logged, and the client has its response."""
    logged = threading.Event()

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "background" in record.getMessage():
                logged.set()

    watch = Watch()
    logging.getLogger("alacarte.replica").addHandler(watch)
    try:
        site.run(Several.bind())
        assert site.http.get("/background-fails").text == "sent"
        assert logged.wait(WAIT_S / 4)
    finally:
        logging.getLogger("alacarte.replica").removeHandler(watch)
    assert "in the background" in caplog.text
