"""The workloads: which program each runs, on which peers, and what it measures there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from programs.processes import descendants, listeners, memory_mb

from .peers import Peer, SetupError, environment
from .programs import PROGRAMS, Program, ProgramError, free_port, is_listening, running

START_TIMEOUT_S = 180
Values = dict[str, float]


@dataclass(frozen=True)
class Settings:
    """How long and how hard to measure."""

    seconds: float
    warmup_s: float
    imports: int
    abort_warmup: int
    abort_requests: int
    raw: Path
    temporary: Path


@dataclass
class Run:
    """One workload on one peer, once."""

    workload: str
    peer: Peer
    python: Path
    repeat: int
    settings: Settings
    problems: list[str]
    port: int = field(default_factory=free_port)

    @property
    def log(self) -> Path:
        return self.settings.raw / f"{self.workload}-{self.peer.name}-{self.repeat}.log"

    @contextmanager
    def program(self, name: str, ask: signal.Signals | None = None) -> Iterator[Program]:
        """Run one of `programs/` and clean up after it."""
        temporary = self.settings.temporary / f"{self.workload[:4]}{os.urandom(2).hex()}"
        env = environment(
            self.peer,
            PYTHONUNBUFFERED="1",
            BENCH_PORT=str(self.port),
            BENCH_SECONDS=str(self.settings.seconds),
            BENCH_WARMUP_S=str(self.settings.warmup_s),
            BENCH_TMP=str(temporary),
            MOSEC_ADDRESS="127.0.0.1",
            MOSEC_PORT=str(self.port),
            MOSEC_LOG_LEVEL="warning",
        )
        try:
            with running(
                [self.python, PROGRAMS / name], env, self.log, self.problems, ask
            ) as program:
                yield program
            if is_listening(self.port):
                self.problems.append(f"{self.log.stem}: port still open after the end")
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def complain(self, what: str) -> None:
        """Note what was wrong with a result that is reported all the same."""
        self.problems.append(f"{self.log.stem}: {what}")


# HTTP


def _fetch(port: int, path: str = "/", body: bytes | None = None) -> str:
    url = f"http://127.0.0.1:{port}{path}"
    with urllib.request.urlopen(url, data=body, timeout=10) as answer:
        return str(answer.read().decode())


def _await_answer(run: Run, program: Program, path: str, body: bytes | None, text: str) -> None:
    """Wait until the server gives the right answer, and insist that it is right."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        program.check_running()
        try:
            answer = _fetch(run.port, path, body)
            break
        except OSError as error:  # refused, or an HTTP error while it comes up
            if time.monotonic() > deadline:
                raise ProgramError(f"no HTTP answer: {error}") from None
            time.sleep(0.05)
    if answer != text:
        raise ProgramError(f"answered {answer[:80]!r} instead of {text!r}")


def _wrk(run: Run, connections: int, seconds: float, path: str, body: bytes | None) -> Values:
    wrk = shutil.which("wrk")
    if wrk is None:
        raise SetupError("wrk is missing; on Debian and Ubuntu: apt-get install wrk")
    env = dict(os.environ, BENCH_METHOD="POST" if body else "GET")
    if body:
        env["BENCH_BODY"] = body.decode()
    url = f"http://127.0.0.1:{run.port}{path}"
    command = [wrk, "--threads", "1", "--connections", str(connections)]
    command += ["--duration", f"{max(1, round(seconds))}s", "--timeout", "10s", "--latency"]
    command += ["--script", str(PROGRAMS / "report.lua"), url]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=seconds + 60)
    for line in done.stdout.splitlines():
        if line.startswith('{"bench"'):
            found = json.loads(line)["bench"]
            break
    else:
        raise ProgramError(f"wrk failed: {done.stdout[-300:]}{done.stderr[-300:]}")
    for kind in ("socket_errors", "timeouts", "bad_statuses"):
        if found[kind]:
            run.complain(f"{found[kind]} {kind} in {found['requests']} requests")
    return {
        "rps": found["requests"] / found["seconds"],
        "p50_ms": found["p50_ms"],
        "p99_ms": found["p99_ms"],
    }


def _measure_http(run: Run, text: str, name: str, loads: tuple[int, ...]) -> Values:
    path, body, ask, file = "/", None, None, f"{name}.py"
    if run.peer.name == "mosec":
        path, body = "/inference", b"hello"
    if not run.peer.is_serve:
        ask, file = signal.SIGTERM, f"{run.peer.name}_{name}.py"
    values: Values = {}
    with run.program(file, ask) as program:
        if run.peer.is_serve:
            program.finding(START_TIMEOUT_S)
        _await_answer(run, program, path, body, text)
        for connections in loads:
            _wrk(run, connections, run.settings.warmup_s, path, body)
            found = _wrk(run, connections, run.settings.seconds, path, body)
            values |= {f"{name}_{connections}_{key}": value for key, value in found.items()}
        program.check_running()
    return values


def hello(run: Run) -> Values:
    """Measure a short HTTP answer with 32 connections and with one."""
    return _measure_http(run, "hello", "hello", (32, 1))


def two_hop(run: Run) -> Values:
    """Measure HTTP through two deployments with 32 connections."""
    return _measure_http(run, "hello you", "two_hop", (32,))


# Programs that measure themselves


def driven(name: str) -> Callable[[Run], Values]:
    """Give the workload that runs a program and takes its word."""

    def run_program(run: Run) -> Values:
        with run.program(f"{name}.py") as program:
            return program.finding(START_TIMEOUT_S + 12 * run.settings.seconds)

    return run_program


def imports(run: Run) -> Values:
    """Take the best of several imports, each in a fresh interpreter."""
    env = environment(run.peer)
    found: list[dict[str, Any]] = []
    for _ in range(run.settings.imports + 1):  # one more, to write the bytecode
        done = subprocess.run(
            [str(run.python), str(PROGRAMS / "import_time.py")],
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
        )
        if done.returncode:
            raise ProgramError(f"the import failed:\n{done.stderr[-1000:]}")
        found.append(json.loads(done.stdout)["bench"])
    foreign = found[-1]["foreign"]
    if foreign and run.peer.name == "alacarte":
        run.complain(f"`from alacarte import serve` imports {', '.join(foreign)}")
    best = {key: min(each[key] for each in found) for key in ("import_ms", "import_used_ms")}
    return best | {"import_foreign": len(foreign)}


# Memory under clients that leave early


def aborts(run: Run) -> Values:
    """Compare memory before and after many requests of which a tenth is abandoned."""
    with run.program("aborts.py") as program:
        program.finding(START_TIMEOUT_S)
        pids = {"replica": json.loads(_fetch(run.port, "/state"))["pid"]}
        holding = listeners(run.port, descendants(program.pid))
        pids |= {f"proxy{number or ''}": pid for number, pid in enumerate(sorted(holding))}
        _storm(run, run.settings.abort_warmup)
        before = {name: memory_mb(pid) for name, pid in pids.items()}
        _storm(run, run.settings.abort_requests)
        left = _in_flight(run)
        after = {name: memory_mb(pid) for name, pid in pids.items()}
        gate = _client(run, ["--gate", "64"])["outcomes"]
        program.check_running()
    if gate != {"open": 64}:
        run.complain(f"of 64 requests at once after the aborts: {gate}")
    values: Values = {
        "abort_in_flight": float(left),
        "abort_gate_shut": float(64 - gate.get("open", 0)),
    }
    for name in pids:
        part = "replica" if name == "replica" else "proxy"
        growth = 100 * (after[name]["rss"] / before[name]["rss"] - 1)
        key = f"abort_{part}_growth_percent"
        values[key] = max(growth, values.get(key, growth))
        values[f"abort_{name}_rss_before_mb"] = before[name]["rss"]
        values[f"abort_{name}_rss_after_mb"] = after[name]["rss"]
    return values


def _client(run: Run, arguments: list[str], timeout_s: float = 120) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(PROGRAMS / "aborting_client.py"), "--port", str(run.port), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    if done.returncode:
        raise ProgramError(f"the client failed:\n{done.stderr[-1000:]}")
    return cast(dict[str, Any], json.loads(done.stdout)["bench"])


def _storm(run: Run, requests: int) -> None:
    found = _client(run, ["--requests", str(requests)], timeout_s=120 + requests / 50)
    odd = {k: v for k, v in found["outcomes"].items() if k not in ("200", "abandoned")}
    if odd:
        run.complain(f"of {requests} requests with aborts: {odd}")
    time.sleep(3)  # the last slow answers and streams take one


def _in_flight(run: Run) -> int:
    """Ask the replica for the requests its user code still works on; none is what we hope."""
    deadline = time.monotonic() + 10
    while (active := json.loads(_fetch(run.port, "/state"))["active"]) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.2)
    if active:
        run.complain(f"{active} requests still in flight 10 s after the last")
    return int(active)


@dataclass(frozen=True)
class Workload:
    """One row's worth of work.

    Attributes:
        name: As given to `--only`.
        measure: Runs it once on one peer.
        peers: Who can run it.
        by_default: Who runs it unless it is asked for with `--only`.
    """

    name: str
    measure: Callable[[Run], Values]
    peers: tuple[str, ...] = ("alacarte", "ray")
    by_default: tuple[str, ...] | None = None

    def chosen(self, peers: list[str], asked: bool) -> list[str]:
        """Choose among `peers` those that run it now."""
        allowed = self.peers if asked or self.by_default is None else self.by_default
        return [name for name in peers if name in allowed]


WORKLOADS = (
    Workload("hello", hello, ("alacarte", "ray", "ray-throughput", "starlette", "mosec")),
    # In Ray Serve's throughput mode a plain script cannot use handles: HTTP only.
    Workload("two_hop", two_hop, ("alacarte", "ray", "ray-throughput")),
    Workload("handles", driven("handles")),
    Workload("stream", driven("stream")),
    Workload("numpy_echo", driven("numpy_echo")),
    Workload("lifecycle", driven("lifecycle")),
    Workload("import_time", imports),
    Workload("replica_memory", driven("replica_memory")),
    # 200,000 requests take Ray Serve a quarter of an hour, and no goal compares them.
    Workload("aborts", aborts, by_default=("alacarte",)),
)
