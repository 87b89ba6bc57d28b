"""Recorder of the load of a deployment, for a later replay."""

from __future__ import annotations

import json

from .policies import default_autoscaling_policy
from .types import AutoscalingContext

__all__ = ["Recorder"]

_MAX_LINES = 1_000_000
"""Almost two weeks of a load that changes every second, and less than 100 MB."""


class Recorder:
    """The default policy, which also appends each change of the load to a file, as a line of JSON.

    Set it as a deployment's policy, and pass the file to `python -m alacarte_autoscaling.replay`:

        AutoscalingPolicy(policy_function=Recorder, policy_kwargs={"path": "load.jsonl"})

    Args:
        path: The file, on the node of the policy process.
        max_lines: Maximum number of lines; scaling continues without recording afterwards.
    """

    def __init__(self, path: str, max_lines: int = _MAX_LINES) -> None:
        self._path = path
        self._left = max_lines
        self._last: tuple[int, int] | None = None

    def __call__(self, context: AutoscalingContext) -> tuple[float, dict[str, object]]:
        """Record the load if it has changed; return the decision of the default policy."""
        load = (context.total_queued_requests, context.total_running_requests)
        if load != self._last and self._left > 0:
            self._write(
                {"t": round(context.current_time, 3), "queued": load[0], "running": load[1]}
            )
            self._last = load
            self._left -= 1
        return default_autoscaling_policy(context)

    def _write(self, line: dict[str, object]) -> None:
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
