"""FastAPI classes that are pickled by value: those of builders, tests and notebooks.

In one process cloudpickle hands back the class it was given, so a local cluster alone shows nothing
of what happens to it on the way. Here it arrives as in another process.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Annotated, Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import pytest
from cloudpickle import cloudpickle
from fastapi import APIRouter, Depends, FastAPI, WebSocket

from alacarte import serve
from alacarte._replica import replica_actor

from ..websocket.test_websocket_connection import opened

_loading = threading.Lock()


@contextlib.contextmanager
def a_process_of_its_own() -> Iterator[None]:
    """Make cloudpickle forget the classes that it has pickled in this process."""
    with _loading, pytest.MonkeyPatch.context() as patch:
        patch.setattr(cloudpickle, "_DYNAMIC_CLASS_TRACKER_BY_ID", WeakValueDictionary())
        patch.setattr(cloudpickle, "_DYNAMIC_CLASS_TRACKER_BY_CLASS", WeakKeyDictionary())
        yield


@pytest.fixture(autouse=True)
def arrives_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make replicas load code as on another machine."""
    load = replica_actor.load_code

    def load_there(*args: Any) -> Any:
        with a_process_of_its_own():
            return load(*args)

    monkeypatch.setattr(replica_actor, "load_code", load_there)


def build(factor: int = 2) -> Any:
    """Return an application, like a builder in a user's program."""
    app = FastAPI(title="inner")
    router = APIRouter()

    class Base:
        @app.get("/inherited")
        def inherited(self, x: int) -> int:
            return x + self.offset

        @app.get("/overridden")
        def overridden(self) -> str:
            return "base"

    @serve.deployment
    @serve.ingress(app)
    class Model(Base):
        def __init__(self, offset: int) -> None:
            self.offset = offset

        def scaled(self, x: int) -> int:
            return factor * x + self.offset

        @app.get("/double")
        def double(self, x: int) -> int:
            return factor * x + self.offset

        @app.post("/double")
        def double(self, x: int) -> int:  # noqa: F811  FastAPI keeps both
            return -factor * x

        @app.get("/depends")
        async def depends(self, scaled: Annotated[int, Depends(scaled)]) -> int:
            return scaled

        @app.get("/overridden", operation_id="own")
        def overridden(self) -> str:
            return "model"

        @app.get("/static")
        @staticmethod
        def static(q: str) -> str:
            return q

        @app.websocket("/socket")
        async def socket(self, socket: WebSocket) -> None:
            await socket.accept()
            await socket.send_text(f"offset {self.offset}")
            await socket.close()

        @app.get("/place")
        def place(self) -> list[Any]:
            schema = app.openapi()
            return [app.url_path_for("place"), app.title, sorted(schema["paths"])]

        @app.get("/shown")
        def shown(self) -> list[str]:
            [parameter] = app.openapi()["paths"]["/double"]["get"]["parameters"]
            return [parameter["name"], *(route.path for route in app.routes[-2:])]

        @router.get("/sub")
        def sub(self) -> int:
            return self.offset

    return Model.bind(1)


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/double?x=4", 9),
        ("/inherited?x=4", 5),
        ("/depends?x=3", 7),
        ("/overridden", "model"),
        ("/static?q=a", "a"),
        (
            "/place",
            [
                "/place",
                "inner",
                ["/depends", "/double", "/inherited", "/overridden", "/place", "/shown", "/static"],
            ],
        ),
        ("/shown", ["x", "/place", "/shown"]),
    ],
)
def test_a_class_made_in_a_function(site, path, answer):
    """Routes, dependencies and base classes of a local class get the instance.

    The application that a method sees around it is a whole one.
    """
    site.run(build())
    found = site.http.get(path)
    assert (found.status_code, found.json()) == (200, answer)


def test_two_methods_of_one_name(site):
    """A method that the class body redefines keeps its route."""
    site.run(build(3))
    assert [site.http.get("/double?x=1").json(), site.http.post("/double?x=1").json()] == [4, -3]


async def test_a_web_socket_route(site):
    """A WebSocket route is a method of the instance."""
    site.run(build())
    async with opened(site, "/socket") as client:
        assert await client.recv() == "offset 1"


def test_a_builder_in_the_replica(site):
    """Routes of an application built in the replica are methods of the class."""

    def make() -> Any:
        router = APIRouter()

        @serve.deployment
        @serve.ingress()
        class Model:
            name = "ada"

            @router.get("/name")
            def get_name(self) -> str:
                return self.name

            def __serve_build_asgi_app__(self) -> Any:
                app = FastAPI()
                app.include_router(router, prefix="/sub")
                return app

        return Model.bind()

    site.run(make())
    assert site.http.get("/sub/name").json() == "ada"


def test_the_application_in_the_constructor(site):
    """The application is complete in the constructor."""

    def make() -> Any:
        app = FastAPI()
        router = APIRouter(prefix="/sub")

        @router.get("/x")
        def x() -> str:
            return "x"

        app.include_router(router)

        @serve.deployment
        @serve.ingress(app)
        class Model:
            def __init__(self) -> None:
                self.known = [app.url_path_for("x"), *app.openapi()["paths"]]

            @app.get("/known")
            def get_known(self) -> list[str]:
                return self.known

        return Model.bind()

    site.run(make())
    assert site.http.get("/known").json() == ["/sub/x", "/sub/x", "/known"]


def test_routes_that_were_not_used_yet():
    """Unused unpickled routes can be pickled again, and FastAPI can create further ones."""

    def endpoint(x: int) -> int:
        return x

    app = FastAPI()
    app.add_api_route("/x", endpoint)
    [route] = [item for item in app.routes if getattr(item, "path", "") == "/x"]
    there = cloudpickle.loads(cloudpickle.dumps(cloudpickle.loads(cloudpickle.dumps(route))))
    other = type(there)("/y", endpoint)
    assert type(other) is type(route)
    assert other.path_regex.pattern == "^/y$"
    assert isinstance(there, type(route))
    assert there.path_regex.pattern == "^/x$"
    assert type(there) is type(route)
    assert [field.name for field in there.dependant.query_params] == ["x"]
