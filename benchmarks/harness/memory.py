"""Workloads that look at the memory of proxy and replica, from clients that behave badly."""

from __future__ import annotations

import json
import time

from programs.processes import descendants, listeners, memory_mb, peak_mb

from .clients import client, fetch
from .programs import Program
from .run import START_TIMEOUT_S, Run, Values


def _proxies(run: Run, program: Program) -> dict[str, int]:
    holding = listeners(run.port, descendants(program.pid))
    return {f"proxy{number or ''}": pid for number, pid in enumerate(sorted(holding))}


def aborts(run: Run) -> Values:
    """Compare memory before and after many requests of which a tenth is abandoned."""
    with run.program("aborts.py") as program:
        program.finding(START_TIMEOUT_S)
        pids = {"replica": json.loads(fetch(run.port, "/state"))["pid"]} | _proxies(run, program)
        _storm(run, run.settings.abort_warmup)
        before = {name: memory_mb(pid) for name, pid in pids.items()}
        _storm(run, run.settings.abort_requests)
        left = _in_flight(run)
        after = {name: memory_mb(pid) for name, pid in pids.items()}
        gate = client(run, "aborting_client.py", "--gate", 64)["outcomes"]
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


def _storm(run: Run, requests: int) -> None:
    timeout_s = 120 + requests / 50
    found = client(run, "aborting_client.py", "--requests", requests, timeout_s=timeout_s)
    odd = {k: v for k, v in found["outcomes"].items() if k not in ("200", "abandoned")}
    if odd:
        run.complain(f"of {requests} requests with aborts: {odd}")
    time.sleep(3)  # the last slow answers and streams take one


def _in_flight(run: Run) -> int:
    """Ask the replica for the requests its user code still works on; none is what we hope."""
    deadline = time.monotonic() + 10
    while (active := json.loads(fetch(run.port, "/state"))["active"]) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.2)
    if active:
        run.complain(f"{active} requests still in flight 10 s after the last")
    return int(active)


def large_bodies(run: Run) -> Values:
    """Take the peak memory of proxy and replica while very large bodies pass, fast and slowly.

    "Slowly" is a client that leaves the download alone for a while and naps after each 10 MB, and
    a handler that leaves the upload alone for a while: nobody may run ahead of them in memory.
    """
    size = run.settings.large_bytes
    pause_s = min(5, run.settings.seconds)
    ways = {
        "upload": ("--way", "upload"),
        "download": ("--way", "download"),
        "slow_upload": ("--way", "upload", "--pause-s", pause_s),
        "slow_download": ("--way", "download", "--pause-s", pause_s, "--nap-s", 0.05),
    }
    values: Values = {}
    with run.program("large_bodies.py") as program:
        program.finding(START_TIMEOUT_S)
        pids = {"replica": int(fetch(run.port, "/pid"))} | _proxies(run, program)
        for name, way in ways.items():
            found = client(
                run, "large_body_client.py", "--bytes", size, *way, timeout_s=120 + size / 10**7
            )
            values[f"large_{name}_mb_per_s"] = size / 1e6 / found["seconds"]
            for process, pid in pids.items():
                part = "replica" if process == "replica" else "proxy"
                key = f"large_{part}_peak_mb"
                values[f"large_{name}_{process}_peak_mb"] = peak_mb(pid)
                values[key] = max(values.get(key, 0.0), peak_mb(pid))
        program.check_running()
    return values
