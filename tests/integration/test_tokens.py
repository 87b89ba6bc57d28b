"""Programs of other processes join a Ray that authenticates, as Ray does unless told otherwise."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.instance import free_port

pytestmark = pytest.mark.ray

HEAD = """
import ray, sys
context = ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
print(context.address_info["gcs_address"], flush=True)
sys.stdin.read()
"""
APP = """
from alacarte import serve

@serve.deployment
class Hello:
    def __call__(self):
        return "hello"

app = Hello.bind()
"""
QUICK_S = 10.0
"""A command takes 3 s on a machine that does nothing else; Ray gave up after 20."""


class Machine:
    """A user's home, with a Ray that runs in it, and commands of other shells."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "ALACARTE_"))}
        self._environment = {
            **clean,
            "HOME": str(folder),
            "RAY_TMPDIR": f"{os.environ['TMPDIR']}/{folder.name[:4]}",
            "ALACARTE_HTTP__PORT": str(free_port()),
        }
        (folder / "app.py").write_text(APP)
        self.token = folder / ".ray" / "auth_token"
        self._ray = subprocess.Popen(
            [sys.executable, "-c", HEAD],
            env={**self._environment, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._ray.stdout is not None
        self.address = self._ray.stdout.readline().strip()
        # As `ray start` does. Other tests' Rays may run on this machine, too.
        Path(self._environment["RAY_TMPDIR"], "ray", "ray_current_cluster").write_text(self.address)

    def run(self, *words: str, **environment: str) -> tuple[int, str, float]:
        """Run a command; return its exit code, what it printed, and how long it took."""
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "alacarte_cli", *words],
            cwd=self._folder,
            env={**self._environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout, time.monotonic() - began

    def quickly(self, *words: str, expect: int = 0, **environment: str) -> str:
        """Run a command that must end soon; return what it printed."""
        code, told, took = self.run(*words, **environment)
        assert code == expect, told
        assert took < QUICK_S, told
        assert "InvalidAuthToken" not in told
        return told

    def close(self) -> None:
        assert self._ray.stdin is not None
        self._ray.stdin.close()
        assert self._ray.wait(60) == 0
        assert self._ray.stdout is not None
        self._ray.stdout.close()


@pytest.fixture(scope="module", params=["guarded", "open"])
def machine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machine]:
    """A machine whose Ray authenticates, as it does by default; then one whose Ray does not."""
    chosen = {"RAY_AUTH_MODE": "disabled"} if request.param == "open" else {}
    machine = Machine(tmp_path_factory.mktemp(request.param), chosen)
    assert machine.token.exists() == (request.param == "guarded")
    yield machine
    machine.close()


def test_another_shell_finds_what_runs(machine: Machine):
    """Status, traffic and shutdown of another shell join at once, with tokens and without."""
    code, told, _ = machine.run("run", "app:app", "--non-blocking")
    assert code == 0, told
    assert "RUNNING" in machine.quickly("status")
    assert "RUNNING" in machine.quickly("status", "--address", machine.address)
    machine.quickly("traffic", "/", "default=1", RAY_ADDRESS=machine.address)
    assert machine.quickly("shutdown", "-y").endswith("shut down (default).\n")
    assert machine.quickly("shutdown", "-y").endswith("nothing is running.\n")


@pytest.mark.parametrize("machine", ["guarded"], indirect=True)
def test_a_wrong_token(machine: Machine):
    """Who is refused is told so, and what to do; nobody claims that nothing is running."""
    for command in (("status",), ("shutdown", "-y"), ("traffic", "/", "a=1"), ("run", "app:app")):
        told = machine.quickly(*command, expect=1, RAY_AUTH_TOKEN=64 * "f")
        assert f"error: the Ray cluster at {machine.address} refused the token" in told
        assert "RAY_AUTH_TOKEN_PATH" in told
    told = machine.quickly("status", expect=1, RAY_AUTH_MODE="disabled")
    assert "RAY_AUTH_MODE=disabled keeps this process from sending its own" in told
    told = machine.quickly("status", expect=1, HOME=os.devnull)
    assert "requires a token, and this process has none" in told
