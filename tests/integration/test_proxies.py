"""Proxy processes: several on one port, killed, restarted, and what they listen on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.applications import Hello, Late
from tests.integration.conftest import started
from tests.integration.instance import Client, Instance, free_port
from tests.integration.load import Load
from tests.integration.processes import listeners

from alacarte import serve
from alacarte.testing import wait_until


@pytest.fixture(scope="module")
def pair(cluster: str) -> Iterator[Instance]:
    """An instance with two proxy processes."""
    yield from started(cluster, workers=2)


@pytest.fixture
def two(pair: Instance) -> Iterator[Instance]:
    serve.run(Hello.bind())
    yield pair
    wait_until(healthy, 30, "all proxies to be up")
    serve.delete("default")


def healthy() -> bool:
    return all(each.status == "HEALTHY" for each in serve.status().services.values())


def proxies(here: Instance) -> list[int]:
    """Return the processes that listen on the instance's port."""
    address = ("127.0.0.1", here.port)
    return sorted(pid for pid, ports in listeners().items() if address in ports)


class Fresh:
    """Connects, asks and hangs up, again and again, for as long as its block lasts."""

    def __init__(self, here: Instance, threads: int = 2) -> None:
        self.refused: list[str] = []
        self.broken: list[str] = []
        self.answered = 0
        self._port = here.port
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._work) for _ in range(threads)]

    def __enter__(self) -> Fresh:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def more(self, count: int) -> None:
        wanted = self.answered + count
        wait_until(lambda: self.answered >= wanted, 60, "more answers")

    def _work(self) -> None:
        while not self._over.is_set():
            try:
                client = socket.create_connection(("127.0.0.1", self._port), 30)
            except OSError as error:
                self.refused.append(repr(error))
                continue
            try:
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                answer = b"".join(iter(lambda: client.recv(65536), b""))  # noqa: B023
                assert answer.startswith(b"HTTP/1.1 200"), answer
                self.answered += 1
            except Exception as error:  # whatever it is, it is a lost request
                self.broken.append(repr(error))
            finally:
                client.close()


def test_all_that_listens(two: Instance):
    """Over TCP it is the proxies' one port, on the loopback address, and nothing else of ours."""
    found = listeners()
    own = proxies(two)
    if not two.on_ray:
        assert own == [os.getpid()]
        return
    import ray

    @ray.remote(num_cpus=0)
    class Bare:
        def pid(self) -> int:
            return os.getpid()

    # Every Ray actor has ports of Ray's own; ours have what a bare one has, and no more.
    bare = Bare.remote()  # type: ignore[attr-defined]
    bare_pid = ray.get(bare.pid.remote())
    usual = sorted(host for host, _ in listeners().get(bare_pid, ()))
    ray.kill(bare)
    assert len(own) == 2
    replicas = [two.pid(replica) for replica in two.replicas()]
    for pid in replicas:
        assert sorted(host for host, _ in found.get(pid, ())) == usual
    for pid in own:
        assert sorted(host for host, _ in found[pid]) == sorted([*usual, "127.0.0.1"])


def test_one_of_two_is_killed(two: Instance):
    """Connecting never fails; what breaks are its own connections; it comes back."""
    if not two.on_ray:
        pytest.skip("a thread cannot be killed; its package tests what can be shown of it")
    with Fresh(two) as fresh:
        fresh.more(50)
        for victim in proxies(two):
            os.kill(victim, signal.SIGKILL)
            fresh.more(50)
            wait_until(lambda: len(proxies(two)) == 2, 30, "a new proxy")
            wait_until(healthy, 30, "a new proxy to be known")
        fresh.more(50)
    assert fresh.refused == []
    # Each client has one connection at a time, and each of the two was killed once.
    assert len(fresh.broken) <= 4


def test_restarts_lose_nothing(two: Instance):
    """Neither over connections that are kept, nor over fresh ones, nor over an idle one."""
    idle = Client(two.url)
    before = proxies(two)
    assert idle.get().status == 200
    with Load(two.url, rate=100, workers=8) as load, Fresh(two) as fresh:
        for _ in range(2):
            load.more(50)
            over = threading.Thread(target=serve.restart_services, args=("http",))
            over.start()
            while over.is_alive():
                assert idle.get().status == 200
                over.join(0.2)
        load.more(50)
    assert load.failures == []
    assert fresh.refused == fresh.broken == []
    assert idle.get().status == 200
    idle.close()
    if two.on_ray:
        assert not set(before) & set(proxies(two))
        assert len(proxies(two)) == 2


def test_an_application_that_starts(two: Instance, tmp_path: Path):
    """Every proxy answers 503 with Retry-After while it does, and its answer once it runs."""
    ready = tmp_path / "ready"
    running = threading.Thread(
        target=serve.run,
        args=(Late.bind(str(ready)),),
        kwargs={"name": "late", "route_prefix": "/late"},
    )
    running.start()
    wait_until(Path(f"{ready}.begun").exists, 60, "the constructor to run")
    clients = [Client(two.url) for _ in range(8)]
    for client in clients:
        answer = client.get("/late")
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert "'late' is starting" in answer.text
        assert client.get("/").status == 200
    ready.touch()
    running.join(60)
    assert [client.get("/late").text for client in clients] == ["here"] * 8
    for client in clients:
        client.close()
    serve.delete("late")


@pytest.mark.parametrize("kind", ["local", pytest.param("ray", marks=pytest.mark.ray)])
def test_strangers_are_refused(tmp_path: Path, private_tmp: Path, kind: str):
    """Beyond this machine, token or not: one line names the flag, and nothing is left."""
    token = private_tmp / "token"
    token.write_text("0" * 64)
    environment = os.environ | {
        "RAY_ADDRESS": "local",  # not the one of the tests around, whose token is another
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_TMPDIR": str(private_tmp / "refused"),
    }
    (tmp_path / "app.py").write_text(
        "from alacarte import serve\n"
        "@serve.deployment\n"
        "def hello():\n"
        "    return 'hello'\n"
        "app = hello.bind()\n"
    )
    port = free_port()
    command = [sys.executable, "-m", "alacarte_cli", "run", "app:app", "--host", "0.0.0.0"]
    local = ["--local"] if kind == "local" else []
    ran = subprocess.run(
        [*command, "--port", str(port), *local],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert ran.returncode == 1
    [line] = [line for line in ran.stderr.splitlines() if "0.0.0.0" in line]
    assert "ssl_ca_certs" in line
    assert "--insecure" in line
    assert all(port != each for found in listeners().values() for _, each in found)
