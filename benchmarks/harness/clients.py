"""Clients of the measured servers: single requests, `wrk`, and the clients among `programs/`."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any, cast

from .peers import SetupError
from .programs import PROGRAMS, Program, ProgramError
from .run import START_TIMEOUT_S, Run, Values


def fetch(port: int, path: str = "/", body: bytes | None = None) -> str:
    """Return the text a server answers with."""
    url = f"http://127.0.0.1:{port}{path}"
    with urllib.request.urlopen(url, data=body, timeout=10) as answer:
        return str(answer.read().decode())


def await_answer(run: Run, program: Program, path: str, body: bytes | None, text: str) -> None:
    """Wait until the server gives an answer, and insist that it is right."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        program.check_running()
        try:
            answer = fetch(run.port, path, body)
            break
        except OSError as error:  # refused, or an HTTP error while it comes up
            if time.monotonic() > deadline:
                raise ProgramError(f"no HTTP answer: {error}") from None
            time.sleep(0.05)
    if answer != text:
        raise ProgramError(f"answered {answer[:80]!r} instead of {text[:80]!r}")


def wrk(run: Run, connections: int, seconds: float, path: str, body_bytes: int = 0) -> Values:
    """Load a server with `wrk` for a while, each connection with one request at a time.

    Args:
        body_bytes: Of a body that is sent with each request, as a POST; 0 for a GET.

    Returns:
        requests, errors, rps, p50_ms, p99_ms, and client_cores, the processor time of `wrk`
        itself as a part of one core.
    """
    found = _wrk(run, connections, seconds, path, body_bytes)
    kinds = ("socket_errors", "timeouts", "bad_statuses")
    for kind in kinds:
        if found[kind]:
            run.complain(
                f"{found[kind]} {kind} in {found['requests']} requests, {connections} connections"
            )
    return {
        "requests": found["requests"],
        "errors": sum(found[kind] for kind in kinds),
        "rps": found["requests"] / found["seconds"],
        "p50_ms": found["p50_ms"],
        "p99_ms": found["p99_ms"],
        "client_cores": found["client_s"] / found["seconds"],
    }


def _wrk(run: Run, connections: int, seconds: float, path: str, body_bytes: int) -> dict[str, Any]:
    tool = shutil.which("wrk")
    if tool is None:
        raise SetupError("wrk is missing; on Debian and Ubuntu: apt-get install wrk")
    env = dict(os.environ, BENCH_BODY_BYTES=str(body_bytes))
    command = [tool, "--threads", "1", "--connections", str(connections)]
    command += ["--duration", f"{max(1, round(seconds))}s", "--timeout", "10s", "--latency"]
    command += ["--script", str(PROGRAMS / "report.lua"), f"http://127.0.0.1:{run.port}{path}"]
    return _found(command, seconds + 60, env)


def client(run: Run, name: str, *arguments: Any, timeout_s: float = 120) -> dict[str, Any]:
    """Run one of the clients among `programs/`, on the runner's Python; return its finding."""
    command = [sys.executable, str(PROGRAMS / name), "--port", str(run.port)]
    return _found([*command, *map(str, arguments)], timeout_s)


def _found(
    command: list[str], timeout_s: float, env: dict[str, str] | None = None
) -> dict[str, Any]:
    """Run a client; return its finding, and as `client_s` the processor time it took."""
    before = _children_cpu_s()
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=timeout_s)
    used_s = _children_cpu_s() - before
    for line in done.stdout.splitlines():
        if line.startswith('{"bench"') and done.returncode == 0:
            return {**cast(dict[str, Any], json.loads(line)["bench"]), "client_s": used_s}
    name = " ".join(Path(word).name for word in command[:2])
    raise ProgramError(f"{name} failed:\n{done.stdout[-300:]}{done.stderr[-1000:]}")


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
