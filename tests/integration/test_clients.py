"""Clients that others wrote: what they do on their own account works."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import requests
import websockets
import websockets.sync.client
from tests.integration.client_application import EVENTS, Site, Sockets
from tests.integration.instance import Instance

from alacarte import serve
from alacarte.testing import wait_until

MIB = 1024 * 1024
BODY = bytes(range(256)) * 4 * 1024
DIGEST = hashlib.sha256(BODY).hexdigest()


@pytest.fixture(scope="module")
def served(
    instance: Instance, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    """The URL of an instance with both applications, and where their handlers leave signs."""
    directory = tmp_path_factory.mktemp("signs")
    serve.run(Sockets.bind(), name="sockets", route_prefix="/sockets")
    serve.run(Site.bind(str(directory)))
    yield instance.url, directory
    for name in ("default", "sockets"):
        serve.delete(name)


@pytest.fixture
def site(served: tuple[str, Path]) -> str:
    """The URL."""
    return served[0]


@pytest.fixture
def signs(served: tuple[str, Path]) -> Path:
    """Where this test's handlers leave signs; there are none yet."""
    for path in served[1].iterdir():
        path.unlink()
    return served[1]


@pytest.fixture
def hello(site: str) -> str:
    """A URL that is always answered."""
    return f"{site}/hello"


def run(*command: str, fails: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a program that is to end by itself; without the proxies of this machine."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env={"PATH": PATH}
    )
    if not fails:
        assert done.returncode == 0, done.stderr
    return done


PATH = "/usr/local/bin:/usr/bin:/bin"


def curl(*arguments: str, fails: bool = False) -> subprocess.CompletedProcess[str]:
    return run("curl", "--silent", "--show-error", "--max-time", "30", *arguments, fails=fails)


# --- curl -------------------------------------------------------------------------------


def test_curl_get(hello: str):
    """A query, and the headers of a plain answer."""
    done = curl("--include", f"{hello}?name=curl")
    head, _, body = done.stdout.partition("\n\n")
    assert head.startswith("HTTP/1.1 200 OK\n")
    assert "content-type: text/plain" in head
    assert body == "Hello, curl!"


def test_curl_post(site: str, signs: Path, tmp_path: Path):
    """A body of 1 MiB by its length; curl asks first whether it may send that much."""
    (tmp_path / "body").write_bytes(BODY)
    done = curl("--verbose", "--data-binary", f"@{tmp_path / 'body'}", f"{site}/echo")
    seen = json.loads(done.stdout)
    assert (seen["method"], seen["size"], seen["digest"]) == ("POST", len(BODY), DIGEST)


def test_curl_waits_for_permission(site: str, signs: Path, tmp_path: Path):
    """`Expect: 100-continue` is answered at once, before the body and before the response."""
    (tmp_path / "body").write_bytes(BODY)
    done = curl(
        *("--verbose", "--header", "Expect: 100-continue", "--expect100-timeout", "30"),
        *("--data-binary", f"@{tmp_path / 'body'}", f"{site}/echo"),
    )
    assert json.loads(done.stdout)["digest"] == DIGEST
    assert re.search(r"< HTTP/1\.1 100 Continue.*< HTTP/1\.1 200 OK", done.stderr, re.DOTALL)
    assert "Done waiting" not in done.stderr


def test_curl_uploads_a_stream(site: str, signs: Path):
    """`-T -` sends its input in chunks, as it comes; the handler reads it so."""
    command = ["curl", "--silent", "--no-buffer", "-T", "-", f"{site}/listen"]
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(b"the beginning")
        client.stdin.flush()
        wait_until((signs / "heard").exists)
        client.stdin.write(b" and the end")
        client.stdin.close()
        assert client.stdout.read() == b"25"


def test_curl_head(hello: str):
    """HEAD is answered like GET, without the body."""
    done = curl("--head", f"{hello}?name=curl")
    assert "HTTP/1.1 200" in done.stdout
    assert "content-length: 12\n" in done.stdout
    assert "Hello" not in done.stdout


def test_curl_speaks_http_1_0(site: str, signs: Path):
    """An old client gets a response it understands, and the end of the connection."""
    done = curl("--include", "--http1.0", f"{site}/echo")
    head, _, body = done.stdout.partition("\n\n")
    assert json.loads(body)["http_version"] == "1.0"
    assert "transfer-encoding" not in head.lower()
    # Nothing says where a stream ends but the end of the connection.
    for number in range(3):
        (signs / f"read-{number}").touch()
    done = curl("--include", "--http1.0", f"{site}/tell")
    head, _, body = done.stdout.partition("\n\n")
    assert "transfer-encoding" not in head.lower()
    assert body == "line 0\nline 1\nline 2\n"


def test_curl_keeps_its_connection(hello: str):
    """Several URLs of one call go over one connection."""
    done = curl(*[hello] * 4, "--write-out", r" %{num_connects} %{http_code}\n")
    assert done.stdout.splitlines() == ["Hello, world! 1 200", *["Hello, world! 0 200"] * 3]


def test_curl_gives_up(site: str, signs: Path):
    """A client whose patience ends takes its handler with it."""
    done = run("curl", "--silent", "--max-time", "1", f"{site}/hold", fails=True)
    assert done.returncode == 28  # curl's number for that
    assert (signs / "held").exists()
    wait_until((signs / "let-go").exists)


def test_curl_downloads_a_stream(site: str, signs: Path):
    """Each line is here before the next one is produced."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    command = ["curl", "--silent", "--no-buffer", f"{site}/tell"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        for number in range(3):
            assert client.stdout.readline() == f"line {number}\n"
            (signs / f"read-{number}").touch()
        assert client.stdout.read() == ""
    assert client.returncode == 0


# --- httpx ------------------------------------------------------------------------------


def test_httpx(site: str, signs: Path):
    """Requests of all kinds over one connection."""
    with httpx.Client(base_url=site, trust_env=False) as client:
        assert client.get("/hello", params={"name": "httpx"}).text == "Hello, httpx!"
        assert client.head("/hello").text == ""
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            seen = client.request(method, "/echo", content=BODY).json()
            assert (seen["method"], seen["digest"]) == (method, DIGEST)
        seen = client.post("/echo", json={"a": 1}, headers={"cookie": "b=2"}).json()
        assert seen["headers"]["content-type"] == "application/json"
        assert seen["headers"]["cookie"] == "b=2"
        assert client.get("/ü/echo?ü=ß").json()["query"] == {"ü": "ß"}
        assert client.get("/sockets/hello/ASGI").json() == {"hello": "ASGI"}


async def test_httpx_many_at_a_time(hello: str):
    """A hundred requests at a time, each with its own answer."""
    limits = httpx.Limits(max_connections=32)
    async with httpx.AsyncClient(limits=limits, timeout=30, trust_env=False) as client:
        names = [f"number {number}" for number in range(100)]
        found = await asyncio.gather(*(client.get(hello, params={"name": each}) for each in names))
    assert [each.text for each in found] == [f"Hello, {name}!" for name in names]


async def test_httpx_streams_both_ways(site: str, signs: Path):
    """What is sent is heard before the rest of it exists, and so is what is received."""

    async def body() -> AsyncIterator[bytes]:
        yield b"the beginning"
        async with asyncio.timeout(10):
            while not (signs / "heard").exists():
                await asyncio.sleep(0.01)
        yield b" and the end"

    async with httpx.AsyncClient(base_url=site, timeout=30, trust_env=False) as client:
        assert (await client.post("/listen", content=body())).json() == 25
        async with client.stream("GET", "/tell") as response:
            number = 0
            async for line in response.aiter_lines():
                assert line == f"line {number}"
                (signs / f"read-{number}").touch()
                number += 1
        assert number == 3


def test_httpx_gives_up(site: str, signs: Path):
    """A client whose patience ends takes its handler with it."""
    with httpx.Client(trust_env=False) as client, pytest.raises(httpx.ReadTimeout):
        client.get(f"{site}/hold", timeout=1)
    wait_until((signs / "let-go").exists)


# --- requests ---------------------------------------------------------------------------


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


def test_requests(site: str, signs: Path, session: requests.Session):
    """A session keeps its connection, whatever it sends."""
    for _ in range(3):
        assert session.get(f"{site}/hello?name=requests", timeout=30).text == "Hello, requests!"
        assert session.post(f"{site}/echo", data=BODY, timeout=30).json()["digest"] == DIGEST
        sent = {"file": ("a.bin", BODY)}
        seen = session.post(f"{site}/echo", files=sent, timeout=30).json()
        assert seen["size"] > len(BODY)
        assert session.head(f"{site}/hello", timeout=30).headers["content-length"] == "13"
    pools = session.get_adapter(site).poolmanager.pools  # type: ignore[attr-defined]
    [pool] = [pools[key] for key in pools.keys()]  # noqa: SIM118  it has no other way in
    assert pool.num_connections == 1


def test_requests_streams(site: str, signs: Path, session: requests.Session):
    """A generator goes up in chunks; lines come down as they are produced."""

    def body() -> Iterator[bytes]:
        yield b"the beginning"
        wait_until((signs / "heard").exists)
        yield b" and the end"

    assert session.post(f"{site}/listen", data=body(), timeout=30).json() == 25
    with session.get(f"{site}/tell", stream=True, timeout=30) as response:
        lines = response.iter_lines(chunk_size=1, decode_unicode=True)
        for number in range(3):
            assert next(lines) == f"line {number}"
            (signs / f"read-{number}").touch()
        assert list(lines) == []


# --- websockets -------------------------------------------------------------------------


def test_websockets(site: str):
    """Text, binary, a message of 1 MiB, a ping, and a close from either side."""
    url = f"{site.replace('http', 'ws', 1)}/sockets/echo"
    with websockets.sync.client.connect(url, proxy=None) as client:
        for message in ("text", "ü" * 1000, b"\x00\xff", BODY, ""):
            client.send(message)
            assert client.recv(timeout=30) == message
        client.send(["in ", "frag", "ments"])
        assert client.recv(timeout=30) == "in fragments"
        assert client.ping().wait(30)
        client.send("leave")
        with pytest.raises(websockets.ConnectionClosedError):
            client.recv(timeout=30)
        assert (client.close_code, client.close_reason) == (4001, "as asked")
    with websockets.sync.client.connect(url, proxy=None) as client:
        client.close(3000, "enough")
        assert client.close_code == 3000


async def test_websockets_many_at_a_time(site: str):
    """A hundred connections, each with its own answers."""
    url = f"{site.replace('http', 'ws', 1)}/sockets/echo"

    async def talk(number: int) -> list[str | bytes]:
        async with websockets.connect(url, proxy=None, open_timeout=30) as client:
            for turn in range(5):
                await client.send(f"{number} {turn}")
            return [await client.recv() for _ in range(5)]

    found = await asyncio.gather(*map(talk, range(100)))
    assert found == [[f"{number} {turn}" for turn in range(5)] for number in range(100)]


# --- wrk and a browser ------------------------------------------------------------------


def test_wrk(hello: str):
    """Two seconds of all it can send: no error of any kind."""
    done = run("wrk", "-t1", "-c16", "-d2s", hello)
    assert int(re.search(r"(\d+) requests in", done.stdout)[1]) > 0  # type: ignore[index]
    assert "Socket errors" not in done.stdout, done.stdout
    assert "Non-2xx" not in done.stdout, done.stdout


def test_events_in_a_browser(site: str, signs: Path):
    """A page shows each event of an `EventSource` before the next one is produced."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed")
    with tempfile.TemporaryDirectory() as profile:
        done = run(
            chromium,
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
            *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
            *("--disable-sync", "--disable-dev-shm-usage", "--no-proxy-server"),
            f"--user-data-dir={profile}",
            *("--timeout=30000", "--dump-dom", f"{site}/page"),
        )
    shown = re.findall(r"<li>(.*?)</li>", done.stdout)
    assert shown == [f"event {number}" for number in range(1, EVENTS + 1)], done.stdout
    assert "failed" not in re.sub(r"<script>.*</script>", "", done.stdout, flags=re.DOTALL)
