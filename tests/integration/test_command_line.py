"""The `serve` program, as a shell runs it, against a real Ray and without one."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.instance import Answer, Client, free_port, sockets
from tests.integration.processes import children, listeners

from alacarte.testing import wait_until

APP = """
from alacarte import serve

@serve.deployment(num_replicas=2)
class Hello:
    def __call__(self):
        return "hello from " + __name__

app = Hello.bind()

@serve.deployment
class Broken:
    def __init__(self):
        raise LookupError("no model in /models")

broken = Broken.bind()
"""
SCRIPTS = Path(sys.executable).parent


class Program:
    """A command under way, and what it has printed so far."""

    def __init__(self, folder: Path, words: tuple[str, ...], program: str = "") -> None:
        command = [str(SCRIPTS / program)] if program else [sys.executable, "-m", "alacarte_cli"]
        self._out, self._err = folder / "stdout", folder / "stderr"
        self.began = time.monotonic()
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen([*command, *words], stdout=out, stderr=err, cwd=folder)

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        """What it said, but for Ray's own notes: one that there is no network, for example."""
        lines = self._err.read_text().splitlines(keepends=True)
        return "".join(line for line in lines if not re.match(r"\[\d{4}-\d\d-\d\d ", line))

    def ready(self) -> str:
        """Wait until it says where it listens; return that URL."""

        def url() -> str:
            assert self.process.poll() is None, self.out + self.err
            found = re.search(r"running at (http\S+)", self.out)
            return found[1] if found else ""

        return wait_until(url, 60, "the application to run")

    def end(self, number: int = 0) -> int:
        """Send a signal, if any; wait for the end and return the exit code."""
        if number:
            self.process.send_signal(number)
        return self.process.wait(60)


Run = Callable[..., Program]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Start a command in a folder with an `app` module; none of them outlives the test."""
    (tmp_path / "app.py").write_text(APP)
    programs: list[Program] = []

    def run(*words: str, program: str = "") -> Program:
        programs.append(Program(tmp_path, words, program))
        return programs[-1]

    yield run
    for program in programs:
        if program.process.poll() is None:
            program.process.kill()
            program.process.wait(10)


def get(url: str) -> Answer:
    client = Client(url)
    try:
        return client.get("/")
    finally:
        client.close()


def ray_actors() -> list[str]:
    import ray

    return [actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)]


def nothing_left(port: int, *, on_ray: bool) -> None:
    """Fail unless the port is closed, and no actor and no socket of ours is there."""
    if on_ray:
        wait_until(lambda: not ray_actors(), 10, "the end of all actors")
    wait_until(lambda: not sockets(), 10, "the end of all sockets")
    assert port not in {number for found in listeners().values() for _, number in found}


@pytest.mark.ray
@pytest.mark.minimums
@pytest.mark.usefixtures("ray_address")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run(run: Run, number: int):
    """`alacarte run` says where it listens, answers, and on Ctrl-C ends with 0, leaving nothing."""
    port = free_port()
    program = run("run", "app:app", "--port", str(port))
    url = program.ready()
    assert url == f"http://127.0.0.1:{port}/"
    assert get(url).text == "hello from app"
    assert "Ctrl-C to stop" in program.err
    # Progress on the way, "running" once, and a line for each request, by way of Ray's log.
    assert re.search(r"^default: \d of 2 replicas ready$", program.err, re.M)
    assert (program.out + program.err).count("running at") == 1
    assert "is ready" not in program.err
    wait_until(lambda: "GET / 200" in program.out, 20, "the request's line")
    assert program.end(number) == 0
    assert "Traceback" not in program.err
    nothing_left(port, on_ray=True)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_address")
def test_looking_at_what_runs(run: Run):
    """`alacarte run` is the same; `status` and `shutdown` from other shells find what runs."""
    port = free_port()
    server = run("run", "app:app", "--port", str(port), "--non-blocking", program="alacarte")
    assert server.end() == 0
    assert f"default is running at http://127.0.0.1:{port}/" in server.out
    assert get(f"http://127.0.0.1:{port}").text == "hello from app"
    status = run("status", "--json")
    assert status.end() == 0, status.err
    told = json.loads(status.out)["applications"]["default"]
    assert told["status"] == "RUNNING"
    assert told["deployments"]["Hello"]["replica_states"] == {"RUNNING": 2}
    down = run("shutdown", "-y")
    assert down.end() == 0, down.err
    assert down.out == "shut down (default).\n"
    nothing_left(port, on_ray=True)
    again = run("shutdown", "-y")
    assert again.end() == 0
    assert again.out == "nothing is running.\n"
    status = run("status")
    assert status.end() == 1
    assert "nothing is running; start with `alacarte run module:app`." in status.err


@pytest.mark.ray
@pytest.mark.usefixtures("ray_address")
def test_an_instance_that_is_ended_elsewhere(run: Run):
    """`alacarte run` says that another shell has ended its instance, and ends with 0."""
    program = run("run", "app:app", "--port", str(free_port()))
    program.ready()
    assert run("shutdown", "-y").end() == 0
    assert program.end() == 0
    assert "the instance was shut down by another process." in program.err
    assert "Traceback" not in program.err


@pytest.mark.ray
@pytest.mark.usefixtures("ray_address")
def test_a_canary(run: Run):
    """`traffic` splits a path and takes it back; `status` tells how the split fares."""
    port = free_port()
    for name, path in (("stable", "/"), ("canary", "/canary")):
        place = ("--port", str(port), "--name", name, "--route-prefix", path)
        started = run("run", "app:app", *place, "--non-blocking")
        assert started.end() == 0, started.err
    split = run("traffic", "/", "stable=0", "canary=1", "--shadow", "stable=1")
    assert split.end() == 0, split.err
    assert split.out == "/:\n  stable: 0\n  canary: 1\n  copies to stable: 1\n"
    for _ in range(5):
        assert get(f"http://127.0.0.1:{port}").text == "hello from app"

    def told() -> dict[str, Any]:
        status = run("status", "--json")
        assert status.end() == 0, status.err
        found: dict[str, Any] = json.loads(status.out)
        return found

    def counted() -> list[int]:
        route = told()["routes"]["/"]
        targets, shadows = route["targets"], route["shadows"]
        shares = (targets["stable"], targets["canary"], shadows["stable"])
        return [share["requests"] for share in shares]

    wait_until(lambda: counted() == [0, 5, 5], 30, "the counts")
    assert run("traffic", "/", "stable=0.5").end() == 1
    assert run("traffic", "/", "--delete").end() == 0
    assert "routes" not in told()
    assert run("shutdown", "-y").end() == 0
    nothing_left(port, on_ray=True)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_address")
def test_other_plugins_than_the_instance(run: Run, monkeypatch: pytest.MonkeyPatch):
    """A process with other plugins than the instance's may not join, and hears which differ."""
    port = free_port()
    assert run("run", "app:app", "--port", str(port), "--non-blocking").end() == 0
    with monkeypatch.context() as patch:
        patch.setenv("ALACARTE_DISABLE_PLUGINS", "batching")
        status = run("status")
        assert status.end() == 1
    lines = status.err.splitlines()
    assert re.match(r"error: .*only there batching \d+\.\d+", lines[0])
    assert len(lines) <= 3
    assert get(f"http://127.0.0.1:{port}").status == 200
    assert run("shutdown", "-y").end() == 0
    nothing_left(port, on_ray=True)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_address")
def test_a_constructor_that_raises(run: Run):
    """The reason first, then the user's own line; exit code 1, and nothing is left."""
    port = free_port()
    program = run("run", "app:broken", "--port", str(port))
    assert program.end() == 1
    check_failure(
        program, "error: default#Broken: LookupError: no model in /models", "app.py:14 in __init__"
    )
    nothing_left(port, on_ray=True)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_address")
def test_a_port_in_use(run: Run):
    """The port is named; exit code 1, and nothing is left."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        program = run("run", "app:app", "--port", str(port))
        assert program.end() == 1
    check_failure(program, f"error: http: port {port} on 127.0.0.1 is in use")
    nothing_left(port, on_ray=True)


def check_failure(program: Program, reason: str, frame: str = "") -> None:
    """The last lines a user sees: the reason, and their own frame."""
    lines = [line for line in program.err.splitlines() if line.strip()]
    [first] = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    assert lines[first].startswith(reason)
    told = lines[first:]
    assert len(told) <= 3, program.err
    assert frame in "\n".join(told)
    assert "running at" not in program.out


def test_a_port_in_use_is_found_before_ray_starts(run: Run, monkeypatch: pytest.MonkeyPatch):
    """Where a cluster would be started, the port is tried first: nobody waits for Ray."""
    import socket

    monkeypatch.setenv("RAY_ADDRESS", "local")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        program = run("run", "app:app", "--port", str(port))
        assert program.end() == 1
    check_failure(program, f"error: http: port {port} on 127.0.0.1 is in use")
    assert children(program.process.pid) == set()
    assert "Started a local Ray" not in program.err


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("nowhere:app", "error: "),
        ("app:nothing", "error: "),
        ("app", "error: "),
    ],
)
def test_a_wrong_import_path(run: Run, path: str, reason: str):
    """What is wrong with it, before anything is started."""
    program = run("run", path)
    assert program.end() == 1
    check_failure(program, reason)
    assert path.partition(":")[0] in program.err
    assert not sockets()


def test_run_local(run: Run):
    """`alacarte run --local` answers within moments, starts no process, and loads no Ray."""
    port = free_port()
    program = run("run", "app:app", "--local", "--port", str(port))
    url = program.ready()
    assert get(url).text == "hello from app"
    # Starting Python and importing everything included.
    assert time.monotonic() - program.began < 3.0
    assert children(program.process.pid) == set()
    assert "_raylet" not in Path(f"/proc/{program.process.pid}/maps").read_text()
    wait_until(lambda: "GET / 200" in program.out, 10, "the request's line")
    assert program.end(signal.SIGINT) == 0
    assert "Traceback" not in program.err
    nothing_left(port, on_ray=False)


@pytest.mark.parametrize("module", ["alacarte", "alacarte_cli"])
def test_the_program_as_a_module(module: str):
    """`python -m alacarte` is the same program, whoever owns the scripts' names."""
    command = [sys.executable, "-m", module, "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("alacarte-cli ")


def test_plugins(run: Run):
    """`alacarte plugins` lists what is installed and what it gives."""
    program = run("plugins")
    assert program.end() == 0
    for name in (
        "core",
        "http",
        "handles",
        "batching",
        "multiplexing",
        "autoscaling",
        "endpoints",
        "cli",
    ):
        assert re.search(rf"^{name} +\d+\.\d+\S* +alacarte-{name} +loaded", program.out, re.M)
    assert "policies" in program.out
