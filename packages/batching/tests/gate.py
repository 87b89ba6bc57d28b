"""A batched function that the tests control."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from alacarte_batching import batch

Run = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]


class Gate:
    """A batched function that records its batches and blocks until released."""

    def __init__(self, **options: Any) -> None:
        self.batches: list[list[Any]] = []
        self.entered = asyncio.Semaphore(0)
        self.open = asyncio.Event()

        @batch(**options)
        async def call(items: list[Any]) -> list[Any]:
            self.batches.append(items)
            self.entered.release()
            await self.open.wait()
            return [item * 10 for item in items]

        self.call = call
