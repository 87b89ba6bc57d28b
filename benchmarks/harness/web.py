"""Workloads over HTTP and WebSockets, from clients that keep their connections."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from .clients import await_answer, client, wrk
from .programs import Program
from .run import START_TIMEOUT_S, Run, Values

BODY_SIZES = {"1_kb": 10**3, "1_mb": 10**6, "10_mb": 10**7}
CONNECTIONS = (1, 8, 32, 128, 512)
CHUNKS, CHUNK_BYTES = 1000, 20
ENDPOINTS = {"plain": "/", "both": "/both", "one": "/one", "two": "/two", "shadow": "/shadow"}
ENDPOINT_TURNS = 10
ACCESS_LOG_TURNS = 6  # with and without it in turn; the last without


@contextmanager
def _server(run: Run, name: str) -> Iterator[Program]:
    """Run the peer's version of a program for the length of a block."""
    if run.peer.is_serve:
        with run.program(f"{name}.py") as program:
            program.finding(START_TIMEOUT_S)
            yield program
    else:
        with run.program(f"{run.peer.name}_{name}.py", signal.SIGTERM) as program:
            yield program


def _load(run: Run, connections: int, path: str, body_bytes: int = 0) -> Values:
    """Measure after a warm-up."""
    wrk(run, connections, run.settings.warmup_s, path, body_bytes)
    return wrk(run, connections, run.settings.seconds, path, body_bytes)


def _named(prefix: str, values: Values) -> Values:
    return {f"{prefix}_{key}": value for key, value in values.items()}


def _measure(run: Run, name: str, path: str, text: str, loads: tuple[int, ...]) -> Values:
    """Measure one short answer under several numbers of connections."""
    body = b""
    if run.peer.name == "mosec":  # it passes POST requests only
        path, body = "/inference", b"hello"
    values: Values = {}
    with _server(run, name) as program:
        await_answer(run, program, path, body or None, text)
        for connections in loads:
            found = _load(run, connections, path, len(body))
            values |= _named(f"{name}_{connections}", found)
        program.check_running()
    return values


def hello(run: Run) -> Values:
    """Measure a short HTTP answer with 32 connections and with one."""
    return _measure(run, "hello", "/", "hello", (32, 1))


def two_hop(run: Run) -> Values:
    """Measure HTTP through two deployments with 32 connections."""
    return _measure(run, "two_hop", "/", "hello you", (32,))


def fastapi_route(run: Run) -> Values:
    """Measure a FastAPI route with a path parameter, with 32 connections and with one."""
    return _measure(run, "route", "/items/42", '{"item_id":42,"name":"lamp"}', (32, 1))


def connections(run: Run) -> Values:
    """Measure a short answer under more and more connections, and how its time grows."""
    found = _measure(run, "hello", "/", "hello", CONNECTIONS)
    values = {key.replace("hello", "connections", 1): value for key, value in found.items()}
    values["connections_errors"] = sum(values[f"connections_{n}_errors"] for n in CONNECTIONS)
    values["connections_growth"] = (
        values["connections_512_p50_ms"] / values["connections_32_p50_ms"]
    )
    return values


def bodies(run: Run) -> Values:
    """Measure uploads and downloads of three sizes with one connection.

    With one, the figure is the time that a body takes on its way; with more, it would be how
    processes share the cores of this machine with the client.
    """
    values: Values = {}
    with _server(run, "bodies") as program:
        for name, size in BODY_SIZES.items():
            path, text = f"/{size}", "x" * size
            await_answer(run, program, path, text.encode(), str(size))
            await_answer(run, program, path, None, text)
            for way, sent in (("upload", size), ("download", 0)):
                found = _load(run, 1, path, sent)
                found["mb_per_s"] = found["rps"] * size / 1e6
                values |= _named(f"{way}_{name}", found)
        program.check_running()
    return values


def chunks(run: Run) -> Values:
    """Measure streamed answers of many small chunks, one and eight at a time.

    A paced one lets the event loop look at other things between any two chunks, as does whoever
    waits for a model; else all are there at once, and a server may send them together.
    """
    values: Values = {}
    with _server(run, "chunks") as program:
        for name, path in (("chunks", "/"), ("paced_chunks", "/paced")):
            await_answer(run, program, path, None, "x" * (CHUNKS * CHUNK_BYTES))
            for number in (1, 8):
                rps = _load(run, number, path)["rps"]
                values[f"{name}_{number}_per_s"] = rps * CHUNKS
        program.check_running()
    return values


def websocket(run: Run) -> Values:
    """Measure messages to a WebSocket and back, on one connection and on 32."""
    values: Values = {}
    settings = run.settings
    with _server(run, "websocket") as program:
        await_answer(run, program, "/ready", None, '"yes"')
        for number in (1, 32):
            found = client(
                run,
                "websocket_client.py",
                *("--connections", number),
                *("--warmup-s", settings.warmup_s, "--seconds", settings.seconds),
                timeout_s=60 + settings.warmup_s + settings.seconds,
            )
            values[f"websocket_{number}_per_s"] = found["messages"] / found["seconds"]
        program.check_running()
    return values


def endpoint(run: Run) -> Values:
    """Compare a plain route with others of the same instance with 32 connections, in turns."""
    rates: dict[str, list[float]] = {name: [] for name in ENDPOINTS}
    with _server(run, "endpoint") as program:
        for path in ENDPOINTS.values():
            await_answer(run, program, path, None, "hello")
            wrk(run, 32, run.settings.warmup_s, path)
        for _ in range(ENDPOINT_TURNS):
            for name, path in ENDPOINTS.items():
                rates[name].append(wrk(run, 32, run.settings.seconds / 2, path)["rps"])
        program.check_running()
    values = {f"endpoint_{name}_rps": median(found) for name, found in rates.items()}
    # Neighbours in time are compared, so that a slow minute hits both.
    for name, found in rates.items():
        parts = [100 * part / whole for part, whole in zip(found, rates["plain"], strict=True)]
        values[f"endpoint_{name}_percent"] = median(parts)
    return values


def access_log(run: Run) -> Values:
    """Compare a short answer with 32 connections with the access log on and off, in turns."""
    rates: dict[str, list[float]] = {"json": [], "off": []}
    noted = {"json": 0.0, "off": 0.0}
    with run.program("access_log.py") as program:
        for number in range(ACCESS_LOG_TURNS):
            if number:
                program.tell("next")
            turn = program.finding(START_TIMEOUT_S)
            await_answer(run, program, "/", None, "hello")
            for seconds in (run.settings.warmup_s, run.settings.seconds):
                found = wrk(run, 32, seconds, "/")
                noted[turn["access_log"]] += found["requests"]
            rates[turn["access_log"]].append(found["rps"])
            if turn["access_log"] == "off" and turn["lines"] < noted["json"]:
                run.complain(f"{turn['lines']} lines for {noted['json']:.0f} requests")
    # Neighbours in time are compared, so that a slow minute hits both.
    lost = [100 * (1 - on / off) for on, off in zip(rates["json"], rates["off"], strict=True)]
    return {
        "access_log_cost_percent": sorted(lost)[len(lost) // 2],
        "access_log_off_rps": sum(rates["off"]) / len(lost),
        "access_log_json_rps": sum(rates["json"]) / len(lost),
    }
