"""Several proxy processes behind one port, and restarts without a lost request."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from alacarte import serve
from alacarte.errors import ConfigError
from alacarte.serve import _current
from alacarte.testing import wait_until
from alacarte_http._proxy import shared_socket
from alacarte_http._proxy.shared_socket import ListenerOffer, listening_socket, obtain_listener

from .. import gates
from .service_context import FakeServiceContext

pytestmark = pytest.mark.once

REQUEST = b"GET /-/healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@serve.deployment
def hello() -> str:
    return "hello"


def kill(index: int) -> None:
    """Kill one of the proxies, like `kill -9`."""
    session = _current.current()
    assert session is not None
    [name] = [each for each in session.cluster._actors if f":service:http:local:{index}:" in each]  # type: ignore[attr-defined]
    actor = session.wait(session.cluster.find_actor(name))
    assert actor is not None
    actor.kill()
    # A process ends at once, a thread soon.
    wait_until(lambda: name not in [each.name for each in threading.enumerate()], gates.WAIT_S)


def healthy() -> bool:
    return all(each.status == "HEALTHY" for each in serve.status().services.values())


class Clients:
    """Continuous requests over kept and over new connections."""

    def __init__(self, url: str, kept: int, fresh: int) -> None:
        self.answered = 0
        self.failures: list[str] = []
        self._url = url
        self._over = threading.Event()
        work = [True] * kept + [False] * fresh
        self._threads = [threading.Thread(target=self._work, args=(keep,)) for keep in work]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(gates.WAIT_S)

    def more(self, count: int) -> None:
        wanted = self.answered + count
        wait_until(lambda: self.answered >= wanted or self.failures, gates.WAIT_S, "answers")

    def _work(self, keep: bool) -> None:
        # A limit of zero idle connections makes each request open a connection.
        limits = httpx.Limits(max_keepalive_connections=1 if keep else 0)
        with httpx.Client(base_url=self._url, limits=limits, trust_env=False, timeout=30) as http:
            while not self._over.is_set():
                try:
                    got = http.get("/")
                    assert (got.status_code, got.text) == (200, "hello")
                except Exception as error:  # whatever it is, it is a lost request
                    self.failures.append(repr(error))
                self.answered += 1


# --- several workers --------------------------------------------------------------------


def test_one_port(start: Any):
    """All workers of a node share one URL; status shows each worker."""
    site = start(workers=3)
    services = serve.status().services
    assert sorted(services) == ["http/local/0", "http/local/1", "http/local/2"]
    assert {each.url for each in services.values()} == {site.url}
    assert list(serve.status().proxies) == ["local"]


def test_every_worker_knows_the_routes(start: Any):
    """When `serve.run` returns, every worker serves the routes."""
    site = start(workers=3)
    site.run(hello.bind())
    with Clients(site.url, 0, 4) as clients:
        clients.more(60)
    assert clients.failures == []


@pytest.mark.parametrize("index", [0, 1])
def test_one_of_two_is_killed(start: Any, index: int):
    """If a worker is killed, clients can connect, and it is started again."""
    site = start(workers=2)
    site.run(hello.bind())
    for victim in (index, 1 - index):
        kill(victim)
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", site.port), gates.WAIT_S) as client:
                client.sendall(REQUEST)
                assert client.recv(100).startswith(b"HTTP/1.1 200")
        wait_until(healthy, gates.WAIT_S, "the worker to come back")
    assert {each.url for each in serve.status().services.values()} == {site.url}


def test_the_only_one_is_killed(start: Any):
    """After the only worker is killed, a new one takes the same port, even with port=0."""
    site = start()
    site.run(hello.bind())
    kill(0)
    wait_until(lambda: not healthy(), gates.WAIT_S, "the proxy to be missed")
    wait_until(healthy, gates.WAIT_S, "the proxy to come back")
    assert serve.status().proxies["local"].url == site.url
    wait_until(lambda: site.http.get("/-/healthz").status_code == 200, gates.WAIT_S, "its routes")
    assert site.http.get("/").text == "hello"


# --- restarts ---------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_restarts_under_load(start: Any, workers: int):
    """Restarts lose no request over kept and over new connections."""
    site = start(workers=workers)
    site.run(hello.bind())
    with Clients(site.url, 4, 2) as clients:
        for _ in range(3):
            clients.more(50)
            serve.restart_services("http", drain_s=10)
        clients.more(50)
    assert clients.failures == []
    assert len(serve.status().services) == workers


@pytest.fixture
def restarting(start: Any) -> Iterator[Any]:
    """A site, and a function that restarts its proxy in the background."""
    site = start()
    site.run(hello.bind())
    threads = []

    def restart() -> threading.Thread:
        threads.append(threading.Thread(target=serve.restart_services, kwargs={"drain_s": 20}))
        threads[-1].start()
        wait_until(lambda: "http/local/0/old" in serve.status().services, 20, "the old to drain")
        return threads[-1]

    yield site, restart
    for thread in threads:
        thread.join(gates.WAIT_S)


def test_an_idle_connection_gets_connection_close(restarting: Any):
    """A request on an idle connection of a draining proxy gets `Connection: close`."""
    site, restart = restarting
    with socket.create_connection(("127.0.0.1", site.port), gates.WAIT_S) as client:
        client.sendall(REQUEST)
        assert b"connection: close" not in client.recv(1000).lower()
        restart()
        answer = b""
        while b"connection: close" not in answer.lower():  # it shows as draining a moment before
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = client.recv(1000)
            assert answer.startswith(b"HTTP/1.1 200")
            assert answer.endswith(b"hello")
        assert client.recv(1) == b""


def test_a_silent_connection_is_answered(restarting: Any):
    """A connection that was accepted before the drain, without a byte, is served."""
    site, restart = restarting
    with socket.create_connection(("127.0.0.1", site.port), gates.WAIT_S) as client:
        restart()
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_all(client).endswith(b"hello")


def test_a_drained_proxy_has_gone(restarting: Any):
    """A restart ends with the last connection, and keeps the port."""
    site, restart = restarting
    with socket.create_connection(("127.0.0.1", site.port), gates.WAIT_S) as client:
        thread = restart()
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        read_all(client)
    thread.join(gates.WAIT_S)
    assert list(serve.status().services) == ["http/local/0"]
    assert serve.status().proxies["local"].url == site.url
    assert site.http.get("/").text == "hello"


def test_the_end_answers_what_was_sent(start: Any):
    """Requests that were sent before the instance's end are answered."""
    site = start()
    clients = [socket.create_connection(("127.0.0.1", site.port), gates.WAIT_S) for _ in range(20)]
    for client in clients:
        client.sendall(REQUEST)
    serve.shutdown()
    for client in clients:
        assert read_all(client).startswith(b"HTTP/1.1 ")
        client.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", site.port), gates.WAIT_S)


def read_all(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(65536), b""))


# --- the listening socket ---------------------------------------------------------------


@pytest.fixture
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    import shutil
    import tempfile

    # Short, as the path of a Unix socket must be.
    path = Path(tempfile.mkdtemp())
    yield path
    shutil.rmtree(path)


async def test_a_descriptor_is_handed_over(directory: Path):
    """A sibling hands over the same socket, and either process can accept a connection."""
    first, second = FakeServiceContext(directory), FakeServiceContext(directory)
    listener = await obtain_listener(first, "127.0.0.1", 0)
    offer = ListenerOffer(listener, first.new_socket())
    taken = await obtain_listener(second, "127.0.0.1", 0)
    await offer.close()
    assert taken.getsockname() == listener.getsockname()
    with socket.create_connection(taken.getsockname()) as client:
        listener.close()
        accepted, address = await asyncio.get_running_loop().sock_accept(taken)
        assert address == client.getsockname()
        accepted.close()
    taken.close()
    assert FakeServiceContext(directory).sibling_sockets() == []


async def test_siblings_that_do_not_answer(directory: Path, monkeypatch: pytest.MonkeyPatch):
    """Siblings that hang or have ended are skipped."""
    monkeypatch.setattr(shared_socket, "_HANDOVER_TIMEOUT_S", 0.05)
    context = FakeServiceContext(directory)
    silent = socket.socket(socket.AF_UNIX)
    silent.bind(context.new_socket())
    silent.listen()
    gone = socket.socket(socket.AF_UNIX)
    gone.bind(context.new_socket())
    gone.close()
    good = listening_socket("127.0.0.1", 0)
    offer = ListenerOffer(good, context.new_socket())
    taken = await obtain_listener(FakeServiceContext(directory), "127.0.0.1", 0)
    assert taken.getsockname() == good.getsockname()
    await offer.close()
    for each in (silent, good, taken):
        each.close()


async def test_another_user(directory: Path, monkeypatch: pytest.MonkeyPatch):
    """No socket is given to or taken from another user's process."""
    context = FakeServiceContext(directory)
    good = listening_socket("127.0.0.1", 0)
    offer = ListenerOffer(good, context.new_socket())
    monkeypatch.setattr(shared_socket, "is_same_user", lambda peer: False)
    other = await obtain_listener(FakeServiceContext(directory), "127.0.0.1", 0)
    assert other.getsockname() != good.getsockname()
    await offer.close()
    for each in (good, other):
        each.close()


async def test_a_port_of_before(directory: Path, caplog: pytest.LogCaptureFixture):
    """With port=0 the previous port is kept; if it is taken, a warning names it."""
    first = await obtain_listener(FakeServiceContext(directory), "127.0.0.1", 0)
    port = first.getsockname()[1]
    context = FakeServiceContext(directory, metadata={"port": str(port)})
    other = await obtain_listener(context, "127.0.0.1", 0)
    assert other.getsockname()[1] != port
    assert f"has taken port {port}" in caplog.text
    with pytest.raises(ConfigError, match=f"port {port} on 127.0.0.1 is in use"):
        await obtain_listener(context, "127.0.0.1", port)
    first.close()
    again = await obtain_listener(context, "127.0.0.1", 0)
    assert again.getsockname()[1] == port
    for each in (other, again):
        each.close()
