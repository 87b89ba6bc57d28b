"""Comparison of server and model on many streams."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from .compare import compare
from .edge import LIMITS, Edge, Observed
from .model import read
from .mutations import Case, make_case

__all__ = ["Difference", "Outcome", "run"]


@dataclass
class Difference:
    """A reduced case on which the server and the model differ."""

    seed: int
    difference: str
    case: Case
    observed: Observed

    def __str__(self) -> str:
        case = self.case
        reads = "\n".join(f"    {read!r}" for read in case.reads)
        end = ", then the client stops sending" if case.eof else ""
        return (
            f"seed {self.seed}: {self.difference}\n"
            f"  the application {case.behaviour}{end}; reads of {len(case.sent)} bytes:\n{reads}\n"
            f"  calls: {self.observed.calls}\n  answers: {self.observed.answers}\n"
            f"  closed: {self.observed.closed}"
        )


@dataclass
class Outcome:
    """The outcome of many cases; `counts` has the number of each behaviour."""

    differences: list[Difference] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def run(seeds: Iterable[int], *, max_differences: int = 20) -> Outcome:
    """Compare the readings of the cases of these seeds.

    Args:
        max_differences: So many are enough; the rest of the seeds is left out.
    """
    return asyncio.run(_run(seeds, max_differences))


async def _run(seeds: Iterable[int], max_differences: int) -> Outcome:
    outcome = Outcome()
    edge = Edge()
    for seed in seeds:
        case = make_case(seed)
        observed, difference = await _compare(edge, case)
        outcome.counts["streams"] += 1
        outcome.counts["calls"] += len(observed.calls)
        outcome.counts["refusals"] += sum(answer.call is None for answer in observed.answers)
        outcome.counts["closed"] += observed.closed
        outcome.counts["WebSockets"] += observed.upgraded is not None
        if difference is not None:
            outcome.differences.append(await _shrink(edge, seed, case))
            if len(outcome.differences) == max_differences:
                break
    edge.close()
    return outcome


async def _compare(edge: Edge, case: Case) -> tuple[Observed, str | None]:
    observed = await edge.receive(case.reads, case.behaviour, eof=case.eof)
    steps = read(case.sent, LIMITS, eof=case.eof)
    return observed, compare(steps, observed, case.behaviour, case.sent)


async def _shrink(edge: Edge, seed: int, case: Case) -> Difference:
    """Remove the parts of a case that its difference does not need."""

    async def differs(smaller: Case) -> bool:
        return (await _compare(edge, smaller))[1] is not None

    size = len(case.sent)
    while size:
        at = 0
        while at < len(case.sent):
            smaller = case.without(at, at + size)
            if await differs(smaller):
                case = smaller
            else:
                at += size
        size //= 2
    for cut in case.cuts:
        smaller = replace(case, cuts=tuple(each for each in case.cuts if each != cut))
        if await differs(smaller):
            case = smaller
    observed, difference = await _compare(edge, case)
    assert difference is not None
    return Difference(seed, difference, case, observed)
