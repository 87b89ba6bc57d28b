"""The tables, and what they say of goals and of what could not be measured."""

from __future__ import annotations

from typing import Any

import pytest
from harness import report
from harness.goals import GOALS, judge, load_of, with_fast_mode
from harness.peers import PEERS
from harness.workloads import WORKLOADS

RESULTS: dict[str, dict[str, list[float]]] = {
    "hello_32_rps": {
        "alacarte": [40_000.0],
        "ray": [700.0],
        "ray-fast": [9_500.0],
        "starlette": [38_000.0],
    },
    "hello_32_client_cores": {"alacarte": [0.5], "starlette": [0.97]},
    "hello_32_cpu_s_per_1000": {"alacarte": [0.0401], "starlette": [0.0252]},
    "hello_32_cpu_s_per_1000/proxy": {"alacarte": [0.0267]},
    "hello_32_cpu_s_per_1000/replica": {"alacarte": [0.0132]},
    "hello_32_cpu_s_per_1000/controller": {"alacarte": [0.0002]},
    "hello_32_cpu_s_per_1000/main process": {"starlette": [0.0252]},
    "route_32_rps": {"alacarte": [9_000.0], "ray": [500.0], "ray-fast": [3_000.0]},
}
MACHINE: dict[str, Any] = dict.fromkeys(("date", "processor", "kernel", "load", "wrk"), "x")
MACHINE |= {"cores": 2, "memory_gb": 1, "sources": "s", "versions": {}}
SETTINGS: dict[str, Any] = dict.fromkeys(("warmup_s", "repeat", "imports", "seconds"), 1)
SETTINGS |= {"abort_warmup": 1, "abort_requests": 1, "large_bytes": 1}
SETTINGS |= {"workloads": ["hello", "route"]}


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.0, "0"), (0.0267, "0.0267"), (0.4, "0.4"), (12.34, "12.3"), (9440.2, "9,440")],
)
def test_numbers(value: float | None, text: str):
    """A figure has as many digits as it is worth; small ones keep three."""
    assert report.number(value) == text


def test_processor_time_stands_beside_the_figure():
    """By process where several have a part, as one number where one does the work."""
    [row] = [
        row
        for row in rows(report.markdown(MACHINE, SETTINGS, RESULTS, []))
        if row[0].startswith("HTTP hello, 32") and row[2] == "Starlette"
    ]
    assert row[4:] == ["1.05 ×", "≥ 1 ×", "yes", "0.0401 (proxy 0.0267, replica 0.0132)", "0.0252"]


def test_a_full_load_generator_is_told():
    """A server whose client could not do more is named, others are not."""
    text = report.markdown(MACHINE, SETTINGS, RESULTS, [])
    assert "hello_32 of Starlette (97 %)" in text
    assert "of alacarte (" not in text


def test_fast_mode_has_rows_where_it_was_measured():
    """Beside each row against Ray Serve there is one against its fast mode, once."""
    goals = with_fast_mode(GOALS, RESULTS)
    found = [(goal.metric, goal.bound) for goal in goals if goal.against == "ray-fast"]
    assert found == [("hello_32_rps", 4), ("route_32_rps", None)]
    [goal] = [goal for goal in goals if goal.against == "ray-fast" and goal.bound]
    verdict = judge(goal, RESULTS)
    assert (verdict.ratio, verdict.met) == (pytest.approx(4.21, abs=0.01), True)


def test_goals_of_the_hot_path():
    """The bounds that the work on the hot path is held against."""
    bounds = {(goal.metric, goal.against): goal.bound for goal in GOALS if goal.bound is not None}
    assert bounds["hello_32_rps", "starlette"] == 1
    assert bounds["hello_32_rps", "mosec"] == 2.2
    assert bounds["hello_1_p50_ms", "mosec"] == 1.3
    assert bounds["download_10_mb_p50_ms", "starlette"] == 1.3
    assert bounds["upload_10_mb_p50_ms", "starlette"] == 1.5
    assert bounds["paced_chunks_8_per_s", "starlette"] == 0.85
    assert bounds["route_32_rps", "fastapi"] == 0.7
    assert bounds["access_log_cost_percent", None] == 3
    assert bounds["hello_32_cpu_s_per_1000/proxy", None] == 0.020
    assert bounds["hello_32_cpu_s_per_1000/replica", None] == 0.011


def test_every_goal_has_a_peer_that_runs_it():
    """A bound that can never be held against figures would be a mistake."""
    peers = {workload.name: workload.peers for workload in WORKLOADS}
    for goal in GOALS:
        stated = goal.against is not None and goal.bound is not None
        assert not stated or goal.against in peers[goal.workload], goal
    assert {name for each in peers.values() for name in each} <= set(PEERS)


def test_figures_of_one_load_share_its_processor_time():
    """Rates and times begin with the name of the load."""
    assert load_of("hello_32_rps") == load_of("hello_32_p50_ms") == "hello_32"
    assert load_of("chunks_8_per_s") == "chunks_8"


def test_the_report_says_who_could_not_run():
    """A workload that a peer of the run cannot do is listed with the reason."""
    machine = MACHINE | {"versions": {"alacarte": {}, "ray-fast": {}}}
    settings = SETTINGS | {"workloads": ["numpy_echo"]}
    text = report.markdown(machine, settings, RESULTS, [])
    assert "- numpy_echo, Ray Serve fast mode: a call between deployments carries 4 MiB" in text
    assert "Not measured" not in report.markdown(MACHINE, settings, RESULTS, [])
