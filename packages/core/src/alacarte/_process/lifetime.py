"""The hooks `on_process` and `on_replica`, with the cleanups that they return."""

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
"""Timeout of each cleanup."""


class Lifetime:
    """Calls a hook at the start of a process or replica, and the returned cleanups at its end.

    Args:
        hook: `on_process` or `on_replica`.
        subject: The process or replica, for error messages.
        arguments: Arguments of the hook.
    """

    def __init__(self, plugins: Plugins, hook: str, subject: str, **arguments: Any) -> None:
        self._plugins = plugins
        self._hook = hook
        self._subject = subject
        self._arguments = arguments
        self._cleanups: list[tuple[str, Cleanup]] = []

    def begin(self) -> None:
        """Call the hook of every plugin. A failure is logged with the plugin's name."""
        context = contextvars.copy_context()
        runtime: Runtime | None = self._arguments.get("runtime")
        context.run(current_runtime.set, runtime)
        answers = context.run(
            lambda: self._plugins.call_robust(self._hook, subject=self._subject, **self._arguments)
        )
        self._cleanups = [(answer.plugin, answer.value) for answer in answers]

    async def end(self) -> None:
        """Await the cleanups in reverse order. A failure or a timeout is logged."""
        while self._cleanups:
            plugin, cleanup = self._cleanups.pop()
            try:
                async with asyncio.timeout(CLEANUP_S):
                    await cleanup()
            except BaseException as error:  # foreign code
                if is_cancellation(error):
                    raise
                self._plugins.failures.note(plugin, f"{self._hook}: cleanup", error, self._subject)
