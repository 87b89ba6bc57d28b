"""The promises of the control plane, on a cluster that is not there and that fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .run import Outcome, play, play_all
from .scale import measure

# The first test that needs the outcomes waits for all of them, on a busy machine for minutes.
pytestmark = [pytest.mark.once, pytest.mark.timeout(600)]

SEEDS = 150
"""In the ordinary tests; `nox -s simulation` runs ten thousand."""


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    return list(play_all(range(SEEDS)))


def test_no_seed_breaks_a_promise(outcomes: list[Outcome]):
    """Under any faults the target is reached, and no request is lost."""
    broken = [
        f"seed {outcome.seed}: {finding}" for outcome in outcomes for finding in outcome.findings
    ]
    assert not broken, "\n".join(broken)


def test_a_seed_replays_exactly():
    """Runs of one seed are equal step by step."""
    first = {outcome.seed: outcome.digest for outcome in play_all(range(12))}
    again = {outcome.seed: outcome.digest for outcome in play_all(reversed(range(12)))}
    assert first == again
    assert len(set(first.values())) == len(first)


def test_a_seed_replays_in_another_process():
    """Nothing of a run hangs on the order of sets or on where objects lie in memory."""
    assert _replayed("1") == _replayed("2") == play(3).digest


def _replayed(hash_seed: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", "simulation", "--seed", "3"],
        cwd=Path(__file__).parent.parent,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout.split()[-1]


def test_faults_do_happen(outcomes: list[Outcome]):
    """The runs are not quiet: processes die, requests fail for good reason, and most succeed."""
    seen = {str(entry[2]) for each in outcomes for entry in each.trace if entry[1] == "fault"}
    assert {"kills", "leaves stopped", "loses answers", "fails the control store"} <= seen
    starts = sum(entry[1] == "start" for each in outcomes for entry in each.trace)
    operations = sum(entry[1] == "wish" for each in outcomes for entry in each.trace)
    assert starts > 2 * operations
    ends = [entry[3] for each in outcomes for entry in each.trace if entry[1] == "ends"]
    assert ends.count("ok") > 0.5 * len(ends)
    assert "ReplicaUnavailableError" in ends


def test_a_run_ends_within_bounded_time():
    """After the last fault, a run ends within seconds of simulated time."""
    assert play(1).took_s < 60.0


def test_a_change_is_told_by_its_own_size():
    """The update for one replica of twenty has the bytes of one replica."""
    figures = measure(deployments=10, replicas=200)
    assert figures["delta_bytes"] < figures["whole_bytes"] / 2
    assert figures["one_ms"] < figures["pass_ms"]
