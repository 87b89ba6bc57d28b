"""Many seeds, in several processes."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Iterator
from functools import partial

from .run import Outcome, play_all

__all__ = ["Told", "run_many"]

_BATCH = 40

Told = tuple[int, list[str], int, Counter[str]]
"""Seed, findings, steps, and how many requests ended how."""


def run_many(seeds: range, without: frozenset[str], jobs: int) -> Iterator[Told]:
    """Run seeds and yield their outcomes in order."""
    batches = [seeds[at : at + _BATCH] for at in range(0, len(seeds), _BATCH)]
    run = partial(_run_batch, without=without)
    if jobs == 1:
        for batch in batches:
            yield from run(batch)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        for told in pool.imap(run, batches):
            yield from told


def _run_batch(seeds: range, without: frozenset[str]) -> list[Told]:
    return [_told(outcome) for outcome in play_all(seeds, without)]


def _told(outcome: Outcome) -> Told:
    ended = Counter(str(entry[3]) for entry in outcome.trace if entry[1] == "ends")
    return outcome.seed, outcome.findings, outcome.steps, ended
