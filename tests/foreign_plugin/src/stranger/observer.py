"""What the controller told us of."""

from __future__ import annotations

from collections import deque

from alacarte.types import Event

__all__ = ["events", "processes", "replicas"]

events: deque[Event] = deque(maxlen=1000)
processes: deque[tuple[str, str]] = deque(maxlen=1000)
"""Kinds of the processes that have started here and stopped."""
replicas: deque[tuple[str, str]] = deque(maxlen=1000)
"""Deployments of the replicas that have started here, with the classes of their objects."""
