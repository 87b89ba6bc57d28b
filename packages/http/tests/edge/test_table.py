"""The byte table of HTTP/1.1 against a live server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response

from alacarte import serve
from alacarte.serve import _current

from ..conftest import Site
from ..http11.table import CASES, MAX_BODY, Case

pytestmark = pytest.mark.once


@serve.deployment(max_ongoing_requests=64)
async def echo(request: Request) -> Any:
    """Respond with the request, with all headers."""
    headers = {name: request.headers[name] for name in request.headers}
    return {
        "method": request.method,
        "path": request.scope["path"],
        "raw_path": request.scope["raw_path"].decode("latin-1"),
        "query": request.scope["query_string"].decode("latin-1"),
        "version": request.scope["http_version"],
        "size": len(await request.body()),
        "headers": headers,
    }


@serve.deployment(max_ongoing_requests=64)
async def inject(request: Request) -> Response:
    """Respond with the request's body as a header."""
    response = Response("fine")
    response.raw_headers.append((b"x-given", await request.body()))
    return response


@pytest.fixture(scope="module")
def server(plugins: Any) -> Iterator[Site]:
    """A server for the whole table: no row may disturb the next."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_current, "load_plugins", lambda: plugins)
        patch.setenv("ALACARTE_CLUSTER", "local")
        site = Site(max_body_bytes=MAX_BODY)
        site.run(echo.bind())
        site.run(inject.bind(), "/inject", "inject")
        yield site
        site.http.close()
        serve.shutdown()


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_row(server: Site, case: Case) -> None:
    """Each row has its statuses, its end of the connection, and its requests."""
    with server.wire() as wire:
        # Who is refused may find that the rest of what it sends is not read.
        sending = threading.Thread(target=wire.try_send, args=(case.sent,))
        sending.start()
        head = case.sent.startswith(b"HEAD")
        answers = [wire.answer("HEAD" if head else "GET")]
        answers += [wire.answer() for _ in case.statuses[1:]]
        assert tuple(answer.status for answer in answers) == case.statuses
        last = answers[-1]
        if case.closes:
            assert last["connection"] == "close"
            assert wire.rest() == b""
        else:
            assert not last.all("connection")
            wire.ask("/after")
            assert json.loads(wire.answer().body)["path"] == "/after"
        sending.join()
    saw = json.loads(last.body) if case.saw and last.body else {}
    for key, value in case.saw.items() if saw else ():
        assert (saw[key] if key in saw else saw["headers"].get(key)) == value, key
    if last.status >= 400 and not head:
        assert last.body.count(b"\n") == 1
        assert b"smuggled" not in last.body


def test_the_table_is_whole() -> None:
    """Rows have unique names, and the page on HTTP promises states their number."""
    assert len({case.name for case in CASES}) == len(CASES) >= 200


PIECES = st.sampled_from(
    [
        b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\n", b"HEAD * HTTP/1.0\r\n", b"Host: x\r\n",
        b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n",
        b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: websocket\r\n",
        b"Expect: 100-continue\r\n", b"\r\n", b"\r\n\r\n", b"0\r\n\r\n", b"3\r\nabc\r\n", b"\0",
        b"\r", b"\n", b" ", b":", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ]
)  # fmt: skip


@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(pieces=st.lists(st.one_of(PIECES, st.binary(max_size=40)), max_size=12), cut=st.booleans())
def test_garbage(server: Site, pieces: list[bytes], cut: bool) -> None:
    """Arbitrary bytes neither hang nor crash the server, and it serves the next client."""
    with server.wire() as wire:
        if cut:
            for piece in pieces:
                wire.try_send(piece)
        else:
            wire.try_send(b"".join(pieces))
        wire.stop_sending()
        wire.rest()
    with server.wire() as wire:
        wire.ask("/good")
        assert wire.answer().status == 200


@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(
    value=st.one_of(
        st.binary(min_size=1, max_size=60),
        st.text(min_size=1, max_size=30).map(lambda text: text.encode("utf-8", "replace")),
        st.sampled_from(
            [b"a\r\nX-Split: 1", b"a\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", b"a\nX-Split: 1"]
        ),
    )
)
def test_header_injection(server: Site, value: bytes) -> None:
    """A response header's value stays in its line, or the response is 500."""
    with server.wire() as wire:
        wire.ask("/inject", "POST", body=value)
        answer = wire.answer()
        assert not answer.all("x-split")
        if answer.status == 200:
            assert answer["x-given"].strip(" \t") == value.decode("latin-1").strip(" \t")
        else:
            assert answer.status == 500
            assert not answer.all("x-given")
        wire.ask("/good")
        assert wire.answer().status == 200


@settings(max_examples=200, suppress_health_check=list(HealthCheck))
@given(value=st.text(st.characters(codec="latin-1", exclude_characters="\r\n"), max_size=200))
def test_request_ids(server: Site, value: str) -> None:
    """A valid request id is echoed, another is replaced; the response is never split."""
    with server.wire() as wire:
        wire.ask("/", "GET", f"X-Request-ID: {value}")
        answer = wire.answer()
        if answer.status == 400:
            return
        [returned] = answer.all("x-request-id")
        assert returned.isascii()
        assert returned.isprintable()
        assert 1 <= len(returned) <= 128
