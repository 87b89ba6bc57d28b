"""Time for tests: it passes when it is told to, or when nothing else is left to do."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["FakeClock"]

T = TypeVar("T")


class FakeClock:
    """A monotonic clock for tests. Call it for the time, in seconds.

        clock = FakeClock()
        limiter = Limiter(clock=clock)
        clock.advance(60)
        clock.run(main())      # asyncio.sleep(3600) in there takes no time at all

    Attributes:
        now: The time; it may be set to anything that is not earlier.
    """

    def __init__(self, now: float = 100.0) -> None:
        self._now = now

    def __call__(self) -> float:
        return self._now

    @property
    def now(self) -> float:
        return self._now

    @now.setter
    def now(self, value: float) -> None:
        if value < self._now:
            raise ValueError(f"time does not go back: it is {self._now}, not {value}.")
        self._now = value

    def advance(self, seconds: float) -> None:
        """Let time pass. What waits on a loop of this clock wakes up at the loop's next turn."""
        self.now += seconds

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on an event loop that keeps this time, and return its result.

        Wherever every task waits for a timer, time jumps to it. Nothing from outside the loop
        (another thread, a socket) is waited for.

        Raises:
            AssertionError: Everything waits, and nothing will ever happen; or tasks are left
                over that nobody waits for.
        """

        async def checked() -> T:
            result = await work
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"these tasks are left: {left}"
            return result

        with asyncio.Runner(loop_factory=lambda: _Loop(self)) as runner:
            return runner.run(checked())


class _Loop(asyncio.SelectorEventLoop):
    """Jumps to its next timer instead of waiting for it."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(_Selector(clock, self))
        self._clock = clock

    def time(self) -> float:
        return self._clock.now


class _Selector(selectors.DefaultSelector):
    def __init__(self, clock: FakeClock, loop: Any) -> None:
        super().__init__()
        self._clock = clock
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        events = super().select(0)
        if events:
            return events
        assert timeout is not None, "everything waits, and nothing will ever happen"
        if timeout > 0:
            # Timers go off when they are due within the clock's resolution, so half of it is
            # held back: what a real loop may do, this one always does.
            self._clock.advance(max(0.0, timeout - self._loop._clock_resolution / 2))
        return events
