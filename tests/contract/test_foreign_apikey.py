"""API keys for each application, from somebody else's wheel: tests/foreign_plugin_apikey."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from alacarte import serve
from alacarte.plugins import load_plugins
from alacarte.testing import check_plugin

pytest.importorskip("apikey", reason="nox -s contract installs tests/foreign_plugin_apikey")
from apikey import digest

OPTIONS = {
    "enabled": True,
    "keys": {
        "shop": {digest("of alice"): "alice"},
        "bank": {digest("of bob"): "bob"},
        "talk": {digest("of alice"): "alice"},
        "cached": {digest("of alice"): "alice", digest("of bob"): "bob"},
    },
    "operators": {digest("of the operators"): "operator"},
}
WAIT_S = 20
RUNS: list[str] = []


@serve.deployment
class Inner:
    def __call__(self) -> str:
        identity = serve.get_request_context().identity
        return "nobody" if identity is None else identity.subject


@serve.deployment
class Desk:
    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def __call__(self, request: Any) -> dict[str, Any]:
        RUNS.append(request.url.path)
        return {
            "inner": await self.inner.remote(),
            "key": request.headers.get("x-api-key"),
            "size": len(await request.body()),
        }


async def _talk(scope: Any, receive: Any, send: Any) -> None:
    RUNS.append(scope["path"])
    await receive()
    await send({"type": "websocket.accept"})
    identity = serve.get_request_context().identity
    await send({"type": "websocket.send", "text": identity.subject if identity else "nobody"})
    await send({"type": "websocket.close"})


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The proxy of an instance that asks for keys."""
    serve.start(cluster="local", http_options={"port": 0}, apikey_options=OPTIONS)
    try:
        for name in ("shop", "bank"):
            serve.run(Desk.bind(Inner.bind()), name=name, route_prefix=f"/{name}")
        serve.run(
            serve.deployment(serve.ingress(_talk)()).bind(), name="talk", route_prefix="/talk"
        )
        if importlib.util.find_spec("answer_cache"):
            cached = Desk.options(cache={"ttl_s": 60}).bind(Inner.bind())
            serve.run(cached, name="cached", route_prefix="/cached")
        [found] = serve.status().urls
        yield found
    finally:
        serve.shutdown()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    RUNS.clear()


def get(url: str, key: str = "", **options: Any) -> httpx.Response:
    headers = {"x-api-key": key} if key else {}
    method = options.pop("method", "GET")
    return httpx.request(method, url, headers=headers, timeout=WAIT_S, trust_env=False, **options)


def test_it_is_loaded_under_a_late_name():
    """`zauth` is behind every other name; its stage puts it outside all the same."""
    [record] = [each for each in load_plugins().loaded if each.name == "zauth"]
    assert record.distribution == "apikey-for-alacarte"


@pytest.mark.parametrize("key", ["", "wrong", "of bob", "of  alice"])
def test_without_a_key_of_the_application_no_user_code_runs(url: str, key: str):
    """401, also for the key of another application."""
    answer = get(f"{url}/shop", key)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "ApiKey")
    assert RUNS == []


def test_a_key_tells_who_asks(url: str):
    """Its owner is known in every deployment that the request reaches; the key is in none."""
    assert get(f"{url}/shop", "of alice").json() == {"inner": "alice", "key": None, "size": 0}
    assert get(f"{url}/bank", "of bob").json()["inner"] == "bob"


def test_handles_pass_unguarded(url: str):
    """Nobody has established who calls."""
    assert serve.get_deployment_handle("Inner", "shop").remote().result() == "nobody"


def test_a_body_is_not_read_before(url: str):
    """5 MB are refused, and the connection goes on."""
    body = b"x" * 5_000_000
    with httpx.Client(timeout=WAIT_S, trust_env=False) as client:
        assert client.post(f"{url}/shop", content=body).status_code == 401
        assert RUNS == []
        headers = {"x-api-key": "of alice"}
        answer = client.post(f"{url}/shop", content=body, headers=headers)
        assert answer.json()["size"] == len(body)


@pytest.mark.parametrize(
    ("path", "status"), [("/-/routes", 200), ("/-/healthz", 200), ("/-/x", 404), ("/none", 404)]
)
def test_other_paths_need_the_operators_key(url: str, path: str, status: int):
    """The proxy's own paths, and those that nobody answers, tell strangers nothing."""
    for key in ("", "of alice"):
        assert get(url + path, key).status_code == 401
    assert get(url + path, "of the operators").status_code == status


async def _handshake(url: str, path: str, key: str = "") -> str:
    headers = {"x-api-key": key} if key else {}
    address = url.replace("http", "ws") + path
    async with connect(address, additional_headers=headers, proxy=None) as client:
        return str(await client.recv())


def test_handshakes_of_websockets_need_a_key(url: str):
    """401 before user code; with a key the connection has an identity."""
    for path in ("/talk", "/none", "/-/healthz"):
        with pytest.raises(InvalidStatus) as refused:
            asyncio.run(_handshake(url, path))
        assert refused.value.response.status_code == 401
    assert RUNS == []
    assert asyncio.run(_handshake(url, "/talk", "of alice")) == "alice"


def test_the_key_does_not_reach_other_applications(url: str):
    """A path that leads elsewhere when it is decoded is that of its own route."""
    for path in ("/bank", "/%62ank", "/bank/../shop", "//bank", "/shop/../bank"):
        if get(url + path, "of alice").status_code == 200:
            assert RUNS
            assert not any(run.startswith("/bank") for run in RUNS), path


def test_a_cache_answers_nobody_without_a_key(url: str):
    """The cache of another stranger stands inside, though its plugin's name comes first."""
    pytest.importorskip(
        "answer_cache", reason="nox -s contract installs tests/foreign_plugin_cache"
    )
    address = f"{url}/cached"
    statuses = [get(address, key).status_code for key in ("", "of alice", "", "wrong")]
    assert statuses == [401, 200, 401, 401]
    assert get(address, "of alice").headers["x-answer-cache"] == "hit"
    assert get(address, "of bob").json()["inner"] == "bob"
    assert len(RUNS) == 2


def test_it_is_off_by_default():
    """An instance that does not enable it serves everybody."""
    from apikey.hooks import wrap_http

    from alacarte_http.layers import HttpRoute

    class Config:
        def section(self, name: str) -> Any:
            from apikey.config import ApiKeyOptions

            return ApiKeyOptions()

    assert wrap_http(route=HttpRoute("unmatched"), config=Config()) is None


def test_it_keeps_the_rules():
    """The check that every plugin begins with takes its layers, too."""
    assert check_plugin("zauth").version == "0.3.0"
