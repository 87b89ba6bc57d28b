"""Virtual time: a loop on which time passes only while everything waits, so tests need no sleep."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from alacarte.testing import FakeClock

Main = Callable[[], Coroutine[Any, Any, None]]


def timers() -> list[asyncio.TimerHandle]:
    """Return the timers of the running loop that have yet to go off."""
    scheduled = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    return [timer for timer in scheduled if not timer.cancelled()]


@pytest.fixture
def run() -> Callable[[Main], None]:
    """Run a coroutine function in virtual time; afterwards, no task and no timer may be left."""

    def run(main: Main) -> None:
        async def checked() -> None:
            await main()
            assert timers() == []

        FakeClock().run(checked())

    return run
