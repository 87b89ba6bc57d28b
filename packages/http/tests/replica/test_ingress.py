"""`@serve.ingress` with FastAPI: route methods, dependencies, lifespans and mistakes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import pytest
from anyio.to_thread import current_default_thread_limiter
from fastapi import (
    APIRouter,
    BackgroundTasks,
    Depends,
    FastAPI,
    HTTPException,
    Query,
    Request,
    UploadFile,
)
from fastapi.responses import PlainTextResponse, StreamingResponse
from pydantic import BaseModel

from alacarte import serve
from alacarte.errors import BackPressureError, DeploymentUnavailableError, ServeError

from .. import gates

app = FastAPI(title="Zoo", dependencies=[])
router = APIRouter(prefix="/sub", tags=["sub"])
nested = APIRouter(prefix="/nested")


class Item(BaseModel):
    name: str
    price: float = 1.0


class Public(BaseModel):
    name: str


class Teapot(Exception):
    pass


@app.exception_handler(Teapot)
async def short_and_stout(request: Request, error: Teapot) -> PlainTextResponse:
    return PlainTextResponse("short and stout", 418)


@app.middleware("http")
async def stamped(request: Request, call_next: Any) -> Any:
    response = await call_next(request)
    response.headers["x-stamp"] = "yes"
    return response


@app.get("/function")
def function(request: Request) -> str:
    return request.url.path


def limit(n: int = 3) -> int:
    return n


class Base:
    greeting = "hello"

    @app.get("/inherited")
    def inherited(self) -> str:
        return f"{self.greeting} {self.name}"

    @app.get("/overridden")
    def overridden(self) -> str:
        return "base"


@serve.deployment(max_ongoing_requests=8)
@serve.ingress(app)
class Zoo(Base):
    def __init__(self, name: str) -> None:
        self.name = name

    def twice(self, n: Annotated[int, Depends(limit)]) -> str:
        return f"{self.name} {2 * n}"

    async def opened(self) -> AsyncIterator[str]:
        gates.GATE.note("open")
        try:
            yield self.name
        finally:
            gates.GATE.note("close")

    @app.get("/async")
    async def is_async(self) -> str:
        return self.name

    @app.get("/sync")
    def is_sync(self) -> list[str]:
        return [self.name, threading.current_thread().name]

    @app.get("/items/{number}")
    def item(self, number: int, tag: Annotated[list[str] | None, Query()] = None) -> Any:
        """Fetch an item."""
        return {"number": number, "tag": tag, "name": self.name}

    @app.post("/items", status_code=201, response_model=Public)
    async def make(self, item: Item) -> Item:
        return item

    @app.get("/depends")
    def depends(
        self,
        method: Annotated[str, Depends(twice)],
        other: str = Depends(twice),
        opened: str = Depends(opened),
    ) -> list[str]:
        return [method, other, opened]

    @app.get("/guarded", dependencies=[Depends(twice)])
    def guarded(self) -> str:
        return "in"

    @app.get("/both")
    def same(self) -> str:
        return "get"

    @app.post("/both")
    def same(self) -> str:  # noqa: F811  FastAPI keeps both
        return "post"

    @app.get("/static")
    @staticmethod
    def static(q: str) -> str:
        return q

    @app.post("/upload")
    async def upload(self, file: UploadFile) -> list[Any]:
        return [file.filename, len(await file.read()), self.name]

    @app.get("/stream")
    def stream(self) -> StreamingResponse:
        return StreamingResponse(self.parts(), media_type="text/event-stream")

    @app.get("/late-stream")
    async def late_stream(self) -> StreamingResponse:
        return StreamingResponse(self.late_parts(), 202)

    async def late_parts(self) -> AsyncIterator[str]:
        await gates.GATE.pass_async()
        yield "late"

    async def parts(self) -> AsyncIterator[str]:
        yield "data: 1\n\n"
        await gates.GATE.pass_async()
        yield "data: 2\n\n"

    @app.get("/sync-stream")
    def sync_stream(self) -> StreamingResponse:
        def parts() -> Iterator[str]:
            yield "a"
            yield "b"

        return StreamingResponse(parts())

    @app.get("/background")
    async def background(self, tasks: BackgroundTasks) -> str:
        tasks.add_task(self.later, 1)
        return "sent"

    async def later(self, n: int) -> None:
        await gates.GATE.pass_async()
        gates.GATE.note(f"{self.name} {n}")

    @app.get("/raise/{kind}")
    async def fail(self, kind: str) -> None:
        match kind:
            case "http":
                raise HTTPException(409, "conflict")
            case "teapot":
                raise Teapot
            case "busy":
                raise BackPressureError("x", 9, 8, 2.5)
            case "gone":
                raise DeploymentUnavailableError("x", "was deleted")
        raise ValueError("secret reason")

    def broken(self) -> None:
        self.deeper()

    def deeper(self) -> None:
        json.loads("nonsense")

    @app.get("/dependent")
    def dependent(self, broken: Annotated[None, Depends(broken)]) -> None: ...

    @app.get("/unsendable")
    async def unsendable(self) -> Any:
        return {"key": object()}

    @app.get("/stay")
    async def stay(self) -> None:
        await gates.GATE.wait_cancelled()

    @router.get("/route")
    def sub(self) -> str:
        return f"sub {self.name}"

    @nested.get("/route")
    def deep(self) -> str:
        return f"nested {self.name}"


@app.get("/afterwards")
def afterwards() -> str:
    return "seen"


@pytest.fixture
def zoo(site):
    site.run(Zoo.bind("ada"), "/zoo")
    return site


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/async", "ada"),
        ("/items/4?tag=a&tag=b", {"number": 4, "tag": ["a", "b"], "name": "ada"}),
        ("/function", "/zoo/function"),
        ("/inherited", "hello ada"),
        ("/guarded", "in"),
        ("/both", "get"),
        ("/depends?n=5", ["ada 10", "ada 10", "ada"]),
        ("/depends", ["ada 6", "ada 6", "ada"]),
        ("/static?q=x", "x"),
    ],
)
def test_routes(zoo, path, answer):
    """Route methods get the instance as `self`, and their parameters from FastAPI."""
    found = zoo.http.get(f"/zoo{path}")
    assert (found.status_code, found.json()) == (200, answer)
    assert found.headers["x-stamp"] == "yes"


def test_sync_routes(zoo):
    """Sync routes run in a thread, not on the replica's event loop."""
    name, thread = zoo.http.get("/zoo/sync").json()
    assert name == "ada"
    assert "AnyIO" in thread


def test_methods_of_one_name(zoo):
    """Methods of one name have a route each."""
    assert zoo.http.post("/zoo/both").json() == "post"


def test_bodies(zoo):
    """Bodies are validated, and responses have their model and status."""
    found = zoo.http.post("/zoo/items", json={"name": "a", "price": 2})
    assert (found.status_code, found.json()) == (201, {"name": "a"})
    found = zoo.http.post("/zoo/items", json={"price": 2})
    assert (found.status_code, found.json()["detail"][0]["loc"]) == (422, ["body", "name"])
    assert zoo.http.get("/zoo/items/x").status_code == 422
    assert zoo.http.delete("/zoo/items/1").status_code == 405
    assert zoo.http.get("/zoo/none").json() == {"detail": "Not Found"}


def test_uploads(zoo):
    """Uploaded files arrive, even large ones."""
    found = zoo.http.post("/zoo/upload", files={"file": ("a.bin", bytes(3_000_000))})
    assert found.json() == ["a.bin", 3_000_000, "ada"]


def test_dependencies_with_an_end(zoo, gate):
    """A method can be a dependency with yield, which ends with the request."""
    zoo.http.get("/zoo/depends")
    assert [gate.next_note(), gate.next_note()] == ["open", "close"]


def test_streams(zoo, gate):
    """A method's stream is sent as it is produced."""
    with zoo.http.stream("GET", "/zoo/stream") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        parts = answer.iter_text()
        assert next(parts) == "data: 1\n\n"
        gate.entered()
        gate.open.set()
        assert next(parts) == "data: 2\n\n"
    assert zoo.http.get("/zoo/sync-stream").text == "ab"


def test_the_head_of_a_stream(zoo, gate):
    """The head of a stream is sent before its first part."""
    with zoo.http.stream("GET", "/zoo/late-stream") as answer:
        assert answer.status_code == 202
        gate.entered()
        gate.open.set()
        assert answer.read() == b"late"


def test_background_tasks(zoo, gate):
    """A response does not wait for its background task."""
    assert zoo.http.get("/zoo/background").json() == "sent"
    gate.entered()
    assert gate.notes() == []
    gate.open.set()
    assert gate.next_note() == "ada 1"


def test_the_pages(zoo):
    """FastAPI's pages are below the route prefix and show no `self`."""
    page = zoo.http.get("/zoo/docs")
    assert (page.status_code, "'/zoo/openapi.json'" in page.text) == (200, True)
    schema = zoo.http.get("/zoo/openapi.json").json()
    assert schema["info"]["title"] == "Zoo"
    assert schema["servers"] == [{"url": "/zoo"}]
    item = schema["paths"]["/items/{number}"]["get"]
    assert [parameter["name"] for parameter in item["parameters"]] == ["number", "tag"]
    assert item["description"] == "Fetch an item."
    assert set(schema["paths"]["/both"]) == {"get", "post"}


def test_later_routes_are_not_seen(zoo):
    """Routes added after the decorator are not served."""
    assert zoo.http.get("/zoo/afterwards").status_code == 404


@pytest.mark.parametrize(
    ("kind", "status", "text"),
    [
        ("http", 409, "conflict"),
        ("teapot", 418, "short and stout"),
        ("busy", 503, "overloaded"),
        ("gone", 503, "unavailable"),
    ],
)
def test_exceptions(zoo, kind, status, text):
    """The user's exception handlers respond; uncaught errors of nested calls become a 503."""
    found = zoo.http.get(f"/zoo/raise/{kind}")
    assert found.status_code == status
    assert text in found.text
    assert found.headers.get("retry-after") == ("3" if kind == "busy" else None)


def test_an_unhandled_exception(zoo, caplog):
    """An unhandled exception is a 500 and one log entry from the user's first frame."""
    with caplog.at_level(logging.ERROR):
        found = zoo.http.get("/zoo/raise/else", headers={"X-Request-ID": "the-id"})
        assert (found.status_code, found.text) == (500, "Internal Server Error")
        assert zoo.http.get("/zoo/async").status_code == 200
    [record] = [item for item in caplog.records if item.name.startswith("alacarte")]
    assert "the-id" in record.getMessage()
    assert "secret reason" in caplog.text
    assert "in fail\n" in caplog.text
    assert record.exc_info is not None


def test_a_result_that_fastapi_cannot_encode(zoo, caplog):
    """The log names the route's function and line instead of FastAPI's frames."""
    assert zoo.http.get("/zoo/unsendable").status_code == 500
    [record] = [item for item in caplog.records if item.name.startswith("alacarte")]
    line = Zoo.func_or_class.unsendable.__code__.co_firstlineno
    assert record.getMessage().endswith(f", in Zoo.unsendable ({__file__}:{line})")
    assert caplog.text.count("File ") < 8


def test_a_dependency_that_fails(zoo, caplog):
    """The log has all of the user's frames."""
    assert zoo.http.get("/zoo/dependent").status_code == 500
    for name in ("broken", "deeper", "loads"):
        assert f"in {name}\n" in caplog.text


def test_a_client_that_leaves(zoo, gate):
    """A disconnect cancels the handler."""
    with zoo.wire() as wire:
        wire.ask("/zoo/stay")
        gate.entered()
    assert gate.next_note() == "cancelled"


threaded = FastAPI()


@serve.deployment
@serve.ingress(threaded)
class Threaded:
    def __init__(self) -> None:
        gates.GATE.note("made")

    @threaded.get("/sync")
    def sync(self) -> None:
        gates.GATE.pass_sync()

    @threaded.get("/threads")
    async def threads(self) -> float:
        return current_default_thread_limiter().total_tokens

    @threaded.get("/later")
    def later(self, tasks: BackgroundTasks) -> None:
        tasks.add_task(gates.GATE.pass_sync)

    @threaded.get("/quick")
    def quick(self) -> str:
        return "done"


def test_threads_of_sync_routes(site, gate):
    """As many sync routes run at once as `max_ongoing_requests`, above AnyIO's 40."""
    site.run(Threaded.options(max_ongoing_requests=45).bind())
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(site.wire()) for _ in range(45)]
        for wire in wires:
            wire.ask("/sync")
        for _ in wires:
            gate.entered()
        gate.open.set()
        assert {wire.answer().status for wire in wires} == {200}


def test_threads_follow_the_option(site, gate):
    """`max_ongoing_requests` changes the number of threads in place, to at least 40."""
    for limit, threads in ((50, 50), (2, 40), (60, 60)):
        site.run(Threaded.options(max_ongoing_requests=limit).bind())
        assert site.http.get("/threads").json() == threads
    assert gate.notes() == ["made"]


def test_sync_background_tasks_take_no_thread_of_a_request(site, gate):
    """A sync background task takes no request's thread."""
    site.run(Threaded.options(max_ongoing_requests=1).bind())
    assert site.http.get("/later").status_code == 200
    gate.entered()
    try:
        assert site.http.get("/quick", timeout=5).json() == "done"
    finally:
        gate.open.set()


# --- several classes and applications ---------------------------------------------------

shared = FastAPI()


@shared.get("/common")
def common() -> str:
    return "common"


@serve.deployment
@serve.ingress(shared)
class First:
    @shared.get("/first")
    def first(self) -> str:
        return type(self).__name__

    @shared.get("/same")
    def same(self) -> str:
        return "first"


@serve.deployment
@serve.ingress(shared)
class Second:
    @shared.get("/second")
    def second(self) -> str:
        return type(self).__name__

    @shared.get("/same")
    def same(self) -> str:
        return "second"


def test_two_classes_with_one_application(site):
    """Classes that share an application see their own routes and its functions."""
    site.run(First.bind(), "/1", "one")
    site.run(Second.bind(), "/2", "two")
    for _ in range(2):
        assert site.http.get("/1/first").json() == "First"
        assert site.http.get("/1/same").json() == "first"
        assert site.http.get("/2/second").json() == "Second"
        assert site.http.get("/2/same").json() == "second"
        assert site.http.get("/2/common").json() == "common"
        assert site.http.get("/1/second").status_code == 404
        assert site.http.get("/2/first").status_code == 404


class Child(First.func_or_class):  # type: ignore[misc,name-defined]
    def __init__(self) -> None:
        self.own = True


def test_a_subclass_of_a_decorated_class(site):
    """A subclass that inherits routes."""
    site.run(serve.deployment(Child).bind())
    assert site.http.get("/first").json() == "Child"


def test_two_replicas_of_one_class(site):
    """Two deployments of one class do not disturb each other's instances."""
    site.run(Zoo.bind("ada"), "/a", "a")
    site.run(Zoo.bind("bob"), "/b", "b")
    assert [site.http.get(f"/{x}/async").json() for x in "abab"] == ["ada", "bob"] * 2


@serve.deployment
@serve.ingress(router)
class Routed:
    def __init__(self) -> None:
        self.name = "routed"

    @router.get("/own/{x}")
    async def own(self, x: int) -> str:
        return f"{self.name} {x}"


def test_a_router(site):
    """An `APIRouter` is served like an application with its routes."""
    site.run(Routed.bind())
    assert site.http.get("/sub/own/3").json() == "routed 3"
    assert "/sub/own/{x}" in site.http.get("/openapi.json").json()["paths"]


def included() -> Any:
    inner, outer, whole = APIRouter(prefix="/inner"), APIRouter(prefix="/outer"), FastAPI()

    def guard(x: int = 1) -> int:
        return x

    class Deep:
        @inner.get("/route")
        def route(self, request: Request) -> str:
            return f"{type(self).__name__} {request.url.path}"

    outer.include_router(inner)
    whole.include_router(outer, prefix="/v1", tags=["v1"], dependencies=[Depends(guard)])
    return serve.deployment(serve.ingress(whole)(Deep))


def test_routers_in_routers(site):
    """Methods are routes of included routers, at any depth, with prefixes and dependencies."""
    site.run(included().bind())
    path = "/v1/outer/inner/route"
    assert site.http.get(path).json() == f"Deep {path}"
    assert site.http.get(f"{path}?x=a").status_code == 422
    schema = site.http.get("/openapi.json").json()["paths"][path]["get"]
    assert schema["tags"] == ["v1"]
    assert [parameter["name"] for parameter in schema["parameters"]] == ["x"]


def test_the_functional_form(site):
    """`ingress(app)()` returns a class for an application without one."""
    site.run(serve.deployment(serve.ingress(shared)(), name="shell").bind(1, a=2))
    assert site.http.get("/common").json() == "common"


def build() -> FastAPI:
    built = FastAPI()

    @built.get("/")
    def root() -> str:
        return "built"

    return built


@serve.deployment
@serve.ingress(build)
class Built:
    pass


@serve.deployment
@serve.ingress()
class SelfBuilt:
    def __init__(self, word: str) -> None:
        self.word = word

    def __serve_build_asgi_app__(self) -> FastAPI:
        built = FastAPI()
        built.get("/")(self.root)
        return built

    def root(self) -> str:
        return self.word


def test_builders(site):
    """A function or a method of the instance builds the application in the replica."""
    site.run(Built.bind(), "/built", "built")
    site.run(SelfBuilt.bind("own"), "/own", "own")
    assert site.http.get("/built/").json() == "built"
    assert site.http.get("/own/").json() == "own"


@serve.deployment
@serve.ingress(lambda: 3)
class BuiltWrong:
    pass


def test_a_builder_of_something_else(site):
    """A builder that returns no application fails the start with a reason."""
    with pytest.raises(ServeError, match="must return an ASGI application, not 3"):
        site.run(BuiltWrong.bind())


# --- the user's exception handlers ------------------------------------------------------

own = FastAPI()


@own.exception_handler(ServeError)
async def any_of_them(request: Request, error: ServeError) -> PlainTextResponse:
    return PlainTextResponse("mine", 429)


@serve.deployment
@serve.ingress(own)
class WithHandler:
    @own.get("/")
    async def root(self) -> None:
        raise BackPressureError("x", 9, 8, 2.5)


def test_a_handler_of_the_users_own(site):
    """A user's handler precedes the added one."""
    site.run(WithHandler.bind())
    assert (site.http.get("/").status_code, site.http.get("/").text) == (429, "mine")


# --- lifespan ---------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    gates.GATE.note("started")
    app.state.here = "app"
    yield {"there": ["state"]}
    await asyncio.sleep(0)
    gates.GATE.note("stopped")


living = FastAPI(lifespan=lifespan)


@serve.deployment
@serve.ingress(living)
class Living:
    def __init__(self) -> None:
        gates.GATE.note("constructed")

    @living.get("/")
    def root(self, request: Request) -> list[Any]:
        return [request.app.state.here, request.state.there]

    def __del__(self) -> None:
        gates.GATE.note("deleted")


def test_lifespan(site, gate):
    """A lifespan runs between constructor and destructor, and its state reaches requests."""
    site.run(Living.bind())
    assert [gate.next_note(), gate.next_note()] == ["constructed", "started"]
    assert site.http.get("/").json() == ["app", ["state"]]
    serve.delete("default")
    assert [gate.next_note(), gate.next_note()] == ["stopped", "deleted"]


@contextlib.asynccontextmanager
async def broken(app: FastAPI) -> AsyncIterator[None]:
    raise ValueError("no database")
    yield


dead = FastAPI(lifespan=broken)


@serve.deployment(max_constructor_retry_count=1)
@serve.ingress(dead)
class Dead:
    pass


def test_a_lifespan_that_fails(site):
    """A lifespan that raises fails the start, with the user's frame first."""
    with pytest.raises(ServeError, match="no database") as caught:
        site.run(Dead.bind())
    first = str(caught.value).split("Traceback")[1].split("File ")[1]
    assert "in broken" in first


# --- mistakes ---------------------------------------------------------------------------


def test_not_a_class():
    """Decorating another object than a class raises."""
    with pytest.raises(ValueError, match="must decorate a class, not <function"):
        serve.ingress(FastAPI())(build)
    with pytest.raises(ValueError, match=r"Put @serve\.deployment above"):
        serve.ingress(FastAPI())(Built)


def test_a_class_with_call():
    """A class with `__call__` is refused: it would never run."""
    with pytest.raises(ValueError, match="has __call__"):

        @serve.ingress(FastAPI())
        class Called:
            def __call__(self) -> None: ...


def test_a_route_without_self():
    """A route method without `self` is refused by the decorator."""
    wrong = FastAPI()
    with pytest.raises(ServeError, match=r"'/x' must take self"):

        @serve.ingress(wrong)
        class Wrong:
            @wrong.get("/x")
            def route() -> None: ...


def test_no_application():
    """A missing application, or a decorator without parentheses, raises."""
    with pytest.raises(ValueError, match="__serve_build_asgi_app__"):

        @serve.ingress()
        class Empty:
            pass

    with pytest.raises(ValueError, match=r"Write @serve\.ingress\(app\)"):

        @serve.ingress
        class Bare:
            pass

    with pytest.raises(ValueError, match="not 3"):
        serve.ingress(3)
