"""Reports of the processes that make calls to the controller."""

from __future__ import annotations

__all__ = [
    "FORGET_S",
    "HEARTBEAT_S",
    "PLUGIN_FAILURES_TOPIC",
]

PLUGIN_FAILURES_TOPIC = "alacarte.plugin_failures"
"""Topic of tuples of `PluginFailure`: one for each kind of failure in the process."""
HEARTBEAT_S = 5.0
"""Seconds between two messages of a process that has reported anything."""
FORGET_S = 3 * HEARTBEAT_S
"""Seconds of silence after which a process has ended."""
