"""Events, processes and replicas that the hooks have reported in this process."""

from __future__ import annotations

from collections import deque

from alacarte.types import Event

__all__ = ["events", "processes", "replicas"]

events: deque[Event] = deque(maxlen=1000)
processes: deque[tuple[str, str]] = deque(maxlen=1000)
"""Kinds of processes, each with "started" or "stopping"."""
replicas: deque[tuple[str, str]] = deque(maxlen=1000)
"""Deployments of started replicas, each with the class of the user's object."""
