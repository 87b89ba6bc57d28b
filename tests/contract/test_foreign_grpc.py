"""A stranger's gRPC ingress: applications by name, beside HTTP, through public names only.

It lies in tests/foreign_plugin_grpc; `nox -s contract` builds and installs it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from alacarte import serve
from alacarte.errors import ErrorCode, RequestError
from alacarte.testing import check_plugin, local_instance, wait_until

pytest.importorskip("grpc_door", reason="nox -s contract installs tests/foreign_plugin_grpc")
import grpc

ROOT = Path(__file__).parents[2]
WAIT_S = 20.0


class Gate:
    """How a test and a replica meet, in one process."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.cancelled = threading.Event()


GATE = Gate()


@serve.deployment(name="Model", max_ongoing_requests=10)
class Model:
    """Answers bytes with bytes, in every way that a method can."""

    def Upper(self, request: bytes) -> bytes:  # noqa: N802  as gRPC names methods
        return request.upper()

    async def App(self, request: bytes) -> bytes:  # noqa: N802
        return serve.get_replica_context().app_name.encode()

    def Letters(self, request: bytes) -> Iterator[bytes]:  # noqa: N802
        for letter in request.decode():
            yield letter.encode()

    async def Empty(self, request: bytes) -> AsyncIterator[bytes]:  # noqa: N802
        for nothing in ():
            yield nothing

    async def Hang(self, request: bytes) -> AsyncIterator[bytes]:  # noqa: N802
        import asyncio

        yield b"begun"
        GATE.entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            GATE.cancelled.set()

    async def Fail(self, request: bytes) -> bytes:  # noqa: N802
        if request == b"a bug":
            raise ValueError("not for clients")
        error = RequestError("for the log")
        error.code = ErrorCode(request.decode())
        error.client_message = "for the client"
        raise error

    async def Text(self, request: bytes) -> str:  # noqa: N802
        return "text"


@pytest.fixture
def url() -> Iterator[str]:
    """The HTTP proxy of an instance on the local cluster that answers gRPC as well."""
    GATE.entered.clear()
    GATE.cancelled.clear()
    with local_instance(grpc_options={"port": 0}) as url:
        yield url


@pytest.fixture
def channel(url: str) -> Iterator[Any]:
    """A client of the gRPC service."""
    [service] = [each for each in serve.status().services.values() if each.service == "grpc"]
    with grpc.insecure_channel(service.url.removeprefix("grpc://")) as channel:
        yield channel


def ask(channel: Any, method: str, request: bytes = b"", app: str = "", **options: Any) -> bytes:
    """Make a unary call."""
    answer: bytes = channel.unary_unary(f"/shop.Shop/{method}")(
        request, metadata=[("application", app)] if app else [], **{"timeout": WAIT_S, **options}
    )
    return answer


def stream(channel: Any, method: str, request: bytes = b"") -> Any:
    return channel.unary_stream(f"/shop.Shop/{method}")(request, timeout=WAIT_S)


def refused(channel: Any, method: str, request: bytes = b"", **options: Any) -> tuple[str, str]:
    """Return the status of a call that fails, and its details."""
    with pytest.raises(grpc.RpcError) as caught:
        ask(channel, method, request, **options)
    return caught.value.code().name, caught.value.details()


def test_it_keeps_the_rules():
    """As every plugin's first test says; and nothing of ours knows it."""
    assert check_plugin("grpc").distribution == "grpc-ingress-for-alacarte"
    sources = (ROOT / "packages").glob("*/src/**/*.py")
    assert not [path for path in sources if "grpc_door" in path.read_text(encoding="utf-8")]


def test_methods_of_every_kind_answer(channel):
    """Sync, async and generator methods, once or as a stream, of an application without a route."""
    serve.run(Model.bind(), name="shop", route_prefix=None)
    assert ask(channel, "Upper", b"x") == b"X"
    assert ask(channel, "App") == b"shop"
    assert list(stream(channel, "Letters", b"abc")) == [b"a", b"b", b"c"]
    assert list(stream(channel, "Empty")) == []
    assert list(stream(channel, "Upper", b"x")) == [b"X"]


def test_applications_are_called_by_name(channel):
    """Ready when `serve.run` returns, and unknown once they are deleted."""
    assert refused(channel, "App", app="shop")[0] == "NOT_FOUND"
    for name in ("shop", "other"):
        serve.run(Model.bind(), name=name, route_prefix=None)
        assert ask(channel, "App", app=name) == name.encode()
    code, details = refused(channel, "App")
    assert (code, details) == ("NOT_FOUND", "No application is named; there are: other, shop.")
    serve.delete("other")
    wait_until(lambda: refused(channel, "App", app="other")[0] == "NOT_FOUND", WAIT_S)


def test_http_goes_on_beside_it(url, channel, caplog):
    """The proxy keeps its place in the status, and `serve.run` says the HTTP address."""
    with caplog.at_level(logging.INFO, "alacarte"):
        serve.run(Model.bind(), name="shop", route_prefix="/shop")
    assert [each.url.rstrip("/") for each in serve.status().proxies.values()] == [url]
    assert f"is ready at {url}/shop" in caplog.text
    assert ask(channel, "Upper", b"both") == b"BOTH"


@pytest.mark.parametrize("code", list(ErrorCode))
def test_neutral_codes_become_statuses(channel, code):
    """Each has gRPC's name; clients read the text for them, and nothing of the log's."""
    serve.run(Model.bind(), name="shop", route_prefix=None)
    assert refused(channel, "Fail", code.encode()) == (code.name, "for the client")


def test_what_else_goes_wrong(channel):
    """A method that is not there, a bug of the user's, a value that is no bytes, and a deadline."""
    serve.run(Model.bind(), name="shop", route_prefix=None)
    assert refused(channel, "Buy") == ("UNIMPLEMENTED", "There is no method Buy.")
    assert refused(channel, "Fail", b"a bug") == ("INTERNAL", "The application failed.")
    assert refused(channel, "Text") == ("INTERNAL", "The application failed.")
    assert refused(channel, "Hang", timeout=0.2)[0] == "DEADLINE_EXCEEDED"
    assert GATE.cancelled.wait(WAIT_S)


def test_a_client_that_leaves_cancels_the_work(channel):
    """In the middle of a stream."""
    serve.run(Model.bind(), name="shop", route_prefix=None)
    call = stream(channel, "Hang")
    assert next(call) == b"begun"
    assert GATE.entered.wait(WAIT_S)
    call.cancel()
    assert GATE.cancelled.wait(WAIT_S)


def test_a_successor_keeps_the_port(channel):
    """In a restart of the service, clients go on with the address they have."""
    serve.run(Model.bind(), name="shop", route_prefix=None)
    before = serve.status().services
    serve.restart_services("grpc", drain_s=WAIT_S)
    assert serve.status().services.keys() == before.keys()
    assert ask(channel, "App", wait_for_ready=True) == b"shop"
