"""What every program here shares: `serve`, a Ray of its own, and how it talks to the runner.

The environment variable BENCH_SERVE names the module that is measured, `alacarte.serve` or
`ray.serve`. Nothing else tells the two apart but that Ray Serve's access log is turned off, as
alacarte's is by default, and that options of alacarte's own go to alacarte only.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import processes

SERVE = os.environ.get("BENCH_SERVE", "alacarte.serve")
HOST = "127.0.0.1"
PORT = int(os.environ.get("BENCH_PORT", "8000"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "10"))
WARMUP_S = float(os.environ.get("BENCH_WARMUP_S", "3"))
APPLICATION = "bench"

serve = importlib.import_module(SERVE)


def init_ray() -> None:
    """Start a Ray that nothing else on this machine shares, and wait until it is quiet."""
    import ray

    ray.init(
        address="local",
        num_cpus=8,  # logical: room for every replica, however few cores there are
        object_store_memory=1024**3,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        # Ray notes its newest cluster in this directory, for others to join; not ours.
        _temp_dir=os.environ.get("BENCH_TMP"),
    )
    processes.settle(os.getpid())


IS_RAY_SERVE = SERVE == "ray.serve"


def _without_access_log() -> dict[str, Any]:
    """Options that turn Ray Serve's access log off; alacarte's is off by default."""
    return {"logging_config": {"enable_access_log": False}} if IS_RAY_SERVE else {}


def start(app: Any, **http_options: Any) -> Any:
    """Start serve and run `app` until it is ready; return its handle.

    Args:
        http_options: Of alacarte's only, which Ray Serve does not know.
    """
    options = {"host": HOST, "port": PORT} | ({} if IS_RAY_SERVE else http_options)
    serve.start(http_options=options, **_without_access_log())
    return serve.run(app, name=APPLICATION, route_prefix="/", **_without_access_log())


def get(path: str = "/", timeout_s: float = 30.0) -> str:
    """Fetch a path of the application over HTTP."""
    with urllib.request.urlopen(f"http://{HOST}:{PORT}{path}", timeout=timeout_s) as answer:
        return answer.read().decode()


def report(**values: Any) -> None:
    """Print what was found, as one line of JSON the runner looks for."""
    print(json.dumps({"bench": values}), flush=True)


def stop() -> None:
    """Shut serve and this program's own Ray down."""
    import ray

    serve.shutdown()
    ray.shutdown()


def serve_until_told(app: Any, **http_options: Any) -> None:
    """Run `app` and answer HTTP until standard input closes."""
    init_ray()
    start(app, **http_options)
    processes.settle(os.getpid())
    report(ready=True)
    sys.stdin.read()
    stop()


def drive(app: Any, *methods: str) -> None:
    """Run `app`, call its ingress's `methods` for a while each, and report what they return.

    Each is called as `method(seconds)` and returns a dict of results; a first, shorter call
    warms up.
    """
    init_ray()
    handle = start(app)
    processes.settle(os.getpid())
    results: dict[str, Any] = {}
    for method in methods:
        for seconds in (WARMUP_S, SECONDS):
            response = getattr(handle, method).remote(seconds)
            results |= response.result(timeout_s=60 + 5 * seconds)
    report(**results)
    stop()


def port_is_open() -> bool:
    """Tell whether anything accepts connections on the HTTP port."""
    import socket

    with socket.socket() as probe:
        return probe.connect_ex((HOST, PORT)) == 0


def wait_for(condition: Callable[[], bool], limit_s: float) -> bool:
    """Poll each millisecond until `condition` holds; False if it did not in time."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.001)
    return False
