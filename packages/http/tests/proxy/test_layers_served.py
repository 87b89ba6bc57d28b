"""Layers of plugins around requests, WebSockets and the proxy's own paths."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.websockets import WebSocket

from alacarte import serve
from alacarte.errors import ErrorCode, RequestError
from alacarte.testing import wait_until
from alacarte.types import Identity, StagedLayer
from alacarte_http._proxy import layered_forwarding
from alacarte_http.layers import HttpLayer, HttpRequest, HttpResponse, HttpRoute, HttpService

from .. import gates, plugin
from ..gates import WAIT_S
from ..websocket.support import UPGRADE, serve_app

LARGE = b"x" * 5_000_000


@serve.deployment(max_ongoing_requests=16)
async def echo(request: Request) -> Any:
    """Respond with the request and its identity."""
    gates.GATE.note(request.url.path)
    body = await request.body()
    identity = serve.get_request_context().identity
    return {
        "path": request.url.path,
        "raw_path": request.scope["raw_path"].decode(),
        "query": request.url.query,
        "key": request.headers.get("x-key"),
        "added": request.headers.get("x-added"),
        "size": len(body),
        "subject": None if identity is None else identity.subject,
        "claims": None if identity is None else dict(identity.claims),
    }


@serve.deployment
async def streams() -> StreamingResponse:
    async def parts() -> AsyncIterator[bytes]:
        try:
            for _ in range(3):
                yield b"part "
        finally:
            gates.GATE.note("closed")

    return StreamingResponse(parts(), headers={"x-own": "1"})


@serve.deployment
async def waits() -> None:
    await gates.GATE.wait_cancelled()


@serve.deployment
async def raises() -> None:
    raise ValueError("of the user")


async def talk(scope: Any, receive: Any, send: Any) -> None:
    """Accept WebSockets and echo text with its sender's identity."""
    if scope["type"] != "websocket":
        await Response("no WebSocket")(scope, receive, send)
        return
    socket = WebSocket(scope, receive, send)
    gates.GATE.note(scope["path"])
    await socket.accept()
    identity = serve.get_request_context().identity
    try:
        async for text in socket.iter_text():
            await socket.send_text(f"{text} by {identity and identity.subject}")
    finally:
        gates.GATE.note("left")


Wrap = Callable[[HttpRoute], Any]


@pytest.fixture(params=[False, True], ids=["in a task", "without a task"])
def layers(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Callable[[Wrap], None]:
    """A function that sets the layers of the tests' plugin."""

    def use(give: Wrap) -> None:
        def give_staged(route: HttpRoute) -> Any:
            given = give(route)
            if not callable(given) and not isinstance(given, StagedLayer):
                return given
            staged = given if isinstance(given, StagedLayer) else StagedLayer("", given)
            return replace(staged, task_free=request.param)

        monkeypatch.setattr(plugin, "HTTP_LAYER", give_staged)

    return use


def layer(answer: Callable[[HttpRequest, HttpService], Any]) -> HttpLayer:
    """Return a layer of one async function."""

    def wrap(service: HttpService) -> HttpService:
        async def call(request: HttpRequest) -> HttpResponse:
            return await answer(request, service)  # type: ignore[no-any-return]

        return call

    return wrap


async def need_key(request: HttpRequest, service: HttpService) -> HttpResponse:
    if request.header("X-Key") != "secret":
        return HttpResponse(401, "Send a key.", {"WWW-Authenticate": "Key"})
    return await service(
        request.without_headers("x-key").with_identity(
            Identity("alice", {"tenant": request.route.application})
        )
    )


def guarded(route: HttpRoute) -> Any:
    return StagedLayer("authentication", layer(need_key))


# --- requests ---------------------------------------------------------------------------


def test_a_layer_answers_before_user_code(start, layers, gate):
    """Without a key a request gets 401; with a key, the identity reaches the replica."""
    layers(guarded)
    site = start()
    site.run(echo.bind(), "/shop", "shop")
    refused = site.http.get("/shop/a")
    assert (refused.status_code, refused.text) == (401, "Send a key.")
    assert refused.headers["www-authenticate"] == "Key"
    assert refused.headers["x-request-id"]
    assert gate.notes() == []
    answer = site.http.get("/shop/a?b=c", headers={"x-key": "secret"}).json()
    assert (answer["path"], answer["query"], answer["key"]) == ("/shop/a", "b=c", None)
    assert (answer["subject"], answer["claims"]) == ("alice", {"tenant": "shop"})


def test_a_refused_upload_leaves_the_connection_open(start, layers, gate):
    """A refused upload of 5 MB does not reach user code, and the connection stays open."""
    layers(guarded)
    site = start()
    site.run(echo.bind())
    with site.wire() as wire:
        for _ in range(3):
            wire.ask("/", "POST", body=LARGE)
            assert wire.answer().status == 401
        wire.ask("/", "POST", "X-Key: secret", body=LARGE)
        answer = wire.answer()
    assert answer.status == 200
    assert b'"size":5000000' in answer.body
    assert len(gate.notes()) == 1


def test_a_body_is_read_when_the_layers_have_passed_it_on(start, layers, gate):
    """A refused client gets no 100 Continue."""
    layers(guarded)
    site = start()
    site.run(echo.bind())
    with site.wire() as wire:
        expect = "Expect: 100-continue", "Content-Length: 5"
        wire.ask("/", "POST", *expect)
        assert wire.answer().status == 401
    with site.wire() as wire:
        wire.ask("/", "POST", "X-Key: secret", *expect)
        assert wire.answer().status == 100
        wire.send(b"hello")
        assert b'"size":5' in wire.answer().body


def test_uploads_in_parts_pass(start, layers, gate):
    """A body in chunks reaches the application whole."""
    layers(lambda route: layer(lambda request, service: service(request)))
    site = start()
    site.run(echo.bind())
    answer = site.http.post("/", content=iter([b"ab", b"cde" * 100_000, b"f"]))
    assert answer.json()["size"] == 300_003


def test_a_layer_rewrites(start, layers):
    """A layer's path, query and headers reach the application of the same route."""

    async def rewrite(request: HttpRequest, service: HttpService) -> HttpResponse:
        return await service(request.with_path("/shop/é b").with_headers({"X-Added": "yes"}))

    layers(lambda route: layer(rewrite) if route.application == "shop" else None)
    site = start()
    site.run(echo.bind(), "/shop", "shop")
    site.run(echo.bind(), "/other", "other")
    answer = site.http.get("/shop/a?q=1").json()
    assert (answer["raw_path"], answer["query"]) == ("/shop/%C3%A9%20b", "q=1")
    assert answer["added"] == "yes"
    assert site.http.get("/other/a").json()["added"] is None


def test_a_layer_does_not_lead_out_of_its_route(start, layers, caplog):
    """A path outside the route is refused: it would bypass another route's layers."""
    layers(lambda route: layer(lambda request, service: service(request.with_path("/other"))))
    site = start()
    site.run(echo.bind(), "/shop", "shop")
    assert site.http.get("/shop/a").status_code == 500
    assert "outside the route '/shop'" in caplog.text


def test_a_layer_changes_a_response(start, layers):
    """A layer can change the headers of whole and streamed responses."""

    async def add(request: HttpRequest, service: HttpService) -> HttpResponse:
        response = await service(request)
        return response.with_headers({"X-Own": "2", "X-Status": str(response.status)})

    layers(lambda route: layer(add))
    site = start()
    site.run(streams.bind(), "/streams", "streams")
    site.run(raises.bind(), "/raises", "raises")
    site.run(echo.bind(), "/echo", "echo")
    streamed = site.http.get("/streams")
    assert (streamed.text, streamed.headers.get_list("x-own")) == ("part part part ", ["2"])
    assert site.http.get("/echo").headers["x-status"] == "200"
    failed = site.http.get("/raises")
    assert (failed.status_code, failed.headers["x-status"]) == (500, "500")
    assert site.http.get("/nowhere").headers["x-status"] == "404"
    assert site.http.head("/echo").headers["x-status"] == "200"


def test_a_layer_answers_in_place_of_the_application(start, layers, gate):
    """A layer's response closes the replica's stream."""

    async def replace(request: HttpRequest, service: HttpService) -> HttpResponse:
        await service(request)
        return HttpResponse(200, "mine")

    layers(lambda route: layer(replace))
    site = start()
    site.run(streams.bind())
    for _ in range(3):
        assert site.http.get("/").text == "mine"
        assert gate.next_note() == "closed"


def test_a_layer_streams(start, layers):
    """A layer can stream a response."""

    async def parts() -> AsyncIterator[Any]:
        yield (b"b",)
        yield (b"c",)

    async def answer(request: HttpRequest, service: HttpService) -> HttpResponse:
        return HttpResponse(200, b"a", rest=parts())

    layers(lambda route: layer(answer))
    assert start().http.get("/").text == "abc"


def test_a_layer_passes_a_request_on_once(start, layers, caplog):
    """A layer that passes a request on twice gets an error."""

    async def twice(request: HttpRequest, service: HttpService) -> HttpResponse:
        await service(request)
        return await service(request)

    layers(lambda route: layer(twice))
    site = start()
    site.run(echo.bind())
    assert site.http.get("/").status_code == 500
    assert "passed a request on twice" in caplog.text


def test_a_client_that_leaves_cancels_the_layers(start, layers, gate):
    """A disconnect cancels a waiting layer."""

    async def wait(request: HttpRequest, service: HttpService) -> HttpResponse:
        gate.note("waits")
        try:
            await asyncio.Event().wait()
        finally:
            gate.note("cancelled")
        return HttpResponse(200)

    layers(lambda route: layer(wait) if route.kind == "application" else None)
    site = start()
    site.run(echo.bind())
    with site.wire() as wire:
        wire.ask("/")
        assert gate.next_note() == "waits"
    assert gate.next_note() == "cancelled"


@pytest.mark.parametrize("where", ["before", "in the application", "after"])
def test_a_request_has_its_time_for_layers_too(start, layers, gate, where: str):
    """A request's timeout includes its layers; an outer layer sees the 504."""
    statuses: list[int] = []

    async def wait(request: HttpRequest, service: HttpService) -> HttpResponse:
        if where == "before":
            await asyncio.Event().wait()
        response = await service(request)
        statuses.append(response.status)
        if where == "after":
            await asyncio.Event().wait()
        return response

    layers(lambda route: layer(wait) if route.kind == "application" else None)
    site = start(request_timeout_s=0.2)
    site.run(waits.bind() if where == "in the application" else echo.bind())
    answer = site.http.get("/")
    assert (answer.status_code, "within 0.2 s" in answer.text) == (504, True)
    assert statuses == {"before": [], "in the application": [504], "after": [200]}[where]


# --- local responses --------------------------------------------------------------------


def test_layers_stand_around_every_path(start, layers):
    """Layers see the proxy's own paths, unmatched paths and refused methods."""
    asked: Counter[tuple[str, str]] = Counter()

    def give(route: HttpRoute) -> Any:
        asked[route.kind, route.prefix] += 1
        return guarded(route)

    layers(give)
    site = start()
    site.run(echo.bind(), "/shop", "shop")
    for path in ("/-/routes", "/-/healthz", "/-/none", "/none", "/shop"):
        assert site.http.get(path).status_code == 401, path
    key = {"x-key": "secret"}
    assert site.http.get("/-/routes", headers=key).json() == {"/shop": "shop"}
    assert site.http.get("/-/healthz", headers=key).text == "success"
    assert site.http.get("/-/none", headers=key).status_code == 404
    assert site.http.get("/none", headers=key).status_code == 404
    site.run(echo.bind(), "/other", "other")
    assert site.http.get("/other").status_code == 401
    assert asked == {
        ("system", "/-/"): 1,
        ("unmatched", ""): 1,
        ("application", "/shop"): 1,
        ("application", "/other"): 1,
    }


def test_layers_see_where_they_are(start, layers):
    """A layer sees route, deployments, client and request id."""
    seen: list[HttpRequest] = []

    async def note(request: HttpRequest, service: HttpService) -> HttpResponse:
        seen.append(request)
        return await service(request)

    layers(lambda route: layer(note))
    site = start()
    site.run(echo.bind(), "/shop", "shop")
    answer = site.http.post("/shop/a%20b?c", headers={"X-Request-ID": "abc"}, content=b"x")
    assert answer.headers["x-request-id"] == "abc"
    [request] = seen
    assert (request.method, request.path, request.raw_path) == ("POST", "/shop/a b", b"/shop/a%20b")
    assert (request.query, request.version, request.request_id) == (b"c", "1.1", "abc")
    assert request.client is not None
    assert request.client[0] == "127.0.0.1"
    assert (request.secure, request.websocket) == (False, False)
    route = request.route
    assert (route.kind, route.prefix, route.application) == ("application", "/shop", "shop")
    assert [str(each.id) for each in route.deployments] == ["shop#echo"]


def test_layers_follow_the_options_of_a_deployment(start, layers):
    """A changed option builds the layer again and replaces no replica."""

    async def close(request: HttpRequest, service: HttpService) -> HttpResponse:
        return HttpResponse(403, "closed")

    def give(route: HttpRoute) -> Any:
        locks = [each.options("lock") for each in route.deployments]
        return layer(close) if any(lock and lock.closed for lock in locks) else None

    layers(give)
    site = start()
    site.run(echo.options(lock={}).bind(), "/shop", "shop")
    site.run(echo.bind(), "/other", "other")
    assert [site.http.get(path).status_code for path in ("/shop", "/other")] == [403, 200]
    site.run(echo.options(lock={"closed": False}).bind(), "/shop", "shop")
    wait_until(lambda: site.http.get("/shop").status_code == 200, WAIT_S, "the new option")


# --- WebSockets -------------------------------------------------------------------------


def test_a_handshake_is_refused_before_user_code(start, layers, gate):
    """A handshake without a key gets 401; with a key, the identity lasts for the connection."""
    layers(guarded)
    site = start()
    serve_app(site, talk, "/talk")
    with site.wire() as wire:
        wire.send(UPGRADE % b"/talk")
        head, _, body = wire.rest().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 401 ")
    assert b"www-authenticate: Key" in head
    assert b"content-length: 11" in head
    assert body == b"Send a key."
    assert gate.notes() == []
    assert asyncio.run(_said(site, "/talk/b", {"x-key": "secret"})) == "hello by alice"


def test_layers_stand_around_handshakes_that_no_route_takes(start, layers):
    """Layers see handshakes without a route and of the proxy's own paths."""
    layers(guarded)
    site = start()
    serve_app(site, talk, "/talk")
    for path in (b"/-/healthz", b"/none"):
        for key, status in ((b"", 401), (b"X-Key: secret\r\n", 404)):
            with site.wire() as wire:
                wire.send((UPGRADE % path).replace(b"Host: here\r\n", b"Host: here\r\n" + key))
                assert wire.head().status == status


def test_a_layer_sees_the_answer_to_a_handshake(start, layers):
    """A layer sees 101 and can add headers."""
    seen: list[int] = []

    async def note(request: HttpRequest, service: HttpService) -> HttpResponse:
        response = await service(request)
        seen.append(response.status)
        assert request.websocket
        return response.with_headers({"x-seen": "yes"})

    layers(lambda route: layer(note))
    site = start()
    serve_app(site, talk, "/talk")
    with site.wire() as wire:
        wire.send(UPGRADE % b"/talk")
        head = wire.head()
    assert (head.status, head["x-seen"], seen) == (101, "yes", [101])


def test_a_layer_denies_a_websocket_that_was_accepted(start, layers, gate):
    """A layer's denial disconnects an application that has accepted."""

    async def deny(request: HttpRequest, service: HttpService) -> HttpResponse:
        await service(request)
        return HttpResponse(403, "no")

    layers(lambda route: layer(deny))
    site = start()
    serve_app(site, talk, "/talk")
    with site.wire() as wire:
        wire.send(UPGRADE % b"/talk")
        assert wire.head().status == 403
        assert [gate.next_note(), gate.next_note()] == ["/talk", "left"]


async def _said(site: Any, path: str, headers: dict[str, str]) -> str:
    from websockets.asyncio.client import connect

    url = f"ws://127.0.0.1:{site.port}{path}"
    async with connect(url, additional_headers=headers, open_timeout=WAIT_S, proxy=None) as client:
        await client.send("hello")
        return str(await asyncio.wait_for(client.recv(), WAIT_S))


# --- failures ---------------------------------------------------------------------------


class Forbidden(RequestError):
    code = ErrorCode.PERMISSION_DENIED
    client_message = "Not you."


def test_a_hook_that_raises_for_one_route_fails_that_route_alone(start, layers, caplog):
    """A hook that fails makes its routes respond 500, and the log names the plugin."""

    def give(route: HttpRoute) -> Any:
        if route.application == "bad":
            raise KeyError("nothing for this one")
        return None

    layers(give)
    site = start()
    site.run(echo.bind(), "/bad", "bad")
    site.run(echo.bind(), "/good", "good")
    assert site.http.get("/bad").status_code == 500
    assert site.http.get("/good").status_code == 200
    assert site.http.get("/-/healthz").status_code == 200
    assert plugin.__name__ in caplog.text
    wait_until(lambda: serve.status().plugin_failures, WAIT_S, "the failure in the status")
    [failure] = serve.status().plugin_failures
    assert (failure.plugin, failure.hook) == (plugin.__name__, "wrap_http")
    assert failure.subject == "route '/bad' of 'bad'"


def test_a_hook_that_fails_once_is_asked_again(start, layers, caplog):
    """A hook that failed is called again; until then its routes respond 500.

    With no change of any route: after a pause.
    """
    asked: Counter[str] = Counter()

    def give(route: HttpRoute) -> Any:
        asked[route.prefix] += 1
        if asked[route.prefix] == 1:
            raise OSError("the keys are not there yet")
        return layer(need_key)

    layers(give)
    site = start()
    site.run(echo.bind(), "/shop", "shop")
    paths = ("/shop", "/-/healthz", "/nowhere")

    def statuses() -> set[int]:
        return {site.http.get(path).status_code for path in paths}

    assert statuses() <= {500, 401}
    assert f"{plugin.__name__} failed in wrap_http for route '/shop' of 'shop'" in caplog.text
    wait_until(lambda: len(serve.status().plugin_failures) == 3, WAIT_S, "the failures")
    assert {each.hook for each in serve.status().plugin_failures} == {"wrap_http"}
    wait_until(lambda: statuses() == {401}, WAIT_S, "the layers")


@pytest.mark.parametrize("given", [17, StagedLayer("nowhere", layer(need_key))])
def test_a_hook_that_returns_no_layer_fails_its_route(start, layers, given, caplog):
    """A hook that returns no layer makes its route respond 500, and the log names the plugin."""
    layers(lambda route: given if route.application == "bad" else None)
    site = start()
    site.run(echo.bind(), "/bad", "bad")
    site.run(echo.bind(), "/good", "good")
    assert (site.http.get("/bad").status_code, site.http.get("/good").status_code) == (500, 200)
    assert plugin.__name__ in caplog.text


def test_a_layer_that_raises_fails_the_request(start, layers, caplog):
    """A layer that raises causes a 500 and one log entry; a RequestError is a response."""
    errors: list[Exception] = []

    async def fail(request: HttpRequest, service: HttpService) -> HttpResponse:
        raise errors[0]

    layers(lambda route: layer(fail) if route.kind == "application" else None)
    site = start()
    serve_app(site, talk, "/talk")
    with caplog.at_level(logging.ERROR):
        for error, status in ((KeyError("a"), 500), (KeyError("b"), 500), (Forbidden("c"), 403)):
            errors[:] = [error]
            assert site.http.get("/talk").status_code == status
            with site.wire() as wire:
                wire.send(UPGRADE % b"/talk")
                assert wire.head().status == status
    named = [each for each in caplog.records if plugin.__name__ in each.getMessage()]
    assert len(named) == 1


def test_a_layer_that_cancels_itself_is_answered(start, layers):
    """A layer that raises CancelledError itself causes a 500."""

    async def fail(request: HttpRequest, service: HttpService) -> HttpResponse:
        raise asyncio.CancelledError

    layers(lambda route: layer(fail) if route.kind == "application" else None)
    site = start()
    serve_app(site, talk, "/talk")
    assert site.http.get("/talk").status_code == 500
    with site.wire() as wire:
        wire.send(UPGRADE % b"/talk")
        assert wire.head().status == 500
    wait_until(lambda: serve.status().plugin_failures, WAIT_S, "the failure in the status")
    [failure] = serve.status().plugin_failures
    assert (failure.plugin, failure.hook) == (plugin.__name__, "wrap_http")


class NoFuture:
    """An awaitable that asyncio does not support."""

    def __await__(self) -> Any:
        yield 17


def test_a_layer_that_waits_for_no_future_is_named(start, layers):
    """An invalid await raises within the layer, with or without a task."""

    async def fail(request: HttpRequest, service: HttpService) -> Any:
        return await NoFuture()

    layers(lambda route: layer(fail) if route.kind == "application" else None)
    site = start(max_concurrent_requests=1)
    site.run(echo.bind(), "/shop", "shop")
    assert [site.http.get("/shop").status_code for _ in range(2)] == [500, 500]
    wait_until(lambda: serve.status().plugin_failures, WAIT_S, "the failure in the status")
    [failure] = serve.status().plugin_failures
    assert (failure.plugin, failure.hook) == (plugin.__name__, "wrap_http")
    assert "bad yield" in failure.message


def test_without_layers_nothing_is_made(start, layers, monkeypatch):
    """Without layers the proxy creates no `HttpRequest`."""

    def never(*given: object) -> None:
        raise AssertionError("made for nothing")

    monkeypatch.setattr(layered_forwarding, "_request", never)
    layers(lambda route: None)
    site = start()
    site.run(echo.bind())
    assert site.http.get("/").status_code == 200
    assert httpx.get(site.url + "-/healthz", trust_env=False).text == "success"
