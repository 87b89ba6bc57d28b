"""Any request: an application behind the ingress sees what it would see behind bare uvicorn.

Left out of the comparison, and documented: `client` and `server` have other ports, `extensions` and
`state` are the server's own, header names may come in another case, and the proxy answers paths
below `/-/` itself.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alacarte import serve

from ..wire import Wire

pytestmark = pytest.mark.once

SEEN = ("type", "http_version", "method", "scheme", "path", "root_path")


async def mirror(scope: Any, receive: Any, send: Any) -> None:
    """Respond with the request that the application sees."""
    if scope["type"] != "http":
        return
    content, pieces = b"", 0
    while True:
        message = await receive()
        content += message.get("body", b"")
        pieces += 1
        if not message.get("more_body"):
            break
    seen = {key: scope[key] for key in SEEN}
    seen["asgi"] = scope["asgi"]["version"]
    seen["raw_path"] = scope["raw_path"].decode("latin-1")
    seen["query"] = scope["query_string"].decode("latin-1")
    seen["headers"] = [[a.decode("latin-1"), b.decode("latin-1")] for a, b in scope["headers"]]
    seen["body"] = content.decode("latin-1")
    text = json.dumps(seen).encode()
    headers = [(b"content-length", b"%d" % len(text))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})


@serve.deployment
@serve.ingress(mirror)
class Mirror:
    pass


@pytest.fixture
def bare() -> Iterator[int]:
    """The port of uvicorn with the same application."""
    listener = socket.create_server(("127.0.0.1", 0))
    options: Any = {"log_level": "error", "lifespan": "off", "http": "httptools", "ws": "none"}
    server = uvicorn.Server(uvicorn.Config(mirror, **options))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join()
    listener.close()


UNRESERVED = "abcXYZ019-._~!$&'()*+,;=:@"
SEGMENT = st.one_of(
    st.text(UNRESERVED, max_size=6),
    st.sampled_from([".", "..", "%2F", "%2f", "%25", "%00", "%0A", "%20", "%3F", "%C3%BC"]),
    st.binary(max_size=4).map(lambda data: "".join(f"%{byte:02X}" for byte in data)),
)
# Not "/-/", which is the proxy's own.
PATHS = st.lists(SEGMENT, max_size=4).map(lambda parts: "/p" + "".join(f"/{x}" for x in parts))
QUERIES = st.none() | st.text(UNRESERVED + "?/", max_size=12)
NAMES = st.sampled_from(["x-a", "X-B", "accept", "Cookie", "x-c", "authorization", "Te"])
VALUES = st.text(
    st.characters(min_codepoint=33, max_codepoint=255, exclude_characters="\x7f"), max_size=12
) | st.text("ab ,;=\t", max_size=8).map(str.strip)
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=5)
METHODS = st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
BODIES = st.none() | st.lists(st.binary(min_size=1, max_size=40), max_size=4)


def ask(wire: Wire, request: tuple[Any, ...]) -> Any:
    """Return the request that the application saw, or the status of a refusal."""
    method, path, query, headers, parts, chunked = request
    target = path if query is None else f"{path}?{query}"
    lines = [f"{method} {target} HTTP/1.1", "Host: example.org"]
    lines += [f"{name}: {value}" for name, value in headers]
    content = b""
    if parts is not None and chunked:
        lines.append("Transfer-Encoding: chunked")
        content = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    elif parts is not None:
        content = b"".join(parts)
        lines.append(f"Content-Length: {len(content)}")
    wire.send("\r\n".join([*lines, "", ""]).encode("latin-1"), content)
    answer = wire.answer()
    if answer.status != 200:
        return answer.status
    seen = json.loads(answer.body)
    seen["headers"] = [[name.lower(), value] for name, value in seen["headers"]]
    return seen


def test_same_as_uvicorn(site, bare):
    """Method, path as written and decoded, query, headers in order, and body are the same."""
    site.run(Mirror.bind())

    @settings(max_examples=300, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(st.tuples(METHODS, PATHS, QUERIES, HEADERS, BODIES, st.booleans()))
    def compare(request: tuple[Any, ...]) -> None:
        found = ask(ours, request)
        assert found == ask(theirs, request)
        assert found["method"] == request[0]

    with site.wire() as ours, Wire(bare) as theirs:
        compare()
