"""The stranger's gRPC ingress on both clusters: its node service, its protocol, and a restart."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from tests.integration.conftest import started
from tests.integration.instance import Instance

from alacarte import serve

pytest.importorskip("grpc_door", reason="nox -s integration installs tests/foreign_plugin_grpc")
import grpc

WAIT_S = 30.0


@pytest.fixture(scope="module")
def instance(cluster: str) -> Iterator[Instance]:
    """An instance that answers HTTP and gRPC."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALACARTE_GRPC__PORT", "0")
        yield from started(cluster)


@serve.deployment(num_replicas=2, ray_actor_options={"num_cpus": 0})
class Shop:
    def Upper(self, request: bytes) -> bytes:  # noqa: N802  as gRPC names methods
        return request.upper()

    def Letters(self, request: bytes) -> Iterator[bytes]:  # noqa: N802
        for letter in request.decode():
            yield letter.encode()

    async def Fail(self, request: bytes) -> bytes:  # noqa: N802
        raise ValueError("not for clients")


@pytest.fixture
def channel(here: Instance) -> Iterator[Any]:
    """A client, after `serve.run` of an application without a route."""
    serve.run(Shop.bind(), name="shop", route_prefix=None)
    [service] = [each for each in serve.status().services.values() if each.service == "grpc"]
    with grpc.insecure_channel(service.url.removeprefix("grpc://")) as channel:
        yield channel


def ask(channel: Any, method: str, request: bytes, **options: Any) -> bytes:
    answer: bytes = channel.unary_unary(f"/s.Shop/{method}")(request, timeout=WAIT_S, **options)
    return answer


def test_calls_of_each_kind(channel: Any, here: Instance):
    """Once, as a stream, and an error of the user's; the proxy stands in the status as ever."""
    assert ask(channel, "Upper", b"x") == b"X"
    stream = channel.unary_stream("/s.Shop/Letters")(b"abc", timeout=WAIT_S)
    assert list(stream) == [b"a", b"b", b"c"]
    with pytest.raises(grpc.RpcError) as caught:
        ask(channel, "Fail", b"")
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert serve.status().urls == (here.url,)


def test_calls_go_on_through_a_restart_of_the_service(channel: Any):
    """The successor listens at the same port before its predecessor stops."""
    done = threading.Event()
    answers: list[bytes] = []

    def load() -> None:
        while not done.is_set():
            answers.append(ask(channel, "Upper", b"y", wait_for_ready=True))

    caller = threading.Thread(target=load)
    caller.start()
    try:
        serve.restart_services("grpc", drain_s=WAIT_S)
    finally:
        done.set()
        caller.join(WAIT_S)
    assert set(answers) == {b"Y"}
    assert ask(channel, "Upper", b"z", wait_for_ready=True) == b"Z"
