"""Programs written for Ray Serve, and what differs between clusters by nature: both run them.

On the local cluster replicas share this process; on Ray their code travels, by value where it was
made in a function, and nothing of this process is there.
"""

from __future__ import annotations

import functools
import json
import socket
import types
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
import starlette
from fastapi import APIRouter, Depends, FastAPI, WebSocket
from starlette.requests import Request
from tests.integration.instance import Instance
from websockets.sync.client import connect

from alacarte import serve
from alacarte.errors import DeployError
from alacarte.serve.handle import DeploymentHandle


def build(factor: int) -> serve.Application:
    """Return an application whose parts are all made here, as builders and notebook cells do."""
    app = FastAPI(title="built")
    router = APIRouter(prefix="/sub")

    class Base:
        offset = 1

        @app.get("/inherited")
        def inherited(self, x: int) -> int:
            return x + self.offset

    @router.get("/function")
    def function() -> str:
        return "function"

    app.include_router(router)

    @serve.deployment(max_ongoing_requests=50, ray_actor_options={"num_cpus": 0.1})
    @serve.ingress(app)
    class Model(Base):
        def scaled(self, x: int) -> int:
            return factor * x + self.offset

        @app.get("/scaled")
        def double(self, x: int) -> int:
            return self.scaled(x)

        @app.get("/depends")
        async def depends(self, scaled: Annotated[int, Depends(scaled)]) -> int:
            return scaled

        @app.websocket("/socket")
        async def socket(self, socket: WebSocket) -> None:
            await socket.accept()
            await socket.send_text(f"offset {self.offset}")
            await socket.close()

        @app.get("/place")
        def place(self) -> list[Any]:
            return [app.url_path_for("place"), app.url_path_for("function"), app.title]

        @app.get("/schema")
        def schema(self) -> dict[str, Any]:
            return app.openapi()["paths"]  # type: ignore[no-any-return]

        @app.get("/threads")
        async def threads(self) -> float:
            from anyio.to_thread import current_default_thread_limiter

            return current_default_thread_limiter().total_tokens

    return Model.bind()


@pytest.fixture(scope="module")
def built(instance: Instance) -> Iterator[Instance]:
    serve.run(build(2), name="built", route_prefix="/built")
    yield instance
    serve.delete("built")


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/scaled?x=4", 9),
        ("/inherited?x=4", 5),
        ("/depends?x=3", 7),
        ("/sub/function", "function"),
        ("/place", ["/place", "/sub/function", "built"]),
        ("/threads", 50),
    ],
)
def test_a_fastapi_class_made_in_a_function(built: Instance, path: str, answer: Any):
    """Its methods are routes, those of its base as well, and it may use its application."""
    found = built.get(f"/built{path}")
    assert (found.status, json.loads(found.body)) == (200, answer)


def test_its_schema(built: Instance):
    """A method sees the routes as clients do, without `self`."""
    paths = json.loads(built.get("/built/schema").body)
    assert {"/scaled", "/inherited", "/sub/function"} <= set(paths)
    [parameter] = paths["/scaled"]["get"]["parameters"]
    assert parameter["name"] == "x"


def test_its_web_socket(built: Instance):
    """It is a method of the instance, too."""
    own = socket.create_connection(("127.0.0.1", built.port), timeout=20)
    with connect(f"ws://127.0.0.1:{built.port}/built/socket", sock=own) as client:
        assert client.recv(20) == "offset 1"


def deployed(target: Any, instance: Instance, **options: Any) -> DeploymentHandle:
    options = {"ray_actor_options": {"num_cpus": 0.1}, **options}
    app = serve.deployment(**options)(target).bind()
    handle: DeploymentHandle = serve.run(app, name="moved", route_prefix="/moved")
    return handle


@pytest.fixture
def moved(instance: Instance) -> Iterator[Instance]:
    yield instance
    serve.delete("moved")


def test_mappings_as_answers(moved: Instance):
    """Query parameters, headers and other mappings are JSON objects."""

    def handler(request: starlette.requests.Request) -> Any:
        match request.query_params.get("what"):
            case "headers":
                return request.headers
            case "proxy":
                return types.MappingProxyType({"a": 1})
        return request.query_params

    deployed(handler, moved)
    assert json.loads(moved.get("/moved?a=b&c=d").body) == {"a": "b", "c": "d"}
    assert json.loads(moved.get("/moved?what=headers", x_own="1").body)["x-own"] == "1"
    assert json.loads(moved.get("/moved?what=proxy").body) == {"a": 1}


def test_status_in_a_replica(moved: Instance):
    """It is the instance's, from sync and async code."""

    class Monitor:
        def sync(self) -> list[str]:
            return sorted(serve.status().applications)

        async def coroutine(self) -> list[str]:
            return sorted(serve.status().applications)

    handle = deployed(Monitor, moved)
    known = sorted(serve.status().applications)
    assert "moved" in known
    assert handle.sync.remote().result() == handle.coroutine.remote().result() == known


def test_methods_that_return_generators(moved: Instance):
    """`stream=True` asks what the call gives, not what the method is."""

    class Delegates:
        def items(self) -> Iterator[int]:
            yield from range(3)

        def __call__(self) -> Iterator[int]:
            return self.items()

        async def coroutine(self) -> Iterator[int]:
            return self.items()

        partial = functools.partialmethod(items)

    handle = deployed(Delegates, moved).options(stream=True)
    for method in (handle, handle.coroutine, handle.partial):
        assert list(method.remote()) == [0, 1, 2]
    with pytest.raises(TypeError, match=r"moved#Delegates.__call__ returned a generator.*stream"):
        handle.options(stream=False).remote().result()


def test_batched_generators(moved: Instance):
    """Streams that are read one after the other share the batch in which they were called."""

    class Batched:
        @serve.batch(max_batch_size=2, batch_wait_timeout_s=1000)
        async def spell(self, words: list[str]) -> Any:
            yield [len(words)] * len(words)

        async def __call__(self) -> list[int]:
            streams = [self.spell("a"), self.spell("b")]
            return [item for stream in streams async for item in stream]

    assert deployed(Batched, moved).remote().result(timeout_s=20) == [2, 2]


def test_numbers_as_text(moved: Instance):
    """As `serve run module:build num_replicas=2` hands them to a builder."""

    def handler() -> str:
        return "here"

    deployed(handler, moved, num_replicas="2", max_ongoing_requests="7")
    assert len(moved.replicas("moved")) == 2


def test_a_forgotten_await(moved: Instance):
    """The client gets a 500, and a handle's caller the error that asks for it."""

    class Forgetful:
        async def inner(self) -> int:
            return 1

        async def __call__(self, *request: Request) -> Any:
            return self.inner()

    handle = deployed(Forgetful, moved)
    assert moved.get("/moved").status == 500
    told = r"moved#Forgetful.__call__ \(.*\.py:\d+\) returned a coroutine of .*inner.*: did"
    with pytest.raises(TypeError, match=told):
        handle.remote().result()


def test_a_package_that_is_not_there(moved: Instance):
    """The error of the deploy says how to bring it to the replica."""

    class Lacking:
        def __init__(self) -> None:
            import torchh  # type: ignore[import-not-found]  # noqa: F401

    with pytest.raises(DeployError, match=r"No module named 'torchh'\. Install the package"):
        deployed(Lacking, moved, max_constructor_retry_count=1)
