"""Layers around HTTP requests: what they see and change, their order, and how they fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from alacarte.errors import BackPressureError, ErrorCode, PluginError, RequestError
from alacarte.layers import STAGES
from alacarte.types import DeploymentId, DeploymentInfo, Identity, StagedLayer
from alacarte_http._edge.exchange import ClientDisconnected
from alacarte_http._proxy.layer_builder import HttpLayers
from alacarte_http.layers import (
    APPLICATION,
    SYSTEM,
    UNMATCHED,
    HttpLayer,
    HttpRequest,
    HttpResponse,
    HttpRoute,
    HttpService,
)

SHOP = HttpRoute(APPLICATION, "/shop", "shop", (DeploymentInfo(DeploymentId("shop", "Desk")),))
BANK = HttpRoute(APPLICATION, "/bank", "bank", (DeploymentInfo(DeploymentId("bank", "Desk")),))


# --- requests ---------------------------------------------------------------------------


def test_headers_are_found_and_changed():
    """Headers are found and replaced by name in any case; others keep their order."""
    request = HttpRequest("GET", "/", headers=[(b"a", b"1"), (b"b", b"2"), (b"a", b"3")])
    assert (request.header("A"), request.header("b"), request.header("c")) == ("1", "2", None)
    assert request.with_headers({"A": "4", "c": "é"}).headers == [
        (b"b", b"2"),
        (b"a", b"4"),
        (b"c", b"\xe9"),
    ]
    assert request.without_headers("A").headers == [(b"b", b"2")]
    assert request.header("a") == "1"


@pytest.mark.parametrize(
    ("path", "raw"),
    [
        ("/a/b", b"/a/b"),
        ("/é ?#%", b"/%C3%A9%20%3F%23%25"),
        ("/\udcff", b"/%FF"),
        ("/a:@", b"/a:@"),
    ],
)
def test_a_path_is_written_as_it_is_sent(path: str, raw: bytes):
    """`with_path` percent-encodes a decoded path."""
    request = HttpRequest("GET", "/", b"/", query=b"q").with_path(path)
    assert (request.path, request.raw_path, request.query) == (path, raw, b"q")


# --- building ---------------------------------------------------------------------------


def tagging(name: str, log: list[str]) -> HttpLayer:
    """Return a layer that records passing requests."""

    def layer(service: HttpService) -> HttpService:
        async def call(request: HttpRequest) -> HttpResponse:
            log.append(name)
            return await service(request)

        return call

    return layer


def built(*given: tuple[str, Any], reports: list[Any] | None = None) -> HttpService | None:
    """Return the service of a route with these layers."""
    found = [] if reports is None else reports
    layers = HttpLayers(lambda route: given, STAGES, lambda *each: found.append(each))
    layers.update([SHOP])
    return layers.service(SHOP)


def never(*given: object) -> None:
    """Fail the test: no failure may be reported."""
    raise AssertionError(given)


def answer(service: HttpService | None, request: HttpRequest | None = None) -> HttpResponse:
    async def forward(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, f"{request.path} {request.identity}")

    assert service is not None
    found = request or HttpRequest("GET", "/shop", route=SHOP, _forward=forward)
    return asyncio.run(service(found))  # type: ignore[arg-type]


def test_layers_stand_in_the_order_of_their_stages():
    """Layers are ordered by stage, not by plugin name; those without a stage are innermost."""
    log: list[str] = []
    service = built(
        ("anything", tagging("anything", log)),
        ("cache", StagedLayer("cache", tagging("cache", log))),
        ("zauth", StagedLayer("authentication", tagging("zauth", log))),
    )
    assert answer(service).status == 200
    assert log == ["zauth", "cache", "anything"]


def test_a_route_without_layers_has_no_service():
    """A route whose plugins return None has no service."""
    assert built() is None


def test_layers_are_built_once_for_each_route():
    """Layers are built once per route, and again only when that route changes."""
    asked: list[HttpRoute] = []

    def ask(route: HttpRoute) -> list[tuple[str, Any]]:
        asked.append(route)
        return [("a", tagging("a", []))]

    layers = HttpLayers(ask, STAGES, never)
    layers.update([SHOP, HttpRoute(SYSTEM), HttpRoute(UNMATCHED)])
    first = layers.service(SHOP)
    layers.update([SHOP, BANK, HttpRoute(SYSTEM), HttpRoute(UNMATCHED)])
    assert asked == [SHOP, HttpRoute(SYSTEM), HttpRoute(UNMATCHED), BANK]
    assert layers.service(SHOP) is first
    newer = HttpRoute(
        APPLICATION, "/shop", "shop", (DeploymentInfo(DeploymentId("shop", "Desk"), "2"),)
    )
    layers.update([newer])
    assert layers.service(newer) is not first
    assert asked[-1] == newer
    same = HttpRoute(newer.kind, newer.prefix, newer.application, newer.deployments)
    layers.update([same])
    assert asked.count(newer) == 1
    other_options = replace(newer, deployments=(replace(newer.deployments[0]),))
    layers.update([other_options])
    assert asked[-1] is other_options
    layers.update([])
    asked.clear()
    layers.update([newer])
    assert asked == [newer]  # nothing is kept of a removed route


# --- answering and changing -------------------------------------------------------------


def test_a_layer_answers_at_once():
    """A layer that responds does not call inner layers."""
    log: list[str] = []

    def refuse(service: HttpService) -> HttpService:
        async def call(request: HttpRequest) -> HttpResponse:
            return HttpResponse(401, "no")

        return call

    service = built(("a", StagedLayer("authentication", refuse)), ("b", tagging("b", log)))
    assert answer(service).status == 401
    assert log == []


def test_a_layer_passes_on_another_request():
    """A layer can pass on a changed path and an identity."""

    def change(service: HttpService) -> HttpService:
        async def call(request: HttpRequest) -> HttpResponse:
            return await service(request.with_path("/shop/b").with_identity(Identity("alice")))

        return call

    assert answer(built(("a", change))).body == b"/shop/b " + str(Identity("alice")).encode()


# --- failures ---------------------------------------------------------------------------


def raising(error: BaseException) -> HttpLayer:
    def layer(service: HttpService) -> HttpService:
        async def call(request: HttpRequest) -> HttpResponse:
            raise error

        return call

    return layer


def returning(value: Any) -> HttpLayer:
    def layer(service: HttpService) -> HttpService:
        async def call(request: HttpRequest) -> Any:
            return value

        return call

    return layer


def passing_on(value: Any) -> HttpLayer:
    def layer(service: HttpService) -> HttpService:
        async def call(request: HttpRequest) -> HttpResponse:
            return await service(value)

        return call

    return layer


def changing(change: Callable[[Any], HttpRequest]) -> HttpLayer:
    def layer(service: HttpService) -> HttpService:
        async def call(request: HttpRequest) -> HttpResponse:
            return await service(change(request))

        return call

    return layer


def answering(*args: Any, **kwargs: Any) -> HttpLayer:
    def layer(service: HttpService) -> HttpService:
        async def call(request: HttpRequest) -> HttpResponse:
            return HttpResponse(*args, **kwargs)

        return call

    return layer


def making_none(service: HttpService) -> Any:
    return None


def failing(service: HttpService) -> Any:
    raise KeyError("made")


def exiting(service: HttpService) -> Any:
    raise SystemExit("made")


def not_async(service: HttpService) -> Any:
    return lambda request: HttpResponse(200)


BROKEN: dict[str, Any] = {
    "the hook returned a number": 17,
    "a stage that nobody registers": StagedLayer("nowhere", tagging("x", [])),
    "the layer raised": failing,
    "the layer wanted to end the process": exiting,
    "the service wanted to end the process": raising(SystemExit("secret")),
    "the service cancelled itself": raising(asyncio.CancelledError("secret")),
    "the layer returned None": making_none,
    "the service raised": raising(KeyError("secret")),
    "the service returned None": returning(None),
    "the service is not async": not_async,
    "the service passed on None": passing_on(None),
    "the service passed on a method of two words": changing(
        lambda request: replace(request, method="GET / HTTP/1.1\r\nx")
    ),
    "the service passed on a header of two lines": changing(
        lambda request: request.with_headers({"x": "1\r\ny: 2"})
    ),
    "the service passed on a header without a name": changing(
        lambda request: request.with_headers([(b"x: 1\r\ny", b"2")])
    ),
    "the service passed on a name for an identity": changing(
        lambda request: request.with_identity("alice")
    ),
    "a body that is a number": answering(200, 17),
    "a status that is text": answering("200"),
    "a header that is a number": answering(200, "", {"a": 5}),
    "a rest that is a number": answering(200, rest=17),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_broken_layer_responds_500(broken: Any):
    """A failing layer responds 500, is reported with its plugin's name, and blocks requests."""
    log: list[str] = []
    reports: list[Any] = []
    service = built(("broken", broken), ("inner", tagging("inner", log)), reports=reports)
    response = answer(service)
    assert response.status == 500
    assert b"secret" not in response.body
    assert "broken" in reports[0][0]
    assert len(reports) == 1
    assert log == []


def test_an_outer_layer_sees_the_failure_of_an_inner_one():
    """An outer layer sees the failure of an inner one as a response."""
    seen: list[int] = []

    def observe(service: HttpService) -> HttpService:
        async def call(request: HttpRequest) -> HttpResponse:
            response = await service(request)
            seen.append(response.status)
            return response

        return call

    broken = raising(KeyError("x"))
    reports: list[Any] = []
    answer(built(("a", StagedLayer("observation", observe)), ("b", broken), reports=reports))
    assert seen == [500]
    assert [report[0] for report in reports] == ["b"]


class Forbidden(RequestError):
    code = ErrorCode.PERMISSION_DENIED
    client_message = "Not you."


@pytest.mark.parametrize(
    ("error", "status"), [(Forbidden("x"), 403), (BackPressureError("a#b", 1, 1), 503)]
)
def test_a_layer_may_raise_an_error_of_a_request(error: RequestError, status: int):
    """A layer's RequestError becomes its status and is not reported."""
    reports: list[Any] = []
    response = answer(built(("a", raising(error)), reports=reports))
    assert (response.status, response.body.decode()) == (status, error.client_message)
    assert reports == []


def test_a_disconnected_client_gets_no_response():
    """ClientDisconnected passes every layer."""
    with pytest.raises(ClientDisconnected):
        answer(built(("a", raising(ClientDisconnected())), ("b", tagging("b", []))))


def test_a_cancellation_passes_every_layer():
    """A cancellation of the request passes every layer, with or without a task."""

    def waiting(service: HttpService) -> HttpService:
        async def call(request: HttpRequest) -> HttpResponse:
            await asyncio.Event().wait()
            return await service(request)

        return call

    service = built(("a", tagging("a", [])), ("b", waiting))
    assert service is not None
    request = HttpRequest("GET", "/shop")

    async def cancel() -> None:
        task = asyncio.ensure_future(service(request))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    raised = built(("a", raising(asyncio.CancelledError())))
    assert raised is not None

    async def step_without_a_task() -> None:
        done = asyncio.get_running_loop().create_future()

        def step() -> None:
            with pytest.raises(asyncio.CancelledError):
                raised(request).__await__().send(None)
            done.set_result(None)

        asyncio.get_running_loop().call_soon(step)
        await asyncio.wait_for(done, 5)

    asyncio.run(step_without_a_task())


def test_a_route_for_which_a_plugin_fails_fails_closed():
    """A route whose plugin fails responds 500: the layer may authenticate requests."""

    def ask(route: HttpRoute) -> list[tuple[str, Any]]:
        if route is SHOP:
            raise PluginError("plugin sick failed in wrap_http")
        return []

    layers = HttpLayers(ask, STAGES, never)
    layers.update([SHOP, BANK])
    assert answer(layers.service(SHOP)).status == 500
    assert layers.service(BANK) is None


def test_a_failed_build_is_made_again():
    """Failed layers are built again with each table; the others are kept."""
    missing = True
    asked: list[HttpRoute] = []

    def ask(route: HttpRoute) -> list[tuple[str, Any]]:
        asked.append(route)
        if missing and route is not BANK:
            raise PluginError("plugin sick failed in wrap_http")
        return [("a", tagging("a", []))]

    routes = [SHOP, BANK, HttpRoute(SYSTEM), HttpRoute(UNMATCHED)]
    layers = HttpLayers(ask, STAGES, never)
    layers.update(routes)
    assert layers.failed
    assert [answer(layers.service(route)).status for route in routes] == [500, 200, 500, 500]
    missing = False
    asked.clear()
    layers.update(routes)
    assert asked == [SHOP, HttpRoute(SYSTEM), HttpRoute(UNMATCHED)]
    assert not layers.failed
    assert [answer(layers.service(route)).status for route in routes] == [200] * 4


def test_a_layer_that_could_not_be_put_around_a_service_is_built_again():
    """A layer that raises when it is called is built again like one whose hook failed."""
    missing = True

    def layer(service: HttpService) -> HttpService:
        if missing:
            raise FileNotFoundError("keys")
        return service

    reports: list[Any] = []
    layers = HttpLayers(lambda route: [("a", layer)], STAGES, lambda *each: reports.append(each))
    layers.update([SHOP])
    assert layers.failed
    assert answer(layers.service(SHOP)).status == 500
    missing = False
    layers.update([SHOP])
    assert not layers.failed
    assert answer(layers.service(SHOP)).status == 200
    assert len(reports) == 1
