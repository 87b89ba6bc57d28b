"""Constants of the reports that processes send to the controller."""

from __future__ import annotations

__all__ = [
    "FORGET_S",
    "HEARTBEAT_S",
    "PLUGIN_FAILURES_TOPIC",
]

PLUGIN_FAILURES_TOPIC = "alacarte.plugin_failures"
"""Topic with tuples of `PluginFailure`: one for each kind of failure in the process."""
HEARTBEAT_S = 5.0
"""Longest time between two messages of a process that has reported a value, in seconds."""
FORGET_S = 3 * HEARTBEAT_S
"""Time without a message after which a process is considered dead, in seconds."""
