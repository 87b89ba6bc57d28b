"""How many replicas a recorded load leads to: `python -m alacarte_autoscaling.replay --help`.

The decision is the one that the controller makes, step by step, on the time of the recording.
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
LEAST_S = 0.001
"""Shortest time between two refreshes in the controller."""
PERIOD_S = 1.0
"""How often the controller asks a policy of the user's own."""

Policy = Callable[[AutoscalingContext], Any]


@dataclass(frozen=True)
class Load:
    """What is asked of the deployment from `t` on, until the next one.

    Attributes:
        t: In seconds, from any beginning.
        queued: Requests that wait for a replica.
        running: Requests that replicas work on.
    """

    t: float
    queued: int
    running: int


@dataclass(frozen=True)
class ReplayStep:
    """A new number of replicas.

    Attributes:
        t: When, as in the recording.
        number: How many there should be from then on.
        asked: Requests in progress and waiting at that moment.
    """

    t: float
    number: int
    asked: int


def replay(
    loads: Iterable[Load],
    config: AutoscalingConfig,
    *,
    policy: Policy | None = None,
    start_s: float = 0.0,
    until: float | None = None,
) -> Iterator[ReplayStep]:
    """Yield the number of replicas at the beginning, and whenever it changes.

    Args:
        loads: In the order of time.
        policy: In place of the config's own, which is imported from where it says.
        start_s: How long a replica takes from its start until it serves.
        until: How long to go on; by default until nothing would change any more.

    Raises:
        ConfigError: The config's policy cannot be had.
        InvalidDecision: The policy answers something that is no number of replicas.
    """
    ask, period_s = (policy, PERIOD_S) if policy else _policy_of(config)
    rest = iter(loads)
    load = next(rest, None)
    if load is None:
        return
    course = _Course(config, ask, load.t, start_s)
    yield ReplayStep(load.t, course.follower.number, load.queued + load.running)
    look: float | None = load.t
    while load is not None or look is not None:
        if load is not None and (look is None or load.t <= look):
            now = load.t
            course.take_in(load)
            load = next(rest, None)
        else:
            assert look is not None
            now = look
        if until is not None and now > until:
            return
        before = course.follower.number
        course.look(now)
        if course.follower.number != before:
            yield ReplayStep(now, course.follower.number, course.asked)
        over = load is None and until is None
        look = course.next_wakeup(now, None if over else period_s)


class _Course:
    """A deployment in the recording's time: its load, and replicas that start and stop."""

    def __init__(self, config: AutoscalingConfig, ask: Policy, now: float, start_s: float) -> None:
        self.follower = LoadFollower(DEPLOYMENT, config, config.start_replicas, now)
        self.follower.running = self.follower.number
        self.asked = 0
        self._ask = ask
        self._start_s = start_s
        self._starting: list[float] = []
        self._state: Mapping[str, Any] = {}
        self._last = Load(now, 0, 0)

    def take_in(self, load: Load) -> None:
        since = max(load.t - self._last.t, 0.0)
        held = self._last.queued + self._last.running
        report = LoadReport(DEPLOYMENT, load.queued, load.running, held, held, held, since)
        self.follower.report(PROCESS, report, load.t)
        self._last, self.asked = load, load.queued + load.running

    def look(self, now: float) -> None:
        """Refresh the deployment as the controller does."""
        if self.asked:
            self._tell_again(now)
        follower = self.follower
        while self._starting and self._starting[0] <= now:
            heapq.heappop(self._starting)
            follower.running += 1
        before = follower.number
        if not follower.warm(now):
            context = follower.context(now)
            wanted, state = parse_decision(self._ask(replace(context, policy_state=self._state)))
            self._state = self._state if state is None else state
            follower.take(wanted, now)
        self._replicas(before, now)

    def _tell_again(self, now: float) -> None:
        """Report the load every few seconds, as a living process does."""
        self.take_in(Load(now, self._last.queued, self._last.running))

    def _replicas(self, before: int, now: float) -> None:
        follower = self.follower
        if follower.number > before and self._start_s:
            for _ in range(follower.number - before):
                heapq.heappush(self._starting, now + self._start_s)
        elif follower.number > before:
            follower.running = follower.number
        while follower.number < follower.running + len(self._starting):
            # Those that still start go first, the last of them before the others.
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
        return max(min(known), now + LEAST_S) if known else None


def _policy_of(config: AutoscalingConfig) -> tuple[Policy, float | None]:
    """Return the policy that the config names, and how often it is asked at least."""
    policy = config.policy
    target: Any = policy.policy_function
    if policy.is_named:
        known = load_plugins().registered("register_autoscaling_policies")
        if target not in known:
            raise ConfigError(f"policy_function={target!r}: there are {sorted(known)}.")
        return known[target].create(policy.policy_kwargs).decide, known[target].period_s
    if isinstance(target, str):
        module, _, name = target.replace(":", ".").rpartition(".")
        try:
            target = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"policy_function={target!r} cannot be imported: {error}") from error
    made: Any = target(**policy.policy_kwargs) if inspect.isclass(target) else target
    return made, PERIOD_S


def read_trace(lines: Iterable[str]) -> Iterator[Load]:
    """Yield the loads of a recording: a JSON object in each line, in the order of time.

    Each has `t`, in seconds, and `queued` and `running`, or `ongoing` for both together.

    Raises:
        ConfigError: A line is no such object, or goes back in time; it is named.
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
                f"line {number} of the recording is no load ({type(error).__name__}: {error}); "
                'it looks like {"t": 12.5, "queued": 3, "running": 8}.'
            ) from None
        if load.t < last:
            raise ConfigError(f"line {number} of the recording goes back in time, to {load.t:g}.")
        last = load.t
        yield load


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay a file; print each new number of replicas; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m alacarte_autoscaling.replay",
        description="Tell how many replicas a recorded load leads to.",
    )
    parser.add_argument("trace", type=Path, help="the recording: a JSON object in each line")
    parser.add_argument(
        "--config", default="{}", help="an AutoscalingConfig, as JSON or as a file of it"
    )
    parser.add_argument(
        "--start-s", type=float, default=0.0, help="how long a replica takes to start"
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
    print(f"{'after s':>10}  {'replicas':>8}  {'asked':>6}")  # noqa: T201  a program
    for step in steps:
        began = step.t if began is None else began
        line = f"{step.t - began:10.1f}  {step.number:8}  {step.asked:6}"
        print(line)  # noqa: T201  a program


if __name__ == "__main__":
    sys.exit(main())
