"""An instance in processes of its own, so that a scenario can look at them from outside.

On Ray the proxy and each replica is a process; on the local cluster all is one.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

__all__ = ["Server", "open_files", "resident", "serving"]

ROOT = Path(__file__).parents[2]
_READY = "serving: "


class Server:
    """The instance, seen from outside.

    Attributes:
        url: Of the proxy, without a slash at the end.
        port: Of the proxy.
        pids: Of the processes, by what they are.
        sockets: Of the replicas.
    """

    def __init__(self, facts: dict[str, Any]) -> None:
        self.url: str = facts["url"]
        self.port: int = urlsplit(self.url).port or 0
        self.pids: dict[str, int] = facts["pids"]
        self.sockets: list[str] = facts["sockets"]

    def gauge(self) -> list[list[int]]:
        """Return how many requests each link of the chain has begun, and is working on."""
        found: list[list[int]] = json.loads(self.get("/gauge"))
        return found

    @property
    def running(self) -> int:
        """How many requests are being worked on, wherever."""
        return sum(running for _, running in self.gauge())

    def get(self, path: str) -> str:
        """Return what a path answers."""
        with urllib.request.urlopen(self.url + path, timeout=30) as response:
            text: str = response.read().decode()
            return text

    def forget_peaks(self) -> None:
        """Begin to look for the largest size of each process anew."""
        for pid in self.pids.values():
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def peaks(self) -> dict[str, float]:
        """Return how large each process has been, in MiB of memory."""
        return {name: _size(pid, "VmHWM") for name, pid in self.pids.items()}

    def sizes(self) -> dict[str, float]:
        """Return how large each process is."""
        return {name: resident(pid) for name, pid in self.pids.items()}

    def files(self) -> dict[str, int]:
        """Return how many descriptors each process has open."""
        return {name: len(os.listdir(f"/proc/{pid}/fd")) for name, pid in self.pids.items()}


def resident(pid: int) -> float:
    """Return how much memory a process has, in MiB."""
    return _size(pid, "VmRSS")


def _size(pid: int, field: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise LookupError(field)


def open_files() -> int:
    """Allow this process and its children as many files as they may have; return the number."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


@contextlib.contextmanager
def serving(
    cluster: str = "ray", *, ray_address: str = "", **http_options: Any
) -> Iterator[Server]:
    """Serve `applications.application` with these options for as long as the block lasts.

    Args:
        ray_address: Of a Ray that runs; "" starts one.
    """
    directory = Path(tempfile.mkdtemp(prefix="alc-", dir="/tmp"))  # the paths of sockets are short
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ALACARTE_", "RAY_SERVE_", "RAY_ADDRESS", "RAY_TMPDIR"))
    }
    if not ray_address:
        kept["TMPDIR"] = str(directory)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.faults.serving"),
            *(cluster, ray_address, json.dumps(http_options)),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=kept,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.startswith(_READY):
                break
        else:
            raise RuntimeError(f"the server ended with {process.wait()} before it was ready")
        yield Server(json.loads(line.removeprefix(_READY)))
    finally:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        shutil.rmtree(directory, ignore_errors=True)


def _serve(cluster: str, ray_address: str, http_options: dict[str, Any]) -> None:
    """Serve until standard input is closed."""
    from tests.faults.applications import application

    from alacarte import serve

    open_files()
    if cluster == "ray":
        import ray

        fresh = {
            "num_cpus": 8,
            "include_dashboard": False,
            "_temp_dir": str(Path(tempfile.gettempdir()) / "ray"),
        }
        options: dict[str, Any] = {} if ray_address else fresh
        ray.init(ray_address or "local", logging_level="warning", log_to_driver=False, **options)
    serve.start(cluster=cluster, http_options={"port": 0, **http_options})
    try:
        serve.run(application)
        print(_READY + json.dumps(_facts(cluster)), flush=True)
        sys.stdin.read()
    finally:
        serve.shutdown()
        if cluster == "ray":
            ray.shutdown()


def _facts(cluster: str) -> dict[str, Any]:
    # The scenarios look behind the curtain with what the integration tests use for that.
    from tests.integration.instance import Instance, sockets
    from tests.integration.processes import listeners

    here = Instance(cluster)
    pids = {"all": os.getpid()}
    if here.on_ray:
        address = ("127.0.0.1", here.port)
        [proxy] = [pid for pid, ports in listeners().items() if address in ports]
        pids = {"proxy": proxy}
        for replica in here.replicas():
            pids[replica.split("#")[1]] = here.pid(replica)
    return {"url": here.url, "pids": pids, "sockets": [str(path) for path in sockets()]}


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
