"""The table of a comparison, as Markdown. Pure: comparisons in, text out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from .comparison import Comparison
from .report import NONE, number, problem_list


def markdown(
    facts: dict[str, Any],
    settings: dict[str, Any],
    compared: Sequence[Comparison],
    problems: Sequence[str],
) -> str:
    """Write how the figures of two checkouts compare, and which are slower."""
    lines = [
        "| Work | Old | New | New / old | 90 % | |",
        "|---|---:|---:|---:|---:|---|",
        *[_compared_row(each) for each in compared],
        "",
        _comparison_caption(facts, settings),
    ]
    counts = Counter(each.answer for each in compared)
    lines += ["", ", ".join(f"{count} {answer}" for answer, count in sorted(counts.items())) + "."]
    return "\n".join([*lines, *problem_list(problems)]) + "\n"


def _comparison_caption(facts: dict[str, Any], settings: dict[str, Any]) -> str:
    old, new = facts["checkouts"]
    return (
        f"{facts['date']}, {facts['cores']} cores ({facts['processor']}), Linux "
        f"{facts['kernel']}; load average before the run {facts['load']}. "
        f"Old: {old['label']}. New: {new['label']}. {_versions(old['versions'], new['versions'])} "
        f"{settings['rounds']} rounds, each with new processes of both and {settings['turns']} "
        f"turns of {settings['seconds']:g} s for each under each load; medians, the ratio is the "
        f"mean of the rounds. Slower or faster: the interval excludes 1, and the ratio is off by "
        f"more than {settings['threshold']:g} %. Same: the whole interval is within that."
    )


def _compared_row(each: Comparison) -> str:
    answer = f"**{each.answer}**" if each.answer in ("slower", "faster") else each.answer
    cells = [
        f"{each.figure.work} ({each.figure.unit})",
        number(each.old),
        number(each.new),
        f"{each.ratio:.3f}",
        f"{each.low:.3f}–{each.high:.3f}",
        answer,
    ]
    return "| " + " | ".join(cells) + " |"


def _versions(old: dict[str, str], new: dict[str, str]) -> str:
    """Write the versions both ran with, and where they differ."""
    words = [
        f"{name} {version}"
        + (f" (old) and {new.get(name, NONE)} (new)" if new.get(name) != version else "")
        for name, version in old.items()
    ]
    return ", ".join(words) + "."
