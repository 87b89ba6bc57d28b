"""What a scenario has shown, and how that is printed."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Figure", "at_least", "at_most", "exactly", "main", "markdown", "percentile"]


@dataclass(frozen=True)
class Figure:
    """One line of a table.

    Attributes:
        name: What was measured.
        value: The number.
        unit: Of the number, "" for a count.
        target: What was promised, in words, "" for a figure that is only to be known.
        met: Whether the promise was kept.
        text: What is shown in place of number and unit; "" for these.
    """

    name: str
    value: float
    unit: str = ""
    target: str = ""
    met: bool = True
    text: str = ""

    @property
    def shown(self) -> str:
        if self.text or self.value == math.inf:
            return self.text or "never"
        return f"{_number(self.value)} {self.unit}".strip()


def _number(value: float) -> str:
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"


def at_most(name: str, value: float, limit: float, unit: str = "") -> Figure:
    """A figure that must not be larger."""
    return Figure(name, value, unit, f"≤ {_number(limit)} {unit}".strip(), value <= limit)


def at_least(name: str, value: float, limit: float, unit: str = "") -> Figure:
    """A figure that must not be smaller."""
    return Figure(name, value, unit, f"≥ {_number(limit)} {unit}".strip(), value >= limit)


def exactly(name: str, value: int, wanted: int) -> Figure:
    """A count that must be just that."""
    return Figure(name, value, "", f"{wanted:,}", value == wanted)


def percentile(values: list[float], share: float) -> float:
    """Return the value that this share of all do not exceed; 0 for none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


def markdown(figures: list[Figure]) -> str:
    """Return the figures as a table."""
    rows = [("", "measured", "target", "")]
    rows += [
        (each.name, each.shown, each.target, "" if each.met else "**missed**") for each in figures
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    rows.insert(1, tuple("-" * width for width in widths))  # type: ignore[arg-type]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    )


def main(
    scenario: Callable[..., list[Figure]], clusters: tuple[str, ...] = ("ray", "local")
) -> None:
    """Run a scenario from the command line; end with 1 where a target was missed.

    Args:
        scenario: Takes the name of a cluster, and returns the figures.
        clusters: That it can run on, the usual one first.
    """
    parser = argparse.ArgumentParser(description=scenario.__doc__)
    parser.add_argument("--cluster", choices=clusters, default=clusters[0])
    options: Any = parser.parse_args()
    figures = scenario(options.cluster)
    print(markdown(figures))
    if not all(figure.met for figure in figures):
        raise SystemExit(1)
