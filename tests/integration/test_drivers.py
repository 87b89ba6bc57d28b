"""Several programs on one instance, one after the other and at once, and its end; on Ray."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from tests.integration.instance import sockets

from alacarte import serve
from alacarte._cluster.host_sockets import socket_dir, sweep_sockets
from alacarte.errors import ConfigError, ServeError
from alacarte.testing import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]
WAIT_S = 90
AWAY_S = 18.0
"""Longer than a driver waited once, whoever restarted the controller."""
DEPLOY = """
import sys
import time
from alacarte import serve

@serve.deployment
class Which:
    def __init__(self, word, start_s):
        time.sleep(start_s)
        self.word = word

    def __call__(self):
        return self.word

if __name__ == "__main__":
    name, word, *more = sys.argv[1:]
    start_s = 5 if "slowly" in more else 0
    serve.start(proxy_location="Disabled")
    app = Which.bind(word, start_s)
    handle = serve.run(app, name=name, route_prefix=None, blocking="stay" in more)
    print(handle.remote().result(timeout_s=60))
"""
END = "from alacarte import serve; serve.shutdown(force=True)"
Driver = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def driver(ray_address: str, tmp_path: Path) -> Iterator[Driver]:
    """Start a program that deploys; none of them, and nothing of theirs, outlives the test."""
    program = tmp_path / "program.py"
    program.write_text(DEPLOY)
    started: list[subprocess.Popen[str]] = []

    def start(*words: str, code: str = "") -> subprocess.Popen[str]:
        command = [sys.executable, *(["-c", code] if code else [str(program), *words])]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, text=True, cwd=tmp_path, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()
    serve.shutdown(force=True)
    assert actors() == []
    # Who was killed cannot remove its own; the next start does, once the process is really gone.
    wait_until(lambda: sweep_sockets(socket_dir()) or not sockets(), 30, "the end of all sockets")


def actors() -> list[str]:
    named = ray.util.list_named_actors(all_namespaces=True)
    return [actor["name"] for actor in named if actor["name"].startswith("alacarte:")]


def replicas() -> list[str]:
    return [name for name in actors() if ":replica:" in name]


def ask(name: str) -> str:
    answer: str = serve.get_app_handle(name).remote().result(timeout_s=60)
    return answer


def state_of(name: str) -> str:
    app = serve.status().applications.get(name)
    return "" if app is None else str(app.status)


def controller() -> Any:
    return ray.get_actor("alacarte:controller", namespace="alacarte")


def test_a_control_store_that_is_stopped(monkeypatch: pytest.MonkeyPatch):
    """A program that joins a cluster whose control store is stopped is told so, and so is one that
    joins none."""
    from alacarte._cluster.ray import RayCluster, joining

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(joining, "STORE_TIMEOUT_S", 0.1)
    # It takes connections, as the kernel does for a stopped process. Ray means the node's own
    # address by 127.0.0.1.
    with socket.create_server(("", 0)) as deaf:
        port = deaf.getsockname()[1]
        address = f"127.0.0.1:{port}"
        with pytest.raises(ServeError, match=rf"control store at \S+:{port} .* not answered"):
            RayCluster.connect(address)
    for only_running in (False, True):
        with pytest.raises(ConfigError, match=f"no Ray cluster answers at '{address}'"):
            RayCluster.connect(address, only_running=only_running)


@pytest.mark.parametrize("running", [0, 1, 2])
def test_the_search_for_a_cluster(running: int, monkeypatch: pytest.MonkeyPatch):
    """Without an address, the one cluster of this machine is taken; who has several must choose,
    and who has none, or only the address of one that has ended, has none."""
    from alacarte._cluster.ray import RayCluster, internals

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    nobody = [f"127.0.0.1:{number}" for number in (1, 2)]
    for module in (internals, ray._private.services):
        monkeypatch.setattr(module, "find_gcs_addresses", lambda: frozenset(nobody[:running]))
        monkeypatch.setattr(module, "find_bootstrap_address", lambda _: None)
    if running == 2:
        with pytest.raises(ConfigError, match=f"2 Ray clusters .*: {', '.join(nobody)}"):
            RayCluster.find(any_here=True)
    else:
        assert RayCluster.find(any_here=True) is None
    assert RayCluster.find("local", any_here=True) is None


def test_an_application_outlives_its_driver(driver: Driver):
    """What a program deployed goes on when it has ended; another program joins, and adds to it."""
    first = driver("one", "1")
    assert first.communicate(timeout=WAIT_S)[0].split() == ["1"]
    second = driver("two", "2")
    assert second.communicate(timeout=WAIT_S)[0].split() == ["2"]
    assert serve.attach()
    assert [ask("one"), ask("two")] == ["1", "2"]
    serve.delete("one")
    assert list(serve.status().applications) == ["two"]


def test_drivers_at_once(driver: Driver):
    """Programs that start and deploy at the same moment share one instance; none hangs."""
    names = ["one", "two", "same", "same"]
    words = ["1", "2", "3", "4"]
    runs = [driver(name, word) for name, word in zip(names, words, strict=True)]
    told = [run.communicate(timeout=WAIT_S) for run in runs]
    assert [run.returncode for run in runs[:2]] == [0, 0], told
    assert serve.attach()
    assert [ask("one"), ask("two")] == ["1", "2"]
    # Of the two under one name, the later one counts, and the earlier one is told so.
    last = ask("same")
    for run, word, (out, err) in zip(runs[2:], words[2:], told[2:], strict=True):
        if run.returncode == 0:
            assert out.split()[-1] in ("3", "4")
        else:
            assert "application 'same' was superseded" in err
            assert word != last
    assert 0 in {run.returncode for run in runs[2:]}


def test_an_interrupt(driver: Driver):
    """Ctrl-C ends a blocking `serve.run` with KeyboardInterrupt; the application goes on."""
    run = driver("one", "1", "stay")
    wait_until(serve.attach, WAIT_S, "the instance")
    wait_until(lambda: state_of("one") == "RUNNING", WAIT_S)
    assert ask("one") == "1"
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=30)
    assert run.returncode != 0
    assert err.splitlines()[-1] == "KeyboardInterrupt"
    assert state_of("one") == "RUNNING"
    assert ask("one") == "1"


def test_a_controller_that_is_being_restarted(driver: Driver):
    """Whoever asks for the status meanwhile waits, and is told what runs."""
    driver("one", "1").communicate(timeout=WAIT_S)
    assert serve.attach()
    ray.kill(controller(), no_restart=False)
    assert state_of("one") == "RUNNING"
    assert ask("one") == "1"


def test_a_controller_that_nobody_calls(driver: Driver):
    """Killed without drivers or proxies, it recovers by itself, and replaces a dead replica."""
    driver("one", "1").communicate(timeout=WAIT_S)
    [before] = replicas()
    victims = [controller(), ray.get_actor(before, namespace="alacarte")]
    for pid in ray.get([each.__ray_call__.remote(lambda _: os.getpid()) for each in victims]):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: replicas() not in ([], [before]), WAIT_S, "a new replica")
    assert ask("one") == "1"


def test_a_controller_that_is_away_for_long(driver: Driver):
    """`serve.run` waits for as long as Ray restarts the controller, says so, and succeeds.

    Killed again as soon as it is up, the controller is away as on a machine that is overloaded.
    """
    driver("one", "1").communicate(timeout=WAIT_S)
    first = driver("two", "2", "slowly")
    wait_until(lambda: state_of("two") == "DEPLOYING", WAIT_S)
    began = time.monotonic()
    while time.monotonic() - began < AWAY_S:
        with contextlib.suppress(ray.exceptions.RayError):
            pid = ray.get(controller().__ray_call__.remote(lambda _: os.getpid()), timeout=5)
            os.kill(pid, signal.SIGKILL)
    out, err = first.communicate(timeout=WAIT_S)
    assert out.split() == ["2"], err
    assert "the cluster restarts it; waited" in err
    assert "the controller is back after" in err
    assert ask("one") == "1"


def test_force_with_a_controller_that_hangs(driver: Driver):
    """Force ends an instance whose controller does not answer, from a program that never joined."""
    driver("one", "1").communicate(timeout=WAIT_S)
    pid = ray.get(controller().__ray_call__.remote(lambda _: os.getpid()))
    os.kill(pid, signal.SIGSTOP)
    try:
        end = driver(code=END)
        assert end.communicate(timeout=WAIT_S)[1] == ""
        assert end.returncode == 0
        assert actors() == []
    finally:
        if Path(f"/proc/{pid}").exists():
            os.kill(pid, signal.SIGKILL)
    again = driver("one", "2")
    assert again.communicate(timeout=WAIT_S)[0].split() == ["2"]


def test_force_without_a_controller(driver: Driver):
    """Force ends the replicas of an instance that has no controller any more."""
    driver("one", "1").communicate(timeout=WAIT_S)
    ray.kill(controller(), no_restart=True)
    assert any("replica" in name for name in actors())
    driver(code=END).communicate(timeout=WAIT_S)
    assert actors() == []
