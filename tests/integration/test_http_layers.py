"""A stranger's API keys in front of an instance: tests/foreign_plugin_apikey, on both clusters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.integration.instance import TIMEOUT_S, Instance, free_port

from alacarte import serve

apikey = pytest.importorskip("apikey", reason="`nox -s integration` installs it")

ALICE, OPERATOR = "key of alice", "key of the operators"


@serve.deployment
class Inner:
    def __call__(self) -> str:
        identity = serve.get_request_context().identity
        return "nobody" if identity is None else identity.subject


@serve.deployment
class Desk:
    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def __call__(self) -> str:
        return str(await self.inner.remote())


@pytest.fixture(scope="module")
def guarded(cluster: str) -> Iterator[Instance]:
    """An instance that asks for keys, with one application."""
    options = {
        "enabled": True,
        "keys": {"shop": {apikey.digest(ALICE): "alice"}},
        "operators": {apikey.digest(OPERATOR): "operator"},
    }
    serve.start(cluster=cluster, http_options={"port": free_port()}, apikey_options=options)
    here = Instance(cluster)
    serve.run(Desk.bind(Inner.bind()), name="shop", route_prefix="/shop")
    yield here
    serve.shutdown()
    here.assert_gone()


def ask(path: str, key: str = "", method: str = "GET", **options: Any) -> httpx.Response:
    [url] = serve.status().urls
    headers = {"x-api-key": key} if key else {}
    return httpx.request(
        method, url + path, headers=headers, timeout=TIMEOUT_S, trust_env=False, **options
    )


def test_only_who_has_a_key_is_answered(guarded: Instance):
    """The proxy, a process of its own on Ray, refuses; the replicas know who asks."""
    for path in ("/shop", "/none", "/-/routes"):
        assert ask(path).status_code == 401
    assert ask("/shop", method="POST", content=b"x" * 1_000_000).status_code == 401
    assert ask("/shop", ALICE).text == "alice"
    assert ask("/-/routes", OPERATOR).json() == {"/shop": "shop"}


def test_a_new_proxy_asks_for_keys_too(guarded: Instance):
    """Layers are built before a proxy takes its first request."""
    serve.restart_services()
    assert ask("/shop").status_code == 401
    assert ask("/shop", ALICE).text == "alice"


def test_a_new_version_is_guarded(guarded: Instance):
    """The layers of a route are built again with its deployment."""
    serve.run(Desk.options(num_replicas=2).bind(Inner.bind()), name="shop", route_prefix="/shop")
    assert ask("/shop").status_code == 401
    assert ask("/shop", ALICE).text == "alice"
