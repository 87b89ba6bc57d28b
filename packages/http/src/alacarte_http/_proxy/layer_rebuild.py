"""The rebuild of layers that failed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["LayerRebuild"]

_MIN_BACKOFF_S, _MAX_BACKOFF_S = 1.0, 30.0


class LayerRebuild:
    """Rebuilds layers after each failed attempt, with exponential backoff.

    Used on the event loop.

    Args:
        rebuild: Makes another attempt, and reports its outcome with `schedule`.
    """

    def __init__(self, rebuild: Callable[[], None]) -> None:
        self._rebuild = rebuild
        self._backoff_s = _MIN_BACKOFF_S
        self._timer: asyncio.TimerHandle | None = None

    def schedule(self, *, failed: bool) -> None:
        """Schedule the next attempt after a failure; cancel it after a success."""
        self.close()
        if not failed:
            self._backoff_s = _MIN_BACKOFF_S
            return
        self._timer = asyncio.get_running_loop().call_later(self._backoff_s, self._rebuild)
        self._backoff_s = min(2 * self._backoff_s, _MAX_BACKOFF_S)

    def close(self) -> None:
        """Cancel the scheduled attempt."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
