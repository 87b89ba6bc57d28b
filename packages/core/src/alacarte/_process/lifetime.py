"""What plugins begin with a process or a replica, and end with it."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

from .._plugins import Plugins
from ..context import current_runtime
from ..foreign import is_cancellation
from ..types import Cleanup, Runtime

__all__ = ["CLEANUP_S", "Lifetime"]

CLEANUP_S = 5.0
"""For each cleanup of a plugin; one that takes longer is cancelled."""


class Lifetime:
    """Tells plugins of a start, and awaits what they return for the end.

    Args:
        hook: `on_process` or `on_replica`.
        subject: Names the process or replica where a plugin fails.
        given: The hook's arguments.
    """

    def __init__(self, plugins: Plugins, hook: str, subject: str, **given: Any) -> None:
        self._plugins = plugins
        self._hook = hook
        self._subject = subject
        self._given = given
        self._cleanups: list[tuple[str, Cleanup]] = []

    def begin(self) -> None:
        """Tell every plugin. One that raises is logged with its name, and changes nothing."""
        context = contextvars.copy_context()
        runtime: Runtime | None = self._given.get("runtime")
        context.run(current_runtime.set, runtime)
        answers = context.run(
            lambda: self._plugins.tell(self._hook, subject=self._subject, **self._given)
        )
        self._cleanups = [(answer.plugin, answer.value) for answer in answers]

    async def end(self) -> None:
        """Await the cleanups, the last one first. One that fails or hangs is logged."""
        while self._cleanups:
            plugin, cleanup = self._cleanups.pop()
            try:
                async with asyncio.timeout(CLEANUP_S):
                    await cleanup()
            except BaseException as error:  # foreign code
                if is_cancellation(error):
                    raise
                self._plugins.failures.note(plugin, f"{self._hook}: cleanup", error, self._subject)
