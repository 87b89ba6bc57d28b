"""The proxy on real sockets: HTTP/1.1, routes, disconnects and failures."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import threading
from collections.abc import AsyncIterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from alacarte import serve
from alacarte.errors import ConfigError
from alacarte.instance import get_instance
from alacarte.serve import _current
from alacarte.testing import wait_until
from alacarte.types import DeploymentId, Resource, Route

from .. import gates, plugin
from ..gates import WAIT_S
from ..websocket.support import UPGRADE
from ..wire import Wire

pytestmark = pytest.mark.once  # bytes on a socket, the same whatever Python answers


@serve.deployment(max_ongoing_requests=64)
async def echo(request: Request) -> Any:
    """Respond with the request."""
    body = await request.body()
    return {
        "method": request.method,
        "path": request.url.path,
        "root_path": request.scope["root_path"],
        "raw_path": request.scope["raw_path"].decode("latin-1"),
        "query": dict(request.query_params),
        "headers": [[name, value] for name, value in request.headers.items()],
        "size": len(body),
        "digest": hashlib.sha256(body).hexdigest(),
        "client": request.client[0],
        "version": request.scope["http_version"],
    }


@serve.deployment(max_ongoing_requests=64)
async def mirror(request: Request) -> Response:
    """Respond with the request's body and the requested status."""
    status = int(request.query_params.get("status", 200))
    return Response(await request.body(), status)


@serve.deployment(max_ongoing_requests=64)
async def slow(request: Request) -> str:
    """Wait in the first request of a pipeline only."""
    if request.query_params.get("wait"):
        await gates.GATE.pass_async()
    return request.url.path


@serve.deployment
async def cookies() -> Response:
    response = Response("biscuits", headers={"X-Own": "a"})
    response.set_cookie("one", "1")
    response.set_cookie("two", "2")
    response.raw_headers.append((b"x-own", b"b"))
    return response


@serve.deployment
async def own_id() -> Response:
    return Response("mine", headers={"X-Request-ID": "the-application's-own"})


@serve.deployment(max_ongoing_requests=4)
class Stay:
    """Wait until cancelled."""

    async def __call__(self) -> str:
        await gates.GATE.wait_cancelled()
        return "never"


@serve.deployment(max_ongoing_requests=1, max_queued_requests=1)
class Narrow:
    async def __call__(self) -> str:
        await gates.GATE.pass_async()
        return "through"


@serve.deployment(max_ongoing_requests=1)
class OneAtATime:
    async def __call__(self, request: Request) -> str:
        gates.GATE.note(request.url.path)
        await gates.GATE.pass_async()
        return request.url.path


@serve.deployment(num_replicas=2)
class Gated:
    async def __call__(self) -> str:
        gates.GATE.note(serve.get_replica_context().replica_id)
        await gates.GATE.pass_async()
        return "through"


def kill(name: str) -> None:
    """Kill the actors with this in their names, like `kill -9`."""
    for actor_name, actor in list(_current.current().cluster._actors.items()):
        if name in actor_name:
            actor.kill()


@serve.deployment
class LateStart:
    """A deployment with a slow constructor."""

    async def __init__(self) -> None:
        await gates.GATE.pass_async()

    def __call__(self) -> str:
        return "ready"


@serve.deployment
async def breaking_off() -> StreamingResponse:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"first"
        raise ValueError("secret reason")

    return StreamingResponse(pieces())


@serve.deployment
class Broken:
    def __init__(self) -> None:
        raise ValueError("secret reason")

    def __call__(self) -> str:
        return "never"


# --- connections ------------------------------------------------------------------------


def test_keep_alive(site):
    """One connection serves request after request, and the client may end it."""
    site.run(echo.bind())
    with site.wire() as wire:
        for i in range(3):
            wire.ask(f"/{i}", "POST", body=b"x" * i)
            answer = wire.answer()
            assert answer.status == 200
            assert json.loads(answer.body)["path"] == f"/{i}"
            assert not answer.all("connection")
        wire.ask("/", "GET", "Connection: close")
        assert wire.answer()["connection"] == "close"
        assert wire.rest() == b""


def test_http_1_0(site):
    """An HTTP/1.0 request gets a response with its length, and the connection closes."""
    site.run(echo.bind())
    with site.wire() as wire:
        wire.send(b"GET /old HTTP/1.0\r\n\r\n")
        answer = wire.answer()
        assert json.loads(answer.body)["version"] == "1.0"
        assert answer["connection"] == "close"
        assert wire.rest() == b""


def test_pipelining(site, gate):
    """Pipelined requests are answered in order, even if a later one finishes first."""
    site.run(slow.bind())
    with site.wire() as wire:
        wire.send(
            b"GET /first?wait=1 HTTP/1.1\r\nHost: x\r\n\r\n",
            b"POST /second HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
            b"GET /-/healthz HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n",
        )
        gate.entered()
        gate.open.set()
        bodies = [wire.answer().body for _ in range(4)]
    assert bodies == [b"/first", b"/second", b"success", b"/nowhere"]


def test_a_request_in_pieces(site):
    """A request may arrive in any pieces."""
    site.run(echo.bind())
    request = b"POST /a?b=c HTTP/1.1\r\nHost: x\r\nX-Y: z\r\nContent-Length: 2\r\n\r\nhi"
    with site.wire() as wire:
        for at in range(len(request)):
            wire.send(request[at : at + 1])
        found = json.loads(wire.answer().body)
    assert (found["path"], found["query"], found["size"]) == ("/a", {"b": "c"}, 2)
    assert ["x-y", "z"] in found["headers"]


SMUGGLED = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
LENGTH_AND_CHUNKED = b"Host: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(b"NONSENSE\r\n\r\n", id="nonsense"),
        pytest.param(b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n", id="nul"),
        pytest.param(b"GET / HTTP/1.1\r\nBad Header: y\r\n\r\n", id="name"),
        pytest.param(b"GET / HTTP/1.1\r\n: y\r\n\r\n", id="no-name"),
        pytest.param(b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", id="length"),
        pytest.param(
            b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", id="lengths"
        ),
        pytest.param(b"POST / HTTP/1.1\r\n" + LENGTH_AND_CHUNKED + SMUGGLED, id="smuggling"),
        pytest.param(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", id="chunk"),
        pytest.param(b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", id="connect"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="tls"),
    ],
)
def test_malformed_requests(site, request_bytes):
    """A malformed request gets 400 and its connection closes; others are served."""
    site.run(echo.bind())
    with site.wire() as wire:
        wire.send(request_bytes)
        answer = wire.answer()
        assert answer.status == 400
        assert b"smuggled" not in wire.rest()
    assert site.http.get("/").status_code == 200


def test_a_client_that_leaves_in_the_middle_of_a_request(site):
    """An incomplete head or body does not disturb other clients."""
    site.run(echo.bind())
    for start in (b"GET / HT", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc"):
        with site.wire() as wire:
            wire.send(start)
    assert site.http.get("/").status_code == 200


def test_a_websocket(site):
    """A WebSocket for a plain handler is denied without 101."""
    site.run(echo.bind())
    with site.wire() as wire:
        wire.ask(
            "/", "GET", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        )  # fmt: skip
        assert wire.answer().status in (200, 400, 403, 404, 426, 501)
    assert site.http.get("/").status_code == 200


def test_an_upgrade_without_a_websocket(site):
    """A client that offers HTTP/2 is served in HTTP/1.1 on the same connection."""
    site.run(echo.bind())
    with site.wire() as wire:
        wire.ask("/up", "GET", "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings")
        assert json.loads(wire.answer().body)["path"] == "/up"


# --- bodies -----------------------------------------------------------------------------


def test_head(site):
    """HEAD has GET's headers, with the length, and no body."""
    site.run(slow.bind())
    with site.wire() as wire:
        for path in ("/some/path", "/-/healthz"):
            wire.ask(path)
            got = wire.answer()
            wire.ask(path, "HEAD")
            head = wire.answer("HEAD")
            assert head.status == 200
            assert head["content-length"] == got["content-length"] == str(len(got.body))
            assert head["content-type"] == got["content-type"]
        wire.ask("/after")
        assert wire.answer().body == b"/after"


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_a_body(site, status):
    """204 and 304 have no body even if the handler returns one."""
    site.run(mirror.bind())
    with site.wire() as wire:
        wire.ask(f"/?status={status}", "POST", body=b"ignored")
        answer = wire.answer()
        assert answer.status == status
        assert not answer.all("transfer-encoding")
        assert not answer.all("content-length")
        wire.ask("/", "POST", body=b"next")
        assert wire.answer().body == b"next"


@pytest.mark.parametrize("status", [299, 418, 599])
def test_any_status(site, status):
    """Any status is sent, even one without a phrase."""
    site.run(mirror.bind())
    assert site.http.post(f"/?status={status}", content=b"x").status_code == status


@pytest.mark.parametrize("status", [99, 600, 1000, 70000])
def test_an_invalid_status(site, status):
    """An invalid status becomes 500, and the connection stays open."""
    site.run(mirror.bind())
    with site.wire() as wire:
        wire.ask(f"/?status={status}", "POST", body=b"x")
        assert wire.answer().status == 500
        wire.ask("/", "POST", body=b"next")
        assert wire.answer().body == b"next"


def test_a_chunked_upload(site):
    """A chunked upload reaches the handler as one body, without its trailers."""
    site.run(mirror.bind())
    with site.wire() as wire:
        wire.ask("/", "POST", "Transfer-Encoding: chunked")
        wire.send(b"3\r\nabc\r\n", b"A;ext=1\r\n0123456789\r\n", b"0\r\nX-Trailer: y\r\n\r\n")
        assert wire.answer().body == b"abc0123456789"
        wire.ask("/", "POST", body=b"next")
        assert wire.answer().body == b"next"


def test_expect_100_continue(site):
    """A client that expects 100 Continue gets it when the body is read."""
    site.run(mirror.bind())
    with site.wire() as wire:
        wire.ask("/", "POST", "Expect: 100-continue", "Content-Length: 5")
        assert wire.answer().status == 100
        wire.send(b"hello")
        answer = wire.answer()
    assert (answer.status, answer.body) == (200, b"hello")


def test_expect_100_continue_without_reading(site):
    """A response that does not read the body is sent without 100 Continue."""
    site.run(mirror.bind(), "/a")
    with site.wire() as wire:
        wire.ask("/b", "POST", "Expect: 100-continue", "Content-Length: 5")
        assert wire.answer().status == 404


BIG = bytes(range(256)) * (5 * 4 * 1024)


def test_large_bodies(site):
    """5 MB are sent and returned, with a length and in chunks."""
    site.run(mirror.bind())
    assert len(BIG) == 5 * 1024 * 1024
    assert site.http.post("/", content=BIG).content == BIG
    pieces = (BIG[at : at + 100_000] for at in range(0, len(BIG), 100_000))
    assert site.http.post("/", content=pieces).content == BIG


def test_many_large_bodies_at_once(site):
    """Concurrent large bodies are not mixed up."""
    site.run(mirror.bind())

    def post(i: int) -> bool:
        body = bytes([i]) * 1_000_000
        return bool(
            httpx.post(site.url, content=body, trust_env=False, timeout=WAIT_S).content == body
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(post, range(16)))


def test_an_answer_before_the_whole_upload(site):
    """A request without a route is answered before its body, which is then skipped."""
    site.run(mirror.bind(), "/a")
    with site.wire() as wire:
        wire.ask("/b", "POST", "Content-Length: 1000000")
        assert wire.answer().status == 404
        wire.send(b"x" * 1_000_000)
        wire.ask("/a", "POST", body=b"next")
        assert wire.answer().body == b"next"


# --- headers ----------------------------------------------------------------------------


def test_request_headers_arrive(site):
    """All request headers arrive in order, with duplicates."""
    site.run(echo.bind())
    with site.wire() as wire:
        wire.ask("/", "GET", "X-A: 1", "x-b: \xe4", "X-A: 2", "X-Empty:")
        found = json.loads(wire.answer().body)["headers"]
    assert found == [["host", "x"], ["x-a", "1"], ["x-b", "\xe4"], ["x-a", "2"], ["x-empty", ""]]


def test_response_headers_arrive(site):
    """Duplicate response headers, such as cookies, stay separate."""
    site.run(cookies.bind())
    with site.wire() as wire:
        wire.ask()
        answer = wire.answer()
    assert [value.split(";")[0] for value in answer.all("set-cookie")] == ["one=1", "two=2"]
    assert answer.all("x-own") == ["a", "b"]
    assert len(answer.all("date")) == 1
    assert not answer.all("server")


@pytest.mark.parametrize("given", ["abc-123", "A.b_c:d/e@f=+", "x" * 128])
def test_a_request_id_of_the_clients(site, given):
    """A client's request id is used and echoed once."""
    site.run(echo.bind())
    with site.wire() as wire:
        wire.ask("/", "GET", f"X-Request-ID: {given}")
        assert wire.answer()["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", 'a"b', "<script>", "a,b", "\xe4", "a;b"])
def test_a_request_id_that_could_do_harm(site, given):
    """An invalid request id is replaced."""
    site.run(echo.bind())
    with site.wire() as wire:
        wire.ask("/", "GET", f"X-Request-ID: {given}")
        assert re.fullmatch(r"[0-9a-f]{32}", wire.answer()["x-request-id"])


def test_request_ids_are_generated(site):
    """Each request gets an id, errors too, but not the proxy's own paths."""
    site.run(echo.bind(), "/a")
    ids = [site.http.get(path).headers["x-request-id"] for path in ("/a", "/a", "/nowhere")]
    assert len(set(ids)) == 3
    assert "x-request-id" not in site.http.get("/-/healthz").headers


def test_a_request_id_of_the_applications(site):
    """A handler's own `X-Request-ID` is replaced, not repeated."""
    site.run(own_id.bind())
    with site.wire() as wire:
        wire.ask()
        assert len(wire.answer().all("x-request-id")) == 1


# --- routing ----------------------------------------------------------------------------


def test_routes_and_health(site):
    """`/-/routes` is a JSON object from prefixes to applications, `/-/healthz` is "success"."""
    assert site.http.get("/-/routes").json() == {}
    site.run(echo.bind(), "/", "root")
    site.run(mirror.bind(), "/a/b", "other")
    site.run(slow.bind(), None, "hidden")
    routes = site.http.get("/-/routes")
    assert routes.json() == {"/": "root", "/a/b": "other"}
    assert routes.headers["content-type"] == "application/json"
    health = site.http.get("/-/healthz")
    assert (health.status_code, health.text) == (200, "success")
    assert site.http.head("/-/healthz").status_code == 200
    serve.delete("other")
    assert site.http.get("/-/routes").json() == {"/": "root"}


@pytest.mark.parametrize("path", ["/-/", "/-/route", "/-/routes/", "/-/healthz/x"])
def test_other_paths_of_the_proxys(site, path):
    """Other paths below `/-/` never reach an application, even one at "/"."""
    site.run(echo.bind())
    answer = site.http.get(path)
    assert answer.status_code == 404
    assert "/-/routes" in answer.text


@pytest.mark.parametrize("path", ["/-", "/-a", "/a/-/routes", "/%2d/routes", "/%2D/healthz"])
def test_paths_that_only_decode_to_the_proxys_own(site, path):
    """A path that only decodes to `/-/` belongs to the application."""
    site.run(echo.bind())
    assert site.http.get(path).json()["path"] == path.replace("%2d", "-").replace("%2D", "-")


@pytest.mark.parametrize("path", ["/-/routes", "/-/healthz", "/-/other"])
def test_the_proxys_own_paths_are_only_read(site, path):
    """A method other than GET and HEAD gets 405 with `Allow`."""
    for method in ("POST", "DELETE", "OPTIONS", "PUT"):
        answer = site.http.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


def test_routes_are_shown_to_known_hosts(start):
    """`/-/routes` is forbidden for host names that an attacker may control (DNS rebinding)."""
    site = start(routes_hosts=["known.example"])
    known = ("localhost", "LocalHost:8000", "app.localhost", "127.0.0.1:80", "[::1]:8000",
             "10.0.0.7", "Known.example:1")  # fmt: skip
    strange = ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "[v1.x]",
               "localhost.evil.example", "notlocalhost")  # fmt: skip
    for host in known:
        assert site.http.get("/-/routes", headers={"Host": host}).status_code == 200
    for host in strange:
        answer = site.http.get("/-/routes", headers={"Host": host})
        assert answer.status_code == 403
        assert "routes_hosts" in answer.text
        assert site.http.get("/-/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "name", ["serve_multiplexed_model_id", "x-session-id", "x-serve-shard-key"]
)
@pytest.mark.parametrize("byte", [b"a", b"\xe9"])
def test_a_key_that_is_too_long(site, name, byte):
    """A key above the limit gets 431 with header and limit; a key at the limit is passed on."""
    site.run(echo.bind())
    with site.wire() as wire:
        for size, status in ((8192, 200), (8193, 431), (33_000, 431)):
            wire.send(b"GET / HTTP/1.1\r\nHost: x\r\n%b: %b\r\n\r\n" % (name.encode(), byte * size))
            answer = wire.answer()
            assert answer.status == status
            assert status == 200 or (name.encode() in answer.body and b"8192" in answer.body)


def test_no_application(site):
    """A path without a route gets 404 with the path and a hint."""
    site.run(echo.bind(), "/a")
    answer = site.http.get("/ab")
    assert answer.status_code == 404
    assert answer.text == "No application serves '/ab'. GET /-/routes lists the routes."
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


def test_applications_side_by_side(site):
    """Each application gets the requests of its prefix, the longest first, with the whole path."""
    site.run(echo.bind(), "/", "root")
    site.run(echo.bind(), "/a", "a")
    site.run(echo.bind(), "/a/b", "ab")
    for path, root_path in [
        ("/", ""), ("/x", ""), ("/ab", ""), ("/a", "/a"), ("/a/", "/a"), ("/a/x", "/a"),
        ("/a/b", "/a/b"), ("/a/b/c", "/a/b"), ("/a/bc", "/a"),
    ]:  # fmt: skip
        found = site.http.get(path).json()
        assert (found["path"], found["root_path"]) == (path, root_path)


def test_root_path(start):
    """`root_path` precedes the route's prefix, and the path is unchanged."""
    site = start(root_path="/outer")
    site.run(echo.bind(), "/a", "a")
    site.run(echo.bind(), "/", "root")
    assert site.http.get("/a/x").json()["root_path"] == "/outer/a"
    assert site.http.get("/a/x").json()["raw_path"] == "/a/x"
    assert site.http.get("/b").json()["root_path"] == "/outer"


def test_encoded_paths(site):
    """Escapes are decoded in `path` and kept in `raw_path`."""
    site.run(echo.bind())
    found = site.http.get("/gr%C3%BC%C3%9F%2Fe%FF?q=%26").json()
    assert found["raw_path"] == "/gr%C3%BC%C3%9F%2Fe%FF"
    assert found["path"].startswith("/gr")
    assert found["query"] == {"q": "&"}


def test_targets_of_other_forms(site):
    """A request with an absolute target is served; `OPTIONS *` gets a response."""
    site.run(echo.bind())
    with site.wire() as wire:
        wire.ask("http://x/whole?a=1")
        assert json.loads(wire.answer().body)["path"] == "/whole"
        wire.ask("*", "OPTIONS")
        assert wire.answer().status in (200, 204, 400, 404)


def test_methods(site):
    """A route with methods responds 405 to others, with the allowed methods."""
    site.run(echo.bind(), None)
    target = DeploymentId("default", "echo")
    route = Route("/form", "default", {target: 1.0}, methods=frozenset({"POST", "GET"}))
    get_instance().apply(Resource("door", "form", route))
    assert site.http.post("/form").json()["method"] == "POST"
    for method in ("PUT", "OPTIONS"):
        answer = site.http.request(method, "/form")
        assert answer.status_code == 405
        assert answer.headers["allow"] == "GET, HEAD, POST"
        assert answer.text == f"{method} is not allowed for /form. Allowed: GET, HEAD, POST."


def test_head_of_a_get_route(site):
    """HEAD is allowed exactly where GET is, without the body."""
    site.run(mirror.bind(), None)
    target = DeploymentId("default", "mirror")
    for name, method in (("get", "GET"), ("post", "POST")):
        route = Route(f"/{name}", name, {target: 1.0}, methods=frozenset({method}))
        get_instance().apply(Resource("door", name, route))
    with site.wire() as wire:
        wire.ask("/get?status=203", "HEAD")
        assert wire.answer("HEAD").status == 203
        wire.ask("/post", "HEAD")
        refused = wire.answer("HEAD")
        assert (refused.status, refused["allow"]) == (405, "POST")
        wire.ask("/get")
        assert wire.answer().status == 200


def test_exact_routes(site):
    """An exact route matches its path only, and the prefix around it still serves the others."""
    site.run(echo.bind(), None)
    route = Route("/one", "single", {DeploymentId("default", "echo"): 1.0}, exact=True)
    get_instance().apply(Resource("door", "single", route))
    assert site.http.get("/one?a=1").status_code == 200
    for path in ("/one/", "/one/more", "//one", "/One", "/on", "/"):
        assert site.http.get(path).status_code == 404
    site.run(mirror.bind(), "/", "around")
    assert site.http.get("/one").json()["root_path"] == "/one"
    assert site.http.get("/one/").content == b""
    assert site.http.get("/-/routes").json() == {"/": "around", "/one": "single"}


# --- failures ---------------------------------------------------------------------------


def test_a_port_in_use(local):
    """The error names the port and the remedy."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"port {port} on 127.0.0.1 is in use\. .*another"):
            local.start(http_options={"port": port})


def test_an_address_that_is_not_ours(local):
    """The error names the address."""
    with pytest.raises(ConfigError, match=r"cannot listen on 192\.0\.2\.1 port 0"):
        local.start(http_options={"host": "192.0.2.1", "port": 0, "insecure": True})


def test_shutdown_frees_the_port(start):
    """After `shutdown`, another instance can listen on the port."""
    site = start()
    site.run(echo.bind())
    site.http.get("/")
    serve.shutdown()
    with pytest.raises(httpx.ConnectError):
        site.http.get("/")
    again = start(port=site.port)
    again.run(echo.bind())
    assert again.http.get("/").status_code == 200


def test_a_client_that_hangs_up(site, gate):
    """A client's disconnect cancels only its own handler."""
    site.run(Stay.bind(), "/stay", "stay")
    site.run(echo.bind(), "/echo", "echo")
    wire = site.wire()
    wire.ask("/stay")
    gate.entered()
    wire.close()
    assert gate.next_note() == "cancelled"
    assert site.http.get("/echo").status_code == 200


@pytest.mark.parametrize("leave", [Wire.close, Wire.reset])
def test_a_queued_request_of_a_client_that_has_left(site, gate, leave):
    """A queued request of a disconnected client never runs."""
    site.run(OneAtATime.bind())
    for _ in range(10):
        gate.open.clear()
        with site.wire() as first, site.wire() as last:
            first.ask("/first")
            gate.entered()
            gone = site.wire()
            gone.ask("/gone")
            last.ask("/last")
            for _ in range(2):
                assert site.http.get("/-/healthz").status_code == 200  # the others are in line
            leave(gone)
            assert site.http.get("/-/healthz").status_code == 200  # the proxy has read of it
            gate.open.set()
            assert (first.answer().body, last.answer().body) == (b"/first", b"/last")
        gate.entered()
        assert gate.notes() == ["/first", "/last"]


def test_clients_that_hang_up_free_their_slots(site, gate):
    """After any number of disconnects, the deployment still takes requests."""
    site.run(Stay.bind())
    for _ in range(3):
        wires = [site.wire() for _ in range(4)]
        for wire in wires:
            wire.ask("/")
            gate.entered()
        for wire in wires:
            wire.close()
        assert [gate.next_note() for _ in wires] == ["cancelled"] * 4


@serve.deployment
async def finishing(request: Request) -> str:
    """Read the request, wait, and note the body's length."""
    gates.GATE.inside.release()
    size = len(await request.body())
    await gates.GATE.pass_async()
    gates.GATE.note(size)
    return "done"


def test_a_request_that_may_not_ask_to_be_finished(site, gate):
    """Without the option, a disconnect cancels the handler despite the header."""
    site.run(Stay.bind())
    with site.wire() as wire:
        wire.ask("/", "GET", "X-Request-Disconnect-Disabled: ?1")
        gate.entered()
    assert gate.next_note() == "cancelled"


@pytest.mark.parametrize(("method", "size"), [("GET", 0), ("POST", 5), ("POST", 3_000_000)])
def test_a_request_that_is_to_be_finished(start, gate, method, size):
    """With the option and the header, the handler survives its client's disconnect."""
    site = start(allow_disconnect_disabled=True)
    site.run(finishing.bind())
    with site.wire() as wire:
        wire.ask("/", method, "X-Request-Disconnect-Disabled: ?1", body=bytes(size))
        gate.entered()
        gate.entered()
    assert site.http.get("/-/healthz").status_code == 200  # the proxy has seen it leave
    gate.open.set()
    assert gate.next_note() == size


def test_half_a_request_is_never_finished(start, gate):
    """A request with an incomplete body is cancelled despite the header."""
    site = start(allow_disconnect_disabled=True)
    site.run(finishing.bind())
    with site.wire() as wire:
        wire.ask("/", "POST", "X-Request-Disconnect-Disabled: ?1", "Content-Length: 1000")
        wire.send(b"part")
        gate.entered()
    gate.open.set()
    with site.wire() as wire:
        wire.ask("/", "POST", body=b"whole")
        wire.answer()
    assert gate.notes() == [len(b"whole")]


def test_a_timeout(start, gate):
    """After `request_timeout_s` the client gets 504, and the handler is cancelled."""
    site = start(request_timeout_s=0.2)
    site.run(Stay.bind())
    with site.wire() as wire:
        wire.ask("/")
        answer = wire.answer()
        assert answer.status == 504
        assert b"did not answer within" in answer.body
        assert answer["x-request-id"]
        assert gate.next_note() == "cancelled"
        wire.ask("/-/healthz")
        assert wire.answer().status == 200


def test_a_full_queue(site, gate):
    """Above `max_queued_requests`, a request gets 503 with Retry-After at once."""
    site.run(Narrow.bind())

    def get() -> httpx.Response:
        return httpx.get(site.url, trust_env=False, timeout=WAIT_S)

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(get)
        gate.entered()
        others = [pool.submit(get), pool.submit(get)]
        done, queued = wait(others, WAIT_S, FIRST_COMPLETED)
        [refused] = done
        assert refused.result().status_code == 503
        assert int(refused.result().headers["retry-after"]) >= 0
        gate.open.set()
        assert first.result().text == queued.pop().result().text == "through"


def test_before_anything_is_deployed(site):
    """Before the first deployment, each path is 503 with Retry-After; later, unmatched ones 404."""
    answer = site.http.get("/any")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    site.run(echo.bind(), "/echo")
    assert site.http.get("/any").status_code == 404
    serve.delete("default")
    assert site.http.get("/echo").status_code == 404


@pytest.mark.parametrize("path", ["/", "/more"])
def test_a_request_to_a_starting_application(site, gate, path):
    """A starting application is 503 with Retry-After, for WebSockets too; others are served."""
    site.run(echo.bind(), "/echo", "echo")
    running = threading.Thread(target=site.run, args=(LateStart.bind(),))
    running.start()
    gate.entered()
    wait_until(lambda: site.http.get(path).status_code != 404, WAIT_S)  # the proxy has the route
    for _ in range(2):
        answer = site.http.get(path)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "'default' is starting" in answer.text
        assert site.http.get("/echo").status_code == 200
    with site.wire() as wire:
        wire.send(UPGRADE % path.encode())
        assert wire.answer().status == 503
    gate.open.set()
    running.join(WAIT_S)
    assert site.http.get(path).text == "ready"  # `serve.run` has returned: so at once


def test_a_request_to_an_application_that_starts_again(site, gate):
    """Requests for an application that was ready before wait for its next replica."""
    site.run(Stay.bind())
    kill("Stay")
    running = threading.Thread(target=site.run, args=(LateStart.bind(),))
    running.start()
    gate.entered()
    with site.wire() as wire:
        wire.ask("/")
        assert site.http.get("/-/healthz").status_code == 200
        gate.open.set()
        assert wire.answer().body == b"ready"
    running.join(WAIT_S)


def test_an_application_that_failed(site):
    """A failed application is 503, without the reason."""
    with pytest.raises(RuntimeError, match="secret reason"):
        site.run(Broken.bind())
    answer = site.http.get("/")
    assert answer.status_code == 503
    assert "secret" not in answer.text


def test_a_deleted_application(site):
    """A deleted application's path is 404."""
    site.run(echo.bind())
    serve.delete("default")
    assert site.http.get("/").status_code == 404


def test_a_replica_that_dies(site, gate):
    """Requests of a lost replica get 503 with a reason; the next request is served."""
    site.run(Stay.bind(), "/stay", "stay")
    with site.wire() as wire:
        wire.ask("/stay")
        gate.entered()
        kill("stay#Stay")
        answer = wire.answer()
        assert answer.status == 503
        assert answer["retry-safe"] == "no"
        assert b"was lost" in answer.body
        wire.ask("/stay")
        gate.entered()


@pytest.mark.parametrize(
    ("method", "body", "status"), [("GET", b"", 200), ("PUT", b"small", 200), ("POST", b"x", 503)]
)
def test_a_replica_that_dies_under_what_may_be_repeated(start, gate, method, body, status):
    """A lost request of `retry_methods` goes to another replica; other requests do not."""
    site = start(retry_methods=("GET", "PUT"))
    site.run(Gated.bind())
    with site.wire() as wire:
        wire.ask("/", method=method, body=body)
        gate.entered()
        kill(f"replica:{gate.next_note()}")
        if status == 200:
            gate.entered()
        gate.open.set()
        assert wire.answer().status == status


# --- costs of a request -----------------------------------------------------------------


def test_no_hook_call_per_request(site):
    """Requests call no hook, only layers."""
    site.run(echo.bind())
    site.http.get("/")
    hooks, layers = plugin.HOOKS.copy(), plugin.LAYERS.copy()
    assert hooks["wrap_caller"] > 0
    assert hooks["wrap_replica"] > 0
    for _ in range(10):
        assert site.http.post("/", content=b"x").status_code == 200
    assert hooks == plugin.HOOKS
    assert plugin.LAYERS - layers == {"caller": 10, "replica": 10}


@pytest.fixture
def pickling(monkeypatch):
    """The list of all uses of pickle in this process."""
    import pickle

    import cloudpickle

    from alacarte import _code_pickler

    used: list[str] = []
    for module, name in [
        (pickle, "loads"), (pickle, "dumps"), (pickle, "Pickler"), (pickle, "Unpickler"),
        (_code_pickler, "dumps"), (cloudpickle, "dumps"), (cloudpickle, "loads"),
        (cloudpickle, "Pickler"),
    ]:  # fmt: skip
        original = getattr(module, name)

        def counted(*args: Any, original: Any = original, name: str = name, **kwargs: Any) -> Any:
            used.append(name)
            return original(*args, **kwargs)

        monkeypatch.setattr(module, name, counted)
    return used


def test_no_pickle(pickling, site):
    """HTTP requests and responses are never pickled, large ones and failing ones included."""
    site.run(mirror.bind())
    site.run(breaking_off.bind(), "/break", "break")
    assert pickling  # the applications themselves were: the counting works
    site.http.get("/")
    pickling.clear()
    for content in (b"", b"small", BIG):
        assert site.http.post("/", content=content).content == content
    assert site.http.get("/?status=word").status_code == 500
    assert site.http.get("/-/routes").status_code == 200
    with pytest.raises(httpx.RemoteProtocolError):
        site.http.get("/break")
    assert pickling == []
