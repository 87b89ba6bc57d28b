"""Workloads over HTTP and WebSockets, from clients that keep their connections."""

from __future__ import annotations

from functools import partial
from statistics import median

from . import cpu
from .clients import await_answer, client, wrk
from .loads import Load, Outcome, Served
from .programs import Program
from .run import START_TIMEOUT_S, Run, Values

BODY_SIZES = {"1_kb": 10**3, "1_mb": 10**6, "10_mb": 10**7}
CONNECTIONS = (1, 8, 32, 128, 512)
CHUNKS, CHUNK_BYTES = 1000, 20
ENDPOINTS = {"plain": "/", "both": "/both", "one": "/one", "two": "/two", "shadow": "/shadow"}
ENDPOINT_TURNS = 10
ACCESS_LOG_TURNS = 6  # with and without it in turn; the last without


def _requests(name: str, connections: int, path: str = "/", body_bytes: int = 0) -> Load:
    """Return the load of one request after the other on so many connections, by `wrk`."""

    def apply(run: Run, program: Program, seconds: float) -> Outcome:
        asked, sent = (path, body_bytes) if run.peer.name != "mosec" else MOSEC_REQUEST
        found = wrk(run, connections, seconds, asked, sent)
        values = {f"{name}_{key}": value for key, value in found.items()}
        return Outcome(values, found["requests"])

    return Load(name, apply)


MOSEC_REQUEST = ("/inference", len(b"hello"))  # it passes POST requests only


def _answers(path: str, text: str, run: Run, program: Program) -> None:
    """Insist on a short answer."""
    if run.peer.name == "mosec":
        await_answer(run, program, MOSEC_REQUEST[0], b"hello", text)
    else:
        await_answer(run, program, path, None, text)


HELLO = Served(
    "hello",
    (_requests("hello_32", 32), _requests("hello_1", 1)),
    partial(_answers, "/", "hello"),
)
TWO_HOP = Served("two_hop", (_requests("two_hop_32", 32),), partial(_answers, "/", "hello you"))
ROUTE = Served(
    "route",
    (_requests("route_32", 32, "/items/42"), _requests("route_1", 1, "/items/42")),
    partial(_answers, "/items/42", '{"item_id":42,"name":"lamp"}'),
)


def _growth(values: Values) -> Values:
    """Return all errors, and how the time of an answer grows with the connections."""
    return {
        "connections_errors": sum(values[f"connections_{n}_errors"] for n in CONNECTIONS),
        "connections_growth": values["connections_512_p50_ms"] / values["connections_32_p50_ms"],
    }


CONNECTIONS_SERVED = Served(
    "hello",
    tuple(_requests(f"connections_{number}", number) for number in CONNECTIONS),
    partial(_answers, "/", "hello"),
    _growth,
)


def _bodies_pass(run: Run, program: Program) -> None:
    for size in BODY_SIZES.values():
        text = "x" * size
        await_answer(run, program, f"/{size}", text.encode(), str(size))
        await_answer(run, program, f"/{size}", None, text)


# With one connection the figure is the time that a body takes on its way; with more, it would be
# how processes share the cores of this machine with the client.
BODIES = Served(
    "bodies",
    tuple(
        _requests(f"{way}_{name}", 1, f"/{size}", size if way == "upload" else 0)
        for name, size in BODY_SIZES.items()
        for way in ("upload", "download")
    ),
    _bodies_pass,
)


def _chunks(name: str, connections: int, path: str) -> Load:
    """Return the load of streamed answers, so many at a time, counted in chunks."""

    def apply(run: Run, program: Program, seconds: float) -> Outcome:
        found = wrk(run, connections, seconds, path)
        values = {
            f"{name}_per_s": found["rps"] * CHUNKS,
            f"{name}_client_cores": found["client_cores"],
        }
        return Outcome(values, found["requests"] * CHUNKS)

    return Load(name, apply)


def _streams_pass(run: Run, program: Program) -> None:
    for path in ("/", "/paced"):
        await_answer(run, program, path, None, "x" * (CHUNKS * CHUNK_BYTES))


# A paced answer lets the event loop look at other things between any two chunks, as does whoever
# waits for a model; else all are there at once, and a server may send them together.
CHUNKS_SERVED = Served(
    "chunks",
    tuple(
        _chunks(f"{name}_{number}", number, path)
        for name, path in (("chunks", "/"), ("paced_chunks", "/paced"))
        for number in (1, 8)
    ),
    _streams_pass,
)


def _messages(number: int) -> Load:
    """Return the load of messages to WebSockets and back, one under way on each."""
    name = f"websocket_{number}"

    def apply(run: Run, program: Program, seconds: float) -> Outcome:
        found = client(
            run,
            "websocket_client.py",
            *("--connections", number, "--warmup-s", 0, "--seconds", seconds),
            timeout_s=60 + seconds,
        )
        values = {
            f"{name}_per_s": found["messages"] / found["seconds"],
            f"{name}_client_cores": found["client_s"] / found["seconds"],
        }
        return Outcome(values, found["messages"])

    return Load(name, apply)


WEBSOCKET = Served("websocket", (_messages(1), _messages(32)), partial(_answers, "/ready", '"yes"'))


def calls(program: str, *loads: tuple[str, str, str]) -> Served:
    """Return the workload of a program that loads itself, by calls between its deployments.

    Args:
        program: Among `programs/`.
        loads: Of each its name, the program's method, and the metric that this reports.
    """

    def load(name: str, method: str, metric: str) -> Load:
        def apply(run: Run, program: Program, seconds: float) -> Outcome:
            program.tell(f"{method} {seconds}")
            found = program.finding(60 + 5 * seconds)
            return Outcome({metric: found[metric]}, found[metric] * found["seconds"])

        return Load(name, apply)

    return Served(program, tuple(load(*each) for each in loads))


HANDLES = calls(
    "handles",
    ("handle_1", "one_at_a_time", "handle_1_per_s"),
    ("handle_32", "windows_of_32", "handle_32_per_s"),
)
STREAM = calls("stream", ("stream_items", "consume", "stream_items_per_s"))
NUMPY_ECHO = calls("numpy_echo", ("numpy_mb", "echo_arrays", "numpy_mb_per_s"))


def endpoint(run: Run) -> Values:
    """Compare a plain route with others of the same instance with 32 connections, in turns."""
    rates: dict[str, list[float]] = {name: [] for name in ENDPOINTS}
    with run.program("endpoint.py") as program:
        program.finding(START_TIMEOUT_S)
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
    costs: dict[str, list[float]] = {"json": [], "off": []}
    noted = {"json": 0.0, "off": 0.0}
    with run.program("access_log.py") as program:
        for number in range(ACCESS_LOG_TURNS):
            if number:
                program.tell("next")
            turn = program.finding(START_TIMEOUT_S)
            await_answer(run, program, "/", None, "hello")
            warming = wrk(run, 32, run.settings.warmup_s, "/")
            found = _ACCESS_LOGGED.measure(run, program, run.settings.seconds)
            style = turn["access_log"]
            noted[style] += warming["requests"] + found["access_log_requests"]
            rates[style].append(found["access_log_rps"])
            costs[style].append(found[cpu.metric("access_log")])
            if style == "off" and turn["lines"] < noted["json"]:
                run.complain(f"{turn['lines']} lines for {noted['json']:.0f} requests")
    # Neighbours in time are compared, so that a slow minute hits both.
    lost = [100 * (1 - on / off) for on, off in zip(rates["json"], rates["off"], strict=True)]
    dearer = [100 * (on / off - 1) for on, off in zip(costs["json"], costs["off"], strict=True)]
    return {
        "access_log_cost_percent": median(lost),
        "access_log_cpu_percent": median(dearer),
        "access_log_off_rps": sum(rates["off"]) / len(lost),
        "access_log_json_rps": sum(rates["json"]) / len(lost),
    }


_ACCESS_LOGGED = _requests("access_log", 32)
