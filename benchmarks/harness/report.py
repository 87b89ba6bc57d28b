"""The table and its caption, as Markdown. Pure: results in, text out."""

from __future__ import annotations

from typing import Any

from .goals import GOALS, Goal, Results, Verdict, judge
from .peers import PEERS

NONE = "–"


def number(value: float | None) -> str:
    """Write a figure with as many digits as it is worth."""
    if value is None:
        return NONE
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.{1 if size >= 10 else 2}f}".rstrip("0").rstrip(".")


def _ratio(value: float, less_is_better: bool) -> str:
    if less_is_better and 0 < value < 1:
        return f"1/{number(1 / value)}"
    return f"{number(value)} ×"


def _bound(goal: Goal) -> str:
    if goal.bound is None:
        return NONE
    sign = "≥" if goal.at_least else "≤"
    if goal.against is None:
        return f"{sign} {number(goal.bound)} {goal.unit}".rstrip()
    return f"{sign} {_ratio(goal.bound, not goal.at_least)}"


def _figure(results: Results, goal: Goal, peer: str, value: float | None) -> str:
    """Write a median, and the range of the repeats where there were several."""
    values = results.get(goal.metric, {}).get(peer, [])
    spread = ""
    if len(values) > 1 and min(values) != max(values):
        spread = f" ({number(min(values))}–{number(max(values))})"
    return number(value) + spread


def _row(verdict: Verdict, results: Results) -> str:
    goal = verdict.goal
    peer = goal.against or "ray"
    cells = [
        f"{goal.work} ({goal.unit})" if goal.unit else goal.work,
        _figure(results, goal, "alacarte", verdict.ours),
        PEERS[peer].title if verdict.theirs is not None or goal.against else NONE,
        _figure(results, goal, peer, verdict.theirs),
        NONE
        if verdict.ratio is None or not goal.unit
        else _ratio(verdict.ratio, not goal.at_least),
        _bound(goal),
        {None: NONE, True: "yes", False: "**no**"}[verdict.met],
    ]
    return "| " + " | ".join(cells) + " |"


def _others(results: Results) -> list[str]:
    """List what was measured on Ray Serve's throughput mode, which no goal speaks of."""
    lines = []
    for goal in GOALS:
        values = results.get(goal.metric, {}).get("ray-throughput")
        if values and goal.against == "ray":
            middle = sorted(values)[len(values) // 2]
            lines.append(f"- {goal.work}: {number(middle)} {goal.unit}")
    return ["", "Ray Serve with RAY_SERVE_THROUGHPUT_OPTIMIZED=1:", "", *lines] if lines else []


def caption(machine: dict[str, Any], settings: dict[str, Any]) -> str:
    """Say what was run, where and when, in a paragraph."""
    peers = "; ".join(
        f"{PEERS[name].title}: " + ", ".join(f"{key} {value}" for key, value in found.items())
        for name, found in machine["versions"].items()
    )
    return (
        f"{machine['date']}, {machine['cores']} cores ({machine['processor']}), "
        f"{machine['memory_gb']} GB, Linux {machine['kernel']}; load average before the run "
        f"{machine['load']}. {peers}. Sources: {machine['sources']}. "
        f"HTTP with {machine['wrk']}, one thread, the connections stated or 1, keep-alive; "
        f"{settings['seconds']:g} s each after {settings['warmup_s']:g} s of warm-up, "
        f"{settings['repeat']} repeats, peers taking turns within each; medians, in brackets the "
        f"smallest and largest; imports are the best of {settings['imports']}; aborts are "
        f"{settings['abort_requests']:,} requests after {settings['abort_warmup']:,}; large bodies "
        f"have {settings['large_bytes'] / 1e6:,.0f} MB. "
        "One replica and one HTTP proxy per node, `max_ongoing_requests=100`, access logs off, "
        "other settings at their defaults. Client and servers share the machine."
    )


def markdown(
    machine: dict[str, Any], settings: dict[str, Any], results: Results, problems: list[str]
) -> str:
    """Write the whole report."""
    workloads = set(settings["workloads"])
    verdicts = [judge(goal, results) for goal in GOALS if goal.workload in workloads]
    lines = [
        "| Work | alacarte | Peer | Its figure | Ratio | Goal | Met |",
        "|---|---:|---|---:|---:|---:|---|",
        *[_row(verdict, results) for verdict in verdicts],
        *_others(results),
        "",
        caption(machine, settings),
    ]
    if problems:
        lines += ["", "Problems in this run:", "", *[f"- {_indent(text)}" for text in problems]]
    return "\n".join(lines) + "\n"


def _indent(text: str) -> str:
    return text.replace("\n", "\n  ")
