"""The goals for the figures, and which of them are met. Pure: numbers in, rows out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import median

from . import cpu

FAST_MODE = "ray-fast"
Results = dict[str, dict[str, list[float]]]
"""Metric → peer → one value per repeat."""


@dataclass(frozen=True)
class Goal:
    """A line of the table.

    Attributes:
        workload: Which workload measures it.
        work: What is measured, for the reader.
        unit: Of the figures.
        metric: Key in the results.
        bound: Of the ratio of alacarte to the peer, or without a peer of the figure itself;
            None where there is nothing to meet.
        at_least: True where more is better.
        against: Name of the peer, or None for an absolute goal.
    """

    workload: str
    work: str
    unit: str
    metric: str
    bound: float | None
    at_least: bool = True
    against: str | None = "ray"


HELLO_32 = "HTTP hello, 32 connections"
HELLO_1 = "HTTP hello, 1 connection, p50"
ROUTE_32 = "FastAPI route, 32 connections"
_BODIES = tuple(
    Goal(
        "bodies",
        f"{way.capitalize()} of {size}, p50",
        "ms",
        f"{way}_{size.lower().replace(' ', '_')}_p50_ms",
        bound if way == "upload" or bound is None else 1.3,
        at_least=False,
        against=peer,
    )
    for way in ("upload", "download")
    for size, peer, bound in (
        ("1 KB", "starlette", None),
        ("1 MB", "starlette", 1.5),
        ("10 MB", "starlette", 1.5),
        ("1 KB", "ray", None),
        ("1 MB", "ray", None),
        ("10 MB", "ray", None),
    )
)
_CONNECTIONS = tuple(
    Goal(
        "connections",
        f"HTTP hello, {number} connections, p50",
        "ms",
        f"connections_{number}_p50_ms",
        None,
        at_least=False,
        against=peer,
    )
    for number in (8, 128, 512)
    for peer in ("ray", "starlette")
)
_CHUNKS = tuple(
    Goal(
        "chunks",
        f"Chunks of responses{how}, {number} at a time",
        "chunks/s",
        f"{name}_{number}_per_s",
        bound,
        against=peer,
    )
    for name, how in (("chunks", ""), ("paced_chunks", " that come one by one"))
    for number in (1, 8)
    for peer, bound in (("ray", 20), ("starlette", 0.85 if how else None))
)
_WEBSOCKET = tuple(
    Goal(
        "websocket",
        f"WebSocket echo, {number} connection{'s' if number > 1 else ''}",
        "messages/s",
        f"websocket_{number}_per_s",
        None,
        against=peer,
    )
    for number in (1, 32)
    for peer in ("ray", "fastapi")
)
GOALS = (
    Goal("hello", HELLO_32, "req/s", "hello_32_rps", 25),
    Goal("hello", HELLO_32, "req/s", "hello_32_rps", 4, against="ray-fast"),
    Goal("hello", HELLO_32, "req/s", "hello_32_rps", 1, against="starlette"),
    Goal("hello", HELLO_32, "req/s", "hello_32_rps", 2.2, against="mosec"),
    *(
        Goal(
            "hello", f"… of the {role}", cpu.UNIT, cpu.metric("hello_32", role), bound, False, None
        )
        for role, bound in (("proxy", 0.020), ("replica", 0.011))
    ),
    Goal("hello", HELLO_1, "ms", "hello_1_p50_ms", 1 / 10, False),
    Goal("hello", HELLO_1, "ms", "hello_1_p50_ms", 1.3, False, "mosec"),
    Goal("hello", HELLO_1, "ms", "hello_1_p50_ms", None, False, "starlette"),
    Goal("two_hop", "HTTP through two deployments, 32", "req/s", "two_hop_32_rps", 30),
    *_CONNECTIONS,
    Goal(
        "connections",
        "… p50 with 512 connections, of that with 32",
        "×",
        "connections_growth",
        20,  # 16 times the connections, and a quarter for noise
        False,
        None,
    ),
    Goal("connections", "… errors, 1 to 512 connections", "", "connections_errors", 0, False, None),
    *_BODIES,
    *_CHUNKS,
    Goal("route", ROUTE_32, "req/s", "route_32_rps", 10),
    Goal("route", ROUTE_32, "req/s", "route_32_rps", 0.7, against="fastapi"),
    Goal("route", "FastAPI route, 1 connection, p50", "ms", "route_1_p50_ms", None, False),
    *_WEBSOCKET,
    Goal("endpoint", "A plain route beside endpoints, 32", "req/s", "endpoint_plain_rps", None),
    *(
        Goal(
            "endpoint",
            f"… {what}, of that",
            "%",
            f"endpoint_{name}_percent",
            bound,
            against=None,
        )
        for name, what, bound in (
            ("both", "a plain route to two replicas", None),
            ("one", "an endpoint with one backend", None),
            ("two", "an endpoint with two backends", 90),
            ("shadow", "an endpoint with one, and a shadow of all", None),
        )
    ),
    Goal(
        "access_log",
        "Requests/s lost to the access log",
        "%",
        "access_log_cost_percent",
        3,
        False,
        None,
    ),
    Goal(
        "access_log",
        "… processor time that it adds to a request",
        "%",
        "access_log_cpu_percent",
        None,
        False,
        None,
    ),
    Goal("handles", "Handle calls, one at a time", "calls/s", "handle_1_per_s", 30),
    Goal("handles", "Handle calls, 32 at a time", "calls/s", "handle_32_per_s", 40),
    Goal("stream", "Items of a stream through a handle", "items/s", "stream_items_per_s", 20),
    Goal("numpy_echo", "16 MB NumPy array echoed", "MB/s", "numpy_mb_per_s", 3),
    Goal("lifecycle", "`serve.start` + `serve.run` to ready", "s", "ready_s", 1 / 3, False),
    Goal("lifecycle", "`serve.shutdown`", "s", "shutdown_s", 1 / 5, False),
    *(
        Goal(
            "replicas",
            f"`serve.run` of {count} replica{'s' if count > 1 else ''} to ready",
            "s",
            f"replicas_{count}_s",
            1 / 3,
            False,
        )
        for count in (1, 8, 32)
    ),
    Goal("update", "Rolling update of 8 replicas", "s", "update_8_s", 1 / 3, False),
    Goal("scale_up", "Burst to first answer of a new replica", "s", "scale_up_s", 1 / 4, False),
    Goal(
        "idle_controller",
        "Idle controller, 40 deployments",
        "% of a core",
        "idle_controller_percent",
        1 / 5,
        False,
    ),
    Goal("import_time", "`from … import serve`", "ms", "import_ms", 150, False, None),
    Goal("import_time", "… and the first `@serve.deployment`", "ms", "import_used_ms", None, False),
    Goal(
        "import_time",
        "… of ray, starlette, uvicorn, fastapi, it imports",
        "",
        "import_foreign",
        0,
        False,
        None,
    ),
    Goal(
        "replica_memory",
        "Replica beyond a bare Ray actor, RSS",
        "MB",
        "replica_extra_rss_mb",
        25,
        False,
        None,
    ),
    Goal(
        "replica_memory",
        "Replica beyond a bare Ray actor, USS",
        "MB",
        "replica_extra_uss_mb",
        25,
        False,
        None,
    ),
    Goal(
        "aborts",
        "Proxy RSS, growth in aborts",
        "%",
        "abort_proxy_growth_percent",
        5,
        False,
        None,
    ),
    Goal(
        "aborts",
        "Replica RSS, growth in aborts",
        "%",
        "abort_replica_growth_percent",
        5,
        False,
        None,
    ),
    Goal("aborts", "Requests in flight after aborts", "", "abort_in_flight", 0, False, None),
    Goal("aborts", "Slots lost after aborts, of 64", "", "abort_gate_shut", 0, False, None),
    Goal(
        "large_bodies",
        "Proxy, peak RSS with 2 GB up and down",
        "MB",
        "large_proxy_peak_mb",
        300,
        False,
        None,
    ),
    Goal(
        "large_bodies",
        "Replica, peak RSS with 2 GB up and down",
        "MB",
        "large_replica_peak_mb",
        300,
        False,
        None,
    ),
)


def load_of(metric: str) -> str:
    """Return the name of the load that a metric is a figure of."""
    for ending in ("_rps", "_p50_ms", "_per_s"):
        metric = metric.removesuffix(ending)
    return metric


def with_fast_mode(goals: Iterable[Goal], results: Results) -> list[Goal]:
    """Add a row against Ray Serve's fast mode after each against Ray Serve, where it was measured.

    Those have nothing to meet but what `goals` say.
    """
    listed = list(goals)
    stated = {goal.metric for goal in listed if goal.against == FAST_MODE}
    rows = []
    for goal in listed:
        rows.append(goal)
        measured = results.get(goal.metric, {}).get(FAST_MODE)
        if goal.against == "ray" and measured and goal.metric not in stated:
            rows.append(replace(goal, bound=None, against=FAST_MODE))
    return rows


@dataclass(frozen=True)
class Verdict:
    """A goal with the figures that belong to it; None where they were not measured."""

    goal: Goal
    ours: float | None
    theirs: float | None
    ratio: float | None
    met: bool | None


def middle(results: Results, metric: str, peer: str | None) -> float | None:
    """Return the median of a metric over the repeats."""
    values = results.get(metric, {}).get(peer or "")
    return median(values) if values else None


def judge(goal: Goal, results: Results) -> Verdict:
    """Hold a goal against the results, medians against medians."""
    ours = middle(results, goal.metric, "alacarte")
    # Absolute goals show Ray Serve's figure too, where it was measured.
    theirs = middle(results, goal.metric, goal.against or "ray")
    ratio = ours / theirs if ours is not None and theirs else None
    decisive = ours if goal.against is None else ratio
    met = None
    if decisive is not None and goal.bound is not None:
        met = decisive >= goal.bound if goal.at_least else decisive <= goal.bound
    return Verdict(goal, ours, theirs, ratio, met)
