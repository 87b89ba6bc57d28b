"""The common part of the programs: `serve`, a private Ray, and the messages to the runner.

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
from pathlib import Path
from typing import Any

import processes

SERVE = os.environ.get("BENCH_SERVE", "alacarte.serve")
HOST = "127.0.0.1"
PORT = int(os.environ.get("BENCH_PORT", "8000"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "10"))
APPLICATION = "bench"


def _import_serve() -> Any:
    """Import the module that is measured.

    Ray Serve's fast mode keeps its files below `/tmp/haproxy-serve` unless told otherwise, and
    would take handles away from this program, which has no event loop of its own: that much is set
    for it. Its other processes begin with `ray.init` and see the mode as it is.
    """
    if os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") != "1":
        return importlib.import_module(SERVE)
    files = Path(os.environ.get("BENCH_TMP", "/tmp/bench")).parent / "h"  # a socket needs it short
    os.environ["RAY_SERVE_HAPROXY_CONFIG_FILE_LOC"] = str(files / "haproxy.cfg")
    os.environ["RAY_SERVE_HAPROXY_SOCKET_PATH"] = str(files / "admin.sock")
    os.environ["RAY_SERVE_HAPROXY_SERVER_STATE_BASE"] = str(files)
    os.environ["RAY_SERVE_HAPROXY_SERVER_STATE_FILE"] = str(files / "server-state")
    own_loop = "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP"
    os.environ[own_loop] = "1"
    try:
        return importlib.import_module(SERVE)
    finally:
        del os.environ[own_loop]


serve = _import_serve()


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


def drive(app: Any) -> None:
    """Run `app`, and call methods of its ingress for as long as the runner says.

    Each line of standard input names a method and a number of seconds. The method is called as
    `method(seconds)` and returns a dict of results, which is reported. The end of the input ends
    the program.
    """
    init_ray()
    handle = start(app)
    processes.settle(os.getpid())
    report(ready=True)
    for line in sys.stdin:
        method, seconds = line.split()
        response = getattr(handle, method).remote(float(seconds))
        report(**response.result(timeout_s=60 + 5 * float(seconds)))
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
