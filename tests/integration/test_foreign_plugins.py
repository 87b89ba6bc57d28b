"""Every stranger's plugin at once in one instance, on both clusters.

They lie in tests/foreign_plugin*/; `nox -s integration` builds and installs them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from tests.integration.instance import Client, Instance, free_port

from alacarte import serve
from alacarte.plugins import load_plugins
from alacarte.testing import wait_until

ROOT = Path(__file__).parents[2]
MODULES = sorted(path.name for path in ROOT.glob("tests/foreign_plugin*/src/*") if path.is_dir())
MISSING = [module for module in MODULES if importlib.util.find_spec(module) is None]
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"nox -s integration installs {', '.join(MISSING)}"
)
KEY = "secret of alice"
WAIT_S = 30


@serve.deployment(
    name="Shop",
    num_replicas=2,
    ray_actor_options={"num_cpus": 0},
    routing_policy={"name": "peak_ewma", "decay_s": 2.0},
    cache={"ttl_s": 60},
)
class Shop:
    """Answers over HTTP, by handle and over gRPC, and says what its replica's plugins have seen."""

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self, request: Request) -> str:
        self.asked += 1
        identity = serve.get_request_context().identity
        return f"{self.asked} for {identity.subject if identity else 'nobody'}"

    def Upper(self, request: bytes) -> bytes:  # noqa: N802  as gRPC names methods
        return request.upper()

    def seen(self, nonce: int) -> dict[str, Any]:
        from audit_memory import notes, opened
        from counting_meter import counts
        from stranger.observer import replicas

        started = counts["replica", "shop#Shop", "started"]
        return {"notes": notes, "opened": opened, "started": started, "replicas": list(replicas)}


@pytest.fixture(scope="module")
def everything(cluster: str) -> Iterator[Instance]:
    """An instance in which every plugin does what it is for."""
    from apikey import digest

    serve.start(
        cluster=cluster,
        http_options={"port": free_port()},
        apikey_options={
            "enabled": True,
            "keys": {"shop": {digest(KEY): "alice"}},
            "operators": {digest("ops"): "monitoring"},
        },
        audit_trail_options={"enabled": True},
        counting_meter_options={"enabled": True},
        grpc_options={"port": 0},
        stranger_options={"layers": True, "notes": True},
        required_plugins=["zauth"],
    )
    serve.run(Shop.bind(), name="shop", route_prefix="/")
    yield Instance(cluster)
    serve.shutdown()


@pytest.fixture(scope="module")
def client(everything: Instance) -> Iterator[Client]:
    client = Client(serve.status().urls[0])
    yield client
    client.close()


def test_all_of_them_are_loaded(everything: Instance):
    """Each module under tests/ has its plugin, none has failed, and none fails at run time."""
    targets = {record.target.partition(".")[0] for record in load_plugins().loaded}
    assert set(MODULES) <= targets
    assert len(MODULES) >= 8
    assert [each for each in load_plugins().examine() if each.state == "failed"] == []


def test_the_key_is_asked_for_before_the_cache_answers(client: Client):
    """Without a key 401, with it an answer that is kept; and again without, again 401."""
    headers = {"X-API-Key": KEY}
    assert client.get("/").status == 401
    first = client.get("/", **headers)
    assert (first.status, first.text) == (200, "1 for alice")
    assert client.get("/", **headers).text == first.text
    assert client.get("/").status == 401
    assert client.get("/-/healthz").status == 401


def test_handles_grpc_and_layers_side_by_side(everything: Instance):
    """A handle's call passes every layer, and the gRPC ingress answers beside the HTTP proxy."""
    import grpc

    handle = serve.get_app_handle("shop")
    nonces = iter(range(1000))

    def seen() -> dict[str, Any]:
        found: dict[str, Any] = handle.seen.remote(next(nonces)).result(timeout_s=WAIT_S)
        return found

    wait_until(lambda: {"seen", "__call__"} & set(seen()["notes"]), WAIT_S, "notes of calls")
    found = seen()
    assert ("shop#Shop", ["memory"]) in [(each, sinks) for each, sinks in found["opened"]]
    assert ("shop#Shop", "Shop") in [tuple(each) for each in found["replicas"]]
    assert found["started"] > 0
    [service] = [each for each in serve.status().services.values() if each.service == "grpc"]
    with grpc.insecure_channel(service.url.removeprefix("grpc://")) as channel:
        answer = channel.unary_unary("/shop.Shop/Upper")(
            b"word", metadata=[("application", "shop")], timeout=WAIT_S
        )
    assert answer == b"WORD"


def test_the_status_knows_them_apart(everything: Instance):
    """HTTP is the proxy of its node, the other services stand beside it, and nothing has failed."""
    status = serve.status()
    assert {each.service for each in status.proxies.values()} == {"http"}
    assert {"http", "grpc", "stranger.notes"} <= {s.service for s in status.services.values()}
    assert status.plugin_failures == ()
