"""Write down the load of a deployment, to replay it later."""

from __future__ import annotations

import json
from typing import Any

from .policies import default_autoscaling_policy
from .types import AutoscalingContext

__all__ = ["Recorder"]

_LINES = 1_000_000
"""Some weeks of a load that changes every second, and less than 100 MB."""


class Recorder:
    """The default policy, which also writes down each load it sees: one line of JSON, appended.

    Give it as a deployment's policy, and the file to `python -m alacarte_autoscaling.replay`:

        AutoscalingPolicy(policy_function=Recorder, policy_kwargs={"path": "load.jsonl"})

    Args:
        path: The file, on the node where the instance's policies run.
        max_lines: How many it writes at most; it goes on scaling afterwards.
    """

    def __init__(self, path: str, max_lines: int = _LINES) -> None:
        self._path = path
        self._left = max_lines
        self._last: tuple[int, int] | None = None

    def __call__(self, context: AutoscalingContext) -> tuple[float, dict[str, Any]]:
        """Write down the load if it has changed; answer as the default policy does."""
        load = (context.total_queued_requests, context.total_running_requests)
        if load != self._last and self._left > 0:
            self._write(
                {"t": round(context.current_time, 3), "queued": load[0], "running": load[1]}
            )
            self._last = load
            self._left -= 1
        return default_autoscaling_policy(context)

    def _write(self, line: dict[str, Any]) -> None:
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
