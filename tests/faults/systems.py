"""alacarte and Ray Serve, to do the same to both: deploy, look at processes, hurt them.

Each runs in a Ray of its own, started by a `driver` in the environment of the system.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.faults.serving import ROOT, open_files
from tests.integration.instance import free_port

from alacarte.testing import wait_until

__all__ = ["ALACARTE", "RAY_SERVE", "System", "running"]

ALACARTE, RAY_SERVE = "alacarte", "ray_serve"
_CALLS = "driver: "
_PEER_PYTHON = ROOT / "benchmarks" / ".venvs" / "ray" / "bin" / "python"
_REPLICA = {ALACARTE: ":replica:", RAY_SERVE: "SERVE_REPLICA::"}
_PROXY = {ALACARTE: ":service:", RAY_SERVE: "SERVE_PROXY_ACTOR"}
_CONTROLLER = {ALACARTE: "alacarte:controller", RAY_SERVE: "SERVE_CONTROLLER_ACTOR"}


class System:
    """One of the two, as it runs.

    Attributes:
        name: `ALACARTE` or `RAY_SERVE`.
        port: Of the proxy.
        folder: Where `served.Worker` looks for notes.
    """

    def __init__(self, name: str, process: subprocess.Popen[str], port: int, folder: Path) -> None:
        self.name = name
        self.port = port
        self.folder = folder
        self._process = process
        self._numbers = itertools.count(1)
        self._pending: dict[int, concurrent.futures.Future[Any]] = {0: concurrent.futures.Future()}
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def end(self) -> None:
        """End it, and all that belongs to it."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._reader.join(10)
        process.stdout.close()

    def ready(self) -> None:
        """Return when it runs."""
        self._pending[0].result(120)

    def ask(self, method: str, /, timeout_s: float = 120, **given: Any) -> Any:
        """Have the driver call one of its methods; return what that returns."""
        return self.asked(method, **given).result(timeout_s)

    def asked(self, method: str, /, **given: Any) -> concurrent.futures.Future[Any]:
        """Do the same, and return at once."""
        assert self._process.stdin is not None
        number = next(self._numbers)
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self._pending[number] = future
        with self._lock:
            self._process.stdin.write(json.dumps([number, method, given]) + "\n")
            self._process.stdin.flush()
        return future

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            found = json.loads(line.removeprefix(_CALLS))
            future = self._pending.pop(found["number"])
            if "error" in found:
                future.set_exception(RuntimeError(found["error"]))
            else:
                future.set_result(found["value"])
        for future in list(self._pending.values()):
            future.set_exception(RuntimeError("the driver has ended"))

    def deploy(
        self, version: str, *, app: str = "alpha", wait: bool = True, **given: Any
    ) -> concurrent.futures.Future[Any]:
        """Deploy a version of `served.Worker`, with options of `Driver.deploy`."""
        arguments = {"folder": str(self.folder), **given.pop("arguments", {})}
        future = self.asked("deploy", app=app, version=version, arguments=arguments, **given)
        if wait:
            future.result(180)
        return future

    def status(self, app: str = "alpha") -> dict[str, Any]:
        """Return an application's status, message and replicas by state."""
        found: dict[str, Any] = self.ask("status", app=app)
        return found

    def replicas(self, app: str = "alpha") -> dict[str, int]:
        """Return the processes of an application's replicas, by name."""
        return self._processes(f"{_REPLICA[self.name]}{app}#")

    def proxies(self) -> dict[str, int]:
        """Return the processes of the proxies, by name."""
        return self._processes(_PROXY[self.name])

    def controller(self) -> tuple[str, int]:
        """Return the name and the process of the controller."""
        [found] = self._processes(_CONTROLLER[self.name]).items()
        return found

    def processes(self) -> dict[str, int]:
        """Return all of its processes, by name."""
        return self._processes("")

    def _processes(self, part: str) -> dict[str, int]:
        return {each["name"]: each["pid"] for each in self.ask("actors") if part in each["name"]}

    def get(self, path: str, timeout_s: float = 10) -> str:
        """Return what a path answers."""
        url = f"http://127.0.0.1:{self.port}{path}"
        with urllib.request.urlopen(url, timeout=timeout_s) as response:
            text: str = response.read().decode()
            return text

    def asked_path(self, path: str, timeout_s: float = 60) -> None:
        """Ask for a path, and do not wait for what is answered."""

        def ask() -> None:
            with contextlib.suppress(OSError):
                self.get(path, timeout_s)

        threading.Thread(target=ask, daemon=True).start()

    def serves(self, path: str = "/brief?0") -> bool:
        """Tell whether a path is answered."""
        try:
            self.get(path)
        except OSError:
            return False
        return True

    def wait_for(self, version: str, path: str = "/brief?0") -> None:
        """Return when a version answers."""
        wait_until(
            lambda: self.serves(path) and self.get(path).split()[2] == version,
            60,
            f"version {version}",
        )

    def note(self, name: str) -> Path:
        """Leave a note for the workers."""
        path = self.folder / name
        path.touch()
        return path


@contextlib.contextmanager
def running(
    name: str, *, nodes: tuple[int, ...] = (8,), ray_address: str = "", **http_options: Any
) -> Iterator[System]:
    """Run a system for as long as the block lasts.

    Args:
        name: `ALACARTE` or `RAY_SERVE`.
        nodes: CPUs of each node, the head first.
        ray_address: Of a Ray that runs; "" starts one.
    """
    open_files()
    directory = Path(tempfile.mkdtemp(prefix="alc-", dir="/tmp"))  # the paths of sockets are short
    # What the shell says of a Ray is meant for another one, unless we use that one.
    foreign = ["ALACARTE_", "RAY_ADDRESS" if ray_address else "RAY_"]
    if name != ALACARTE:
        foreign.append("PYTHON")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(tuple(foreign))}
    kept |= {"RAY_USAGE_STATS_ENABLED": "0"}
    if not ray_address:
        kept["TMPDIR"] = str(directory)
    port = free_port()
    options = {"port": port, "host": "127.0.0.1", **http_options}
    if len(nodes) > 1:
        # All nodes are this machine, so one proxy has to do.
        options |= {"location": "HeadOnly"}
    given = [name, str(directory / "ray"), list(nodes), ray_address, options]
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(
            [str(_python(name)), "-m", "tests.faults.driver", json.dumps(given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=ROOT,
            env=kept,
        )
    system = System(name, process, port, directory)
    try:
        system.ready()
        yield system
    except BaseException:
        sys.stderr.write((directory / "log").read_text()[-4000:])
        raise
    finally:
        system.end()
        shutil.rmtree(directory, ignore_errors=True)


def _python(name: str) -> Path:
    if name == ALACARTE:
        return Path(sys.executable)
    if not _PEER_PYTHON.exists():
        raise FileNotFoundError(
            "no environment with Ray Serve: `python benchmarks/run.py --quick --only lifecycle "
            "--peers ray` makes one"
        )
    return _PEER_PYTHON
