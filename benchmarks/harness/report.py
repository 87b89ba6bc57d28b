"""The table and its caption, as Markdown. Pure: results in, text out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from . import cpu
from .goals import GOALS, Goal, Results, Verdict, judge, load_of, middle, with_fast_mode
from .peers import PEERS
from .workloads import WORKLOADS

NONE = "–"
_PART_WORTH_A_WORD = 0.02  # of a load's processor time
_FULL_CORE = 0.95


def number(value: float | None) -> str:
    """Write a figure with as many digits as it is worth."""
    if value is None:
        return NONE
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    if 0 < size < 0.1:
        return f"{value:.3g}"
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
    load = load_of(goal.metric)
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
        _processor_time(results, load, "alacarte"),
        _processor_time(results, load, peer),
    ]
    return "| " + " | ".join(cells) + " |"


def _processor_time(results: Results, load: str, peer: str) -> str:
    """Write the processor time of a load, and the parts of it that count."""
    total = middle(results, cpu.metric(load), peer)
    if not total:
        return NONE
    parts = {
        role: part
        for role, key in cpu.roles(load, results).items()
        if (part := middle(results, key, peer) or 0.0) >= _PART_WORTH_A_WORD * total
    }
    ordered = sorted(parts.items(), key=lambda pair: -pair[1])
    words = ", ".join(f"{role} {number(part)}" for role, part in ordered)
    return number(total) + (f" ({words})" if len(parts) > 1 else "")


def _full_clients(results: Results) -> list[str]:
    """List the loads whose client used all of the one core it can use."""
    ending = "_client_cores"
    full = [
        f"{metric.removesuffix(ending)} of {PEERS[peer].title} ({100 * max(values):.0f} %)"
        for metric, by_peer in sorted(results.items())
        if metric.endswith(ending)
        for peer, values in by_peer.items()
        if max(values, default=0) >= _FULL_CORE
    ]
    if not full:
        return []
    return [
        "",
        "The load generator's core was full, so that the server could have done more: "
        + "; ".join(full)
        + ".",
    ]


def _absent(peers: Collection[str], workloads: Collection[str]) -> list[str]:
    """Say which of the workloads a peer cannot run, and why."""
    lines = [
        f"- {workload.name}, {PEERS[peer].title}: {reason}"
        for workload in WORKLOADS
        if workload.name in workloads
        for peer, reason in workload.absent.items()
        if peer in peers
    ]
    return ["", "Not measured:", "", *lines] if lines else []


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
        "other settings at their defaults. Client and servers share the machine. CPU: seconds of "
        "processor time of all of a server's processes per 1,000 of the row's unit, requests where "
        "that is ms; in brackets by process, where more than one has a part."
    )


def markdown(
    machine: dict[str, Any], settings: dict[str, Any], results: Results, problems: list[str]
) -> str:
    """Write the whole report."""
    workloads = set(settings["workloads"])
    goals = with_fast_mode((goal for goal in GOALS if goal.workload in workloads), results)
    lines = [
        "| Work | alacarte | Peer | Its figure | Ratio | Goal | Met | CPU s/1,000 | Its CPU |",
        "|---|---:|---|---:|---:|---:|---|---|---|",
        *[_row(judge(goal, results), results) for goal in goals],
        *_full_clients(results),
        *_absent(machine["versions"], workloads),
        "",
        caption(machine, settings),
    ]
    return "\n".join([*lines, *problem_list(problems)]) + "\n"


def problem_list(problems: Sequence[str]) -> list[str]:
    """Write what went wrong as the last lines of a report."""
    if not problems:
        return []
    return ["", "Problems in this run:", "", *[f"- {_indent(text)}" for text in problems]]


def _indent(text: str) -> str:
    return text.replace("\n", "\n  ")
