"""Replay of a recorded load: `python -m alacarte_autoscaling.replay --help`.

Makes the same decisions as the controller, on the time of the recording.
"""

from __future__ import annotations

import argparse
import heapq
import importlib
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from alacarte.errors import ConfigError
from alacarte.plugins import load_plugins
from alacarte.types import DeploymentId

from .config import AutoscalingConfig
from .scaling import InvalidDecision, LoadFollower, LoadReport, parse_decision
from .types import AutoscalingContext

__all__ = ["Load", "ReplayStep", "main", "read_trace", "replay"]

DEPLOYMENT = DeploymentId("replay", "replay")
PROCESS = "recorded"
MIN_DELAY_S = 0.001
"""Minimum time between two refreshes in the controller."""
PERIOD_S = 1.0
"""Period of decisions of a user's policy in the controller."""

Policy = Callable[[AutoscalingContext], object]


@dataclass(frozen=True)
class Load:
    """The load of the deployment from time `t` until the next load.

    Attributes:
        t: Time in seconds, from any origin.
        queued: Number of requests that wait for a replica.
        running: Number of requests in replicas.
    """

    t: float
    queued: int
    running: int


@dataclass(frozen=True)
class ReplayStep:
    """A change of the target number of replicas.

    Attributes:
        t: Time in the recording.
        number: The new target.
        requests: Number of queued and running requests at that time.
    """

    t: float
    number: int
    requests: int


def replay(
    loads: Iterable[Load],
    config: AutoscalingConfig,
    *,
    policy: Policy | None = None,
    start_s: float = 0.0,
    until: float | None = None,
) -> Iterator[ReplayStep]:
    """Yield the initial number of replicas, and each change of the number.

    Args:
        loads: Loads in the order of time.
        policy: Policy to use instead of the config's policy.
        start_s: Time from the start of a replica until it is running.
        until: End of the replay; by default when the number would not change any more.

    Raises:
        ConfigError: The config's policy cannot be loaded.
        InvalidDecision: The policy returns an invalid number of replicas.
    """
    decide, period_s = (policy, PERIOD_S) if policy else _load_policy(config)
    rest = iter(loads)
    load = next(rest, None)
    if load is None:
        return
    deployment = _ReplayedDeployment(config, decide, load.t, start_s)
    yield ReplayStep(load.t, deployment.follower.number, load.queued + load.running)
    wakeup: float | None = load.t
    while load is not None or wakeup is not None:
        if load is not None and (wakeup is None or load.t <= wakeup):
            now = load.t
            deployment.set_load(load)
            load = next(rest, None)
        else:
            assert wakeup is not None
            now = wakeup
        if until is not None and now > until:
            return
        before = deployment.follower.number
        deployment.refresh(now)
        if deployment.follower.number != before:
            yield ReplayStep(now, deployment.follower.number, deployment.requests)
        is_over = load is None and until is None
        wakeup = deployment.next_wakeup(now, None if is_over else period_s)


class _ReplayedDeployment:
    """A deployment on the recording's time: its load, and replicas that start and stop."""

    def __init__(
        self, config: AutoscalingConfig, decide: Policy, now: float, start_s: float
    ) -> None:
        self.follower = LoadFollower(DEPLOYMENT, config, config.start_replicas, now)
        self.follower.running = self.follower.number
        self.requests = 0
        self._decide = decide
        self._start_s = start_s
        self._starting: list[float] = []
        self._state: Mapping[str, object] = {}
        self._last = Load(now, 0, 0)

    def set_load(self, load: Load) -> None:
        over_s = max(load.t - self._last.t, 0.0)
        previous = self._last.queued + self._last.running
        report = LoadReport(
            DEPLOYMENT, load.queued, load.running, previous, previous, previous, over_s
        )
        self.follower.report(PROCESS, report, load.t)
        self._last, self.requests = load, load.queued + load.running

    def refresh(self, now: float) -> None:
        """Refresh the deployment as the controller does."""
        if self.requests:
            # Report again: the history drops the load of a silent process.
            self.set_load(Load(now, self._last.queued, self._last.running))
        follower = self.follower
        while self._starting and self._starting[0] <= now:
            heapq.heappop(self._starting)
            follower.running += 1
        before = follower.number
        if not follower.cold_start(now):
            context = replace(follower.context(now), policy_state=self._state)
            decision, state = parse_decision(self._decide(context))
            self._state = self._state if state is None else state
            follower.apply(decision, now)
        self._scale(before, now)

    def _scale(self, before: int, now: float) -> None:
        """Start and stop replicas after a change of the target from `before`."""
        follower = self.follower
        if follower.number > before and self._start_s:
            for _ in range(follower.number - before):
                heapq.heappush(self._starting, now + self._start_s)
        elif follower.number > before:
            follower.running = follower.number
        while follower.number < follower.running + len(self._starting):
            # Starting replicas stop before running replicas, the newest first.
            if self._starting:
                self._starting.remove(max(self._starting))
            else:
                follower.running -= 1

    def next_wakeup(self, now: float, period_s: float | None) -> float | None:
        moments: list[float | None] = list(self._starting)
        if not self.follower.rests(now):
            moments.append(self.follower.next_wakeup(now))
        if period_s is not None:
            moments.append(now + period_s)
        known = [moment for moment in moments if moment is not None]
        return max(min(known), now + MIN_DELAY_S) if known else None


def _load_policy(config: AutoscalingConfig) -> tuple[Policy, float | None]:
    """Return the config's policy, and the maximum time between its decisions."""
    policy = config.policy
    target: Any = policy.policy_function
    if policy.is_named:
        known = load_plugins().registered("register_autoscaling_policies")
        if target not in known:
            raise ConfigError(f"policy_function={target!r} is unknown; known: {sorted(known)}.")
        return known[target].create(policy.policy_kwargs).decide, known[target].period_s
    if isinstance(target, str):
        module, _, name = target.replace(":", ".").rpartition(".")
        try:
            target = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"policy_function={target!r} cannot be imported: {error}") from error
    function: Any = target(**policy.policy_kwargs) if inspect.isclass(target) else target
    return function, PERIOD_S


def read_trace(lines: Iterable[str]) -> Iterator[Load]:
    """Yield the loads of a recording: a JSON object per line, in the order of time.

    Each object has `t`, in seconds, and `queued` and `running`, or `ongoing` for both together.

    Raises:
        ConfigError: A line is invalid, or earlier than the previous line; the message names the
            line.
    """
    last = float("-inf")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            ongoing = int(row.get("ongoing", 0))
            load = Load(
                float(row["t"]), int(row.get("queued", 0)), int(row.get("running", ongoing))
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConfigError(
                f"line {number} of the recording is invalid ({type(error).__name__}: {error}); "
                'expected an object such as {"t": 12.5, "queued": 3, "running": 8}.'
            ) from None
        if load.t < last:
            raise ConfigError(
                f"line {number} of the recording has the time {load.t:g}, before the previous line."
            )
        last = load.t
        yield load


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay a file, print each change of the number of replicas, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m alacarte_autoscaling.replay",
        description="Print the number of replicas for a recorded load.",
    )
    parser.add_argument("trace", type=Path, help="the recording: a JSON object per line")
    parser.add_argument(
        "--config", default="{}", help="an AutoscalingConfig, as JSON or as a JSON file"
    )
    parser.add_argument(
        "--start-s", type=float, default=0.0, help="seconds that a replica takes to start"
    )
    options = parser.parse_args(arguments)
    try:
        config = _read_config(options.config)
        with options.trace.open(encoding="utf-8") as lines:
            _print(replay(read_trace(lines), config, start_s=options.start_s))
    except (ConfigError, InvalidDecision, OSError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201  a program
        return 1
    return 0


def _read_config(given: str) -> AutoscalingConfig:
    text = given if given.lstrip().startswith("{") else Path(given).read_text(encoding="utf-8")
    try:
        return AutoscalingConfig.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigError(f"--config: {where}{': ' if where else ''}{first['msg']}") from None


def _print(steps: Iterable[ReplayStep]) -> None:
    began: float | None = None
    print(f"{'time s':>10}  {'replicas':>8}  {'requests':>8}")  # noqa: T201  a program
    for step in steps:
        began = step.t if began is None else began
        line = f"{step.t - began:10.1f}  {step.number:8}  {step.requests:8}"
        print(line)  # noqa: T201  a program


if __name__ == "__main__":
    sys.exit(main())
