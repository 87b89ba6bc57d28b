"""How long an instance and its client live: detached or not, shut down, in other processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.backends import handle_request
from tests.integration.instance import Instance, free_port

from alacarte import serve
from alacarte.errors import ServeError
from alacarte.testing import wait_until

WAIT_S = 60
START = """
import sys
from alacarte import serve

def hello(request):
    return "hello"

client = serve.start(detached=sys.argv[1] == "detached", http_options={"port": int(sys.argv[2])})
client.create_backend("hello", hello)
client.create_endpoint("hello", backend="hello", route="/hello")
print("ready: yes", flush=True)
sys.stdin.read()
"""
JOIN = """
import json
from alacarte import serve

def other(request):
    return "other"

client = serve.connect()
client.create_backend("other", other)
client.set_traffic("hello", {"other": 1.0})
handle = client.get_handle("hello")
print("joined:", json.dumps([client.list_endpoints(), handle.remote().result(timeout_s=30)]))
"""


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Where programs run that start an instance; none outlives the test."""
    yield tmp_path
    serve.shutdown(force=True)


def program(code: str, directory: Path, *words: str) -> subprocess.Popen[str]:
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    command = [sys.executable, "-c", code, *words]
    return subprocess.Popen(command, text=True, cwd=directory, **pipes)


def said(process: subprocess.Popen[str], what: str) -> str:
    """Return what a program says after a word; Ray may say something of its own before."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(what):
            return line.removeprefix(what)
    raise AssertionError(f"the program ended with {process.wait()} before it said {what!r}")


def started(directory: Path, port: int, how: str) -> subprocess.Popen[str]:
    """Run a program with an instance until it is ready."""
    process = program(START, directory, how, str(port))
    said(process, "ready:")
    return process


def actors() -> list[str]:
    import ray

    named = ray.util.list_named_actors(all_namespaces=True)
    return [actor["name"] for actor in named if actor["name"].startswith("alacarte:")]


@pytest.mark.ray
@pytest.mark.parametrize("end", ["exit", "kill -9"])
def test_an_instance_that_ends_with_its_process(ray_address: str, directory: Path, end: str):
    """`detached=False`: nothing of it is left when the process that started it is gone."""
    process = started(directory, free_port(), "bound")
    assert actors()
    if end == "exit":
        process.communicate("", timeout=WAIT_S)
        assert process.returncode == 0
    else:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=WAIT_S)
    wait_until(lambda: not actors(), WAIT_S, "the end of all actors")


@pytest.mark.ray
def test_an_instance_that_outlives_its_process(ray_address: str, directory: Path):
    """`detached=True`: it goes on when its process is killed; others join, and change it."""
    port = free_port()
    process = started(directory, port, "detached")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=WAIT_S)

    joined = program(JOIN, directory)
    endpoints, answer = json.loads(said(joined, "joined:"))
    joined.communicate("", timeout=WAIT_S)
    assert endpoints["hello"]["traffic"] == {"other": 1.0}
    assert answer == "other"

    client = serve.connect()
    assert list(client.list_backends()) == ["hello", "other"]
    with pytest.raises(ServeError, match=r"serve\.connect\(\)"):
        serve.start(detached=True)
    here = Instance("ray")
    assert here.port == port
    assert here.get("/hello").text == "other"
    client.delete_endpoint("hello")
    client.delete_backend("hello")
    client.shutdown()
    here.assert_gone()


def test_a_client_after_the_end(cluster: str):
    """Every method of a client says that its instance was shut down, also when another runs."""
    client = serve.start(cluster=cluster, detached=True, http_options={"port": free_port()})
    client.create_backend("simple", handle_request)
    client.create_endpoint("simple", backend="simple", route="/simple")
    handle = client.get_handle("simple")
    assert handle.remote().result(timeout_s=20) == "hello world"
    first = Instance(cluster)
    client.shutdown()
    first.assert_gone()
    with pytest.raises(ServeError):
        serve.connect()
    other = serve.start(cluster=cluster, http_options={"port": free_port()})
    try:
        for call in (
            client.list_backends,
            client.list_endpoints,
            lambda: client.create_backend("x", handle_request),
            lambda: client.set_traffic("simple", {"simple": 1.0}),
            lambda: client.get_handle("simple"),
            lambda: client.delete_backend("simple"),
        ):
            with pytest.raises(ServeError, match="has been shut down"):
                call()
        assert other.list_backends() == {}
        assert other.list_endpoints() == {}
    finally:
        other.shutdown()


def test_without_http(cluster: str):
    """`http_host=None`, as old programs say it: endpoints are there for handles."""
    client = serve.start(cluster=cluster, http_host=None)
    try:
        assert serve.status().proxies == {}
        client.create_backend("simple", handle_request)
        client.create_endpoint("simple", backend="simple", route="/simple")
        assert client.get_handle("simple").remote().result(timeout_s=20) == "hello world"
    finally:
        client.shutdown()
