"""Whether one checkout is slower than another, from figures taken in turns. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev
from typing import Literal

from . import cpu
from .goals import GOALS
from .loads import Load

Answer = Literal["slower", "faster", "same", "cannot tell"]
Round = tuple[dict[str, list[float]], dict[str, list[float]]]
"""Of the old checkout and of the new: metric → one value per turn, in the order of the turns."""

# The 95 % point of Student's distribution, by degrees of freedom from 1 on: each end of a 90 %
# interval is a one-sided test at 5 %, and that is the question: is it slower?
_STUDENT = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812)
_STUDENT += (1.796, 1.782, 1.771, 1.761, 1.753, 1.746, 1.740, 1.734, 1.729, 1.725)
_NORMAL = 1.645


@dataclass(frozen=True)
class Figure:
    """A figure by which two checkouts are compared.

    Attributes:
        work: What is measured, for the reader.
        unit: Of the values.
        metric: Key in the rounds.
        more_is_better: False for times and processor time.
    """

    work: str
    unit: str
    metric: str
    more_is_better: bool


@dataclass(frozen=True)
class Comparison:
    """A figure of two checkouts, as medians, and their ratio.

    Attributes:
        ratio: New to old, the geometric mean of the rounds' ratios.
        low: Lower end of the 90 % confidence interval of the ratio.
        high: Its upper end.
        answer: What that means against the threshold.
    """

    figure: Figure
    old: float
    new: float
    ratio: float
    low: float
    high: float
    answer: Answer


def compare(figure: Figure, rounds: Sequence[Round], threshold: float) -> Comparison | None:
    """Compare the values of a figure; None where fewer than two rounds have any.

    Neighbours in time are compared, so that a slow minute hits both. Turns of one round share
    their processes, and a process may be slow for as long as it lives: so a round counts as one
    observation, however many turns it has: the median of theirs, which a hiccup leaves alone.

    Args:
        threshold: The least change worth a word, as a part: 0.03 for 3 %.
    """
    middles, old, new = [], [], []
    for before, after in rounds:
        pairs = [
            (a, b)
            for a, b in zip(
                before.get(figure.metric, ()), after.get(figure.metric, ()), strict=False
            )
            if a > 0 and b > 0
        ]
        if pairs:
            middles.append(median(math.log(b / a) for a, b in pairs))
            old += [a for a, _ in pairs]
            new += [b for _, b in pairs]
    if len(middles) < 2:
        return None
    center = fmean(middles)
    half = student(len(middles) - 1) * stdev(middles) / math.sqrt(len(middles))
    ratio, low, high = (math.exp(each) for each in (center, center - half, center + half))
    answer = judge(ratio, low, high, threshold, figure.more_is_better)
    return Comparison(figure, median(old), median(new), ratio, low, high, answer)


def student(freedom: int) -> float:
    """Return the 95 % point of Student's distribution."""
    return _STUDENT[freedom - 1] if freedom <= len(_STUDENT) else _NORMAL * (1 + 1 / freedom)


def judge(ratio: float, low: float, high: float, threshold: float, more_is_better: bool) -> Answer:
    """Say what a ratio of new to old and its confidence interval mean.

    "same" is a finding, not the lack of one: the whole interval lies within the threshold. A change
    is one that the interval and the ratio agree on: the interval excludes 1, and the ratio lies
    beyond the threshold.
    """
    if 1 - threshold < low and high < 1 / (1 - threshold):
        return "same"
    if high < 1 and ratio < 1 - threshold:
        return "slower" if more_is_better else "faster"
    if low > 1 and ratio > 1 / (1 - threshold):
        return "faster" if more_is_better else "slower"
    return "cannot tell"


def figures(workload: str, loads: Sequence[Load], metrics: Iterable[str]) -> list[Figure]:
    """List the figures of a workload, each load's processor time after its own figures.

    Args:
        workload: Its name.
        loads: Its loads; none for one that runs as a whole.
        metrics: All keys that have values.
    """
    measured = set(metrics)
    unique = {goal.metric: goal for goal in GOALS if goal.workload == workload and goal.unit}
    plain = {
        metric: Figure(goal.work, goal.unit, metric, goal.at_least)
        for metric, goal in unique.items()
        if metric in measured and cpu.metric("") not in metric
    }
    listed: list[Figure] = []
    for load in loads:
        own = [figure for metric, figure in plain.items() if metric.startswith(f"{load.name}_")]
        listed += own
        listed += _processor_time(load, own[0].work if own else load.name, measured)
    return listed + [figure for figure in plain.values() if figure not in listed]


def _processor_time(load: Load, work: str, measured: set[str]) -> list[Figure]:
    """Return the figures of a load's processor time: in all, of proxies, and of replicas."""
    name = work.removesuffix(", p50")
    keys = {"processor time": cpu.metric(load.name)}
    keys |= {f"of {role}": cpu.metric(load.name, role) for role in ("proxy", "replica")}
    return [
        Figure(f"{name}, {what}", cpu.UNIT, key, False)
        for what, key in keys.items()
        if key in measured
    ]
