"""What the controller told us of."""

from __future__ import annotations

from collections import deque

from alacarte.types import Event

__all__ = ["events"]

events: deque[Event] = deque(maxlen=1000)
