from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alacarte.errors import ConfigError
from alacarte_autoscaling.config import AutoscalingConfig
from alacarte_autoscaling.replay import Load, ReplayStep, main, read_trace, replay
from alacarte_autoscaling.scaling import InvalidDecision
from alacarte_autoscaling.types import AutoscalingContext

HOUR = 3600.0


def config(**values: Any) -> AutoscalingConfig:
    return AutoscalingConfig(**{"max_replicas": 20, **values})


def steps(
    trace: list[tuple[float, int]], until: float | None = None, **values: Any
) -> list[tuple[float, int]]:
    loads = [Load(t, 0, asked) for t, asked in trace]
    start_s = values.pop("start_s", 0.0)
    found = replay(loads, config(**values), start_s=start_s, until=until)
    return [(round(step.t, 1), step.number) for step in found]


configs = st.fixed_dictionaries(
    {
        "min_replicas": st.integers(0, 3),
        "max_replicas": st.integers(4, 30),
        "target_ongoing_requests": st.sampled_from([0.5, 1, 2, 10]),
        "look_back_period_s": st.sampled_from([0.5, 5, 30, 120]),
        "upscale_delay_s": st.sampled_from([0, 1, 30]),
        "downscale_delay_s": st.sampled_from([0, 10, 600]),
        "upscaling_factor": st.sampled_from([None, 0.3, 1, 1.0]),
        "downscaling_factor": st.sampled_from([None, 0.3, 1]),
        "aggregation_function": st.sampled_from(["mean", "max", "min"]),
    }
)


@settings(max_examples=150)
@given(configs, st.integers(1, 60), st.sampled_from([0.0, 3.0, 40.0]))
def test_no_load_reaches_the_minimum(values: dict[str, Any], asked: int, start_s: float):
    """After any load, the number falls to the minimum and stays there."""
    limits = AutoscalingConfig(**values)
    loads = [Load(0, 0, asked), Load(300, 0, 0)]
    numbers = [step.number for step in replay(loads, limits, start_s=start_s)]
    assert numbers[-1] == limits.min_replicas
    assert all(limits.min_replicas <= number <= limits.max_replicas for number in numbers)


@settings(max_examples=150)
@given(configs, st.integers(0, 80), st.sampled_from([0.0, 3.0, 40.0]))
def test_constant_load_does_not_oscillate(values: dict[str, Any], asked: int, start_s: float):
    """Under a constant load, the number moves monotonically to its final value and stays."""
    limits = AutoscalingConfig(**values)
    found = [s.number for s in replay([Load(0, 0, asked)], limits, start_s=start_s, until=HOUR)]
    wished = math.ceil(asked / limits.target_ongoing_requests)
    assert found[-1] == max(limits.min_replicas, min(wished, limits.max_replicas))
    assert found == sorted(found) or found == sorted(found, reverse=True)


@settings(max_examples=8)
@given(st.integers(0, 10**9), st.sampled_from([4, 9, 20]))
def test_a_noisy_load_hardly_oscillates(seed: int, asked: int):
    """A load that varies by a third around its mean changes the number a few times an hour."""
    rng = random.Random(seed)
    trace = [(t, rng.randint(asked - asked // 3, asked + asked // 3)) for t in range(0, 3600, 3)]
    found = steps([(float(t), n) for t, n in trace], until=HOUR)
    assert len(found) <= 6


@settings(max_examples=60)
@given(configs, st.integers(2, 40))
def test_bursts_are_followed_within_the_delays(values: dict[str, Any], replicas: int):
    """A lasting burst has its replicas after the look-back period and the delay; so has its end."""
    whole = {"min_replicas": 1, "upscaling_factor": None, "downscaling_factor": None}
    limits = AutoscalingConfig(**{**values, **whole})
    asked = math.ceil(replicas * limits.target_ongoing_requests)
    needed = min(math.ceil(asked / limits.target_ongoing_requests), limits.max_replicas)
    loads = [Load(0, 0, 0), Load(1000, 0, asked), Load(2000, 0, 0)]
    found = list(replay(loads, limits))
    reached = next(step.t for step in found if step.number == needed)
    assert 1000 <= reached <= 1000 + limits.look_back_period_s + limits.upscale_delay_s + 1
    end = found[-1]
    assert end.number == 1
    assert 2000 <= end.t <= 2000 + limits.look_back_period_s + limits.downscale_delay_s + 1


def test_the_defaults():
    """16 requests at 2 per replica are 8 replicas, after 30 s, for ten minutes."""
    trace = [(0.0, 0), (10.0, 16), (200.0, 0)]
    assert steps(trace, min_replicas=0, start_s=3) == [
        (0.0, 0),
        (10.0, 1),  # the first request, at once
        (43.0, 8),  # wanted from when that one serves
        (804.0, 1),  # the mean falls below 14 within four seconds
        (1404.1, 0),
    ]


def test_a_short_burst_changes_nothing():
    """A burst shorter than the delay starts no replica."""
    trace = [(0.0, 1), (100.0, 40), (115.0, 1)]
    assert steps(trace, look_back_period_s=5) == [(0.0, 1)]
    assert len(steps(trace, look_back_period_s=5, upscale_delay_s=10)) > 1


def test_the_highest_load_is_followed():
    """With `max`, a spike counts over the look-back period; with `min`, only a lasting load."""
    trace = [(0.0, 2), (50.0, 30), (51.0, 2)]
    found = steps(trace, aggregation_function="max", upscale_delay_s=1, downscale_delay_s=5)
    assert found[:2] == [(0.0, 1), (51.0, 15)]
    assert found[-1] == (pytest.approx(86, abs=1), 1)
    assert steps(trace, aggregation_function="min", upscale_delay_s=1) == [(0.0, 1)]


def test_replicas_take_time_to_start():
    """With a factor below one, the next step waits for the replicas of the previous step."""
    trace = [(0.0, 32)]
    fast = steps(trace, upscaling_factor=0.5, upscale_delay_s=0, until=100)
    slow = steps(trace, upscaling_factor=0.5, upscale_delay_s=0, until=100, start_s=10)
    assert fast[-1][1] == slow[-1][1] == 16
    assert fast[-1][0] < 2
    assert 30 <= slow[-1][0] <= 60


def test_a_policy_of_ones_own():
    """Functions, their state and their invalid decisions work as in the controller."""

    def alternate(context: AutoscalingContext) -> Any:
        count = context.policy_state.get("count", 0) + 1
        return (5 if count > 3 else 1), {"count": count}

    found = list(replay([Load(0, 0, 1)], config(upscale_delay_s=0), policy=alternate, until=20))
    assert [step.number for step in found] == [1, 5]
    assert 1 <= found[1].t <= 5
    with pytest.raises(InvalidDecision, match="'many'"):
        list(replay([Load(0, 0, 1)], config(), policy=lambda context: "many"))


def test_no_load_at_all():
    """An empty recording yields no steps."""
    assert list(replay([], config())) == []


@pytest.mark.parametrize(
    ("line", "load"),
    [
        ('{"t": 1, "queued": 2, "running": 3}', Load(1.0, 2, 3)),
        ('{"t": 1.5, "ongoing": 4, "more": true}', Load(1.5, 0, 4)),
        ('{"t": 0}', Load(0.0, 0, 0)),
    ],
)
def test_recordings_are_read(line: str, load: Load):
    """Each line is an object; missing counts are 0, and unknown keys are ignored."""
    assert list(read_trace([line, "\n"])) == [load]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["nonsense"], "line 1 .*JSONDecodeError"),
        (['{"t": 0}', "[]"], "line 2 .*is invalid"),
        (['{"queued": 1}'], "line 1 .*'t'"),
        (['{"t": 5}', '{"t": 4}'], "line 2 .*has the time 4"),
    ],
)
def test_bad_recordings_are_refused(lines: list[str], told: str):
    """The error names the line, and shows a valid line."""
    with pytest.raises(ConfigError, match=told):
        list(read_trace(lines))


@pytest.fixture
def trace(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "load.jsonl"
    rows = [{"t": 1700000000 + t, "ongoing": n} for t, n in [(0, 0), (10, 16), (200, 0)]]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_program(trace: Path, capsys: pytest.CaptureFixture[str]):
    """The program prints each number with its time since the start of the recording."""
    assert main([str(trace), "--config", '{"max_replicas": 10, "downscale_delay_s": 60}']) == 0
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert printed[0] == ["time", "s", "replicas", "requests"]
    assert [(row[1], row[2]) for row in printed[1:]] == [("1", "0"), ("8", "16"), ("1", "0")]


def test_the_program_reads_a_file(trace: Path, capsys: pytest.CaptureFixture[str]):
    """The configuration may be a file."""
    given = trace.with_name("config.json")
    given.write_text('{"max_replicas": 3}')
    assert main([str(trace), "--config", str(given), "--start-s", "5"]) == 0
    assert max(int(line.split()[1]) for line in capsys.readouterr().out.splitlines()[1:]) == 3


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"max_replica": 3}, "max_replica: Extra inputs"),
        ({"min_replicas": 5}, "must be in this order"),
        ({"policy": {"policy_function": "mine"}}, r"'mine' is unknown; known: \['default'\]"),
        ({"policy": {"policy_function": "no.such:policy"}}, "cannot be imported"),
    ],
)
def test_the_program_says_what_is_wrong(
    trace: Path, values: dict[str, Any], told: str, capsys: pytest.CaptureFixture[str]
):
    """Errors are one line, with exit code 1."""
    import re

    assert main([str(trace), "--config", json.dumps(values)]) == 1
    error = capsys.readouterr().err
    assert re.search(told, error), error
    assert len(error.splitlines()) == 1


def test_the_recorder_writes_what_the_program_reads(tmp_path: Path):
    """The recorder writes a line per change up to its maximum, and decides as `default`."""
    from alacarte.types import DeploymentId
    from alacarte_autoscaling import Recorder, default_autoscaling_policy

    path = tmp_path / "load.jsonl"
    recorder = Recorder(str(path), max_lines=3)
    for moment, running in enumerate([0, 0, 4, 4, 6, 2, 1]):
        limits = config()
        context = AutoscalingContext(
            DeploymentId("a", "D"), "D", "a", 1, 1, running, 1, running, 1, 20, limits, moment
        )
        assert recorder(context) == default_autoscaling_policy(context) == (running / 2, {})
    with path.open() as lines:
        assert list(read_trace(lines)) == [Load(0, 1, 0), Load(2, 1, 4), Load(4, 1, 6)]


def test_steps_tell_what_was_asked():
    """Each step has the number of requests at its time."""
    assert next(iter(replay([Load(5.0, 3, 4)], config()))) == ReplayStep(5.0, 1, 7)
