"""The lifespan of an ASGI application in a replica: started before the first request, then ended.

An application that does not know the lifespan protocol is served without.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from .failure_log import begin_at_user

__all__ = ["Lifespan"]

log = logging.getLogger("alacarte.replica")
SHUTDOWN_S = 10.0
"""How long an application may take to end."""

ASGIApp = Callable[[Any, Any, Any], Awaitable[Any]]


class Lifespan:
    """Starts and ends one application.

    Attributes:
        state: What the application gives to its requests; each gets a shallow copy.
    """

    def __init__(self, app: ASGIApp, name: str) -> None:
        self.state: dict[str, Any] = {}
        self._app = app
        self._name = name
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._asked = False
        self._answer: str | None = None
        self._answered = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return when the application has started.

        Raises:
            Exception: What the application raised, its traceback beginning at the user's frame.
        """
        self._messages.put_nowait({"type": "lifespan.startup"})
        task = self._task = asyncio.create_task(self._run())
        await self._answered.wait()
        if self._said("lifespan.startup.complete"):
            return
        self._task = None
        if self._answer is None and not self._asked:
            if task.exception() is not None:
                log.debug("%s: the application has no lifespan", self._name)
            return
        await asyncio.wait([task])
        error = task.exception()
        if error is not None:
            raise begin_at_user(error)
        if self._said("lifespan.startup.failed"):
            raise RuntimeError("the ASGI application refused to start (lifespan.startup.failed).")

    async def stop(self) -> None:
        """Tell the application to end, and wait for it. What goes wrong is logged."""
        task, self._task = self._task, None
        if task is None or task.done():
            return
        self._answered.clear()
        self._answer = None
        self._messages.put_nowait({"type": "lifespan.shutdown"})
        try:
            async with asyncio.timeout(SHUTDOWN_S):
                await self._answered.wait()
                await asyncio.wait([task])
        except TimeoutError:
            log.error("%s: the application did not end within %g s", self._name, SHUTDOWN_S)
            task.cancel()
            return
        error = None if task.cancelled() else task.exception()
        if error is not None:
            shown = begin_at_user(error)
            log.error("%s: the application's shutdown failed", self._name, exc_info=shown)
        elif self._said("lifespan.shutdown.failed"):
            log.error("%s: the application's shutdown failed", self._name)

    def _said(self, kind: str) -> bool:
        return self._answer == kind

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        try:
            await self._app(scope, self._receive, self._send)
        finally:
            self._answered.set()

    async def _receive(self) -> dict[str, Any]:
        self._asked = True
        return await self._messages.get()

    async def _send(self, message: Any) -> None:
        kind = message["type"]
        if not kind.startswith("lifespan."):
            self._asked = False  # it takes this for a request: it knows no lifespan
            raise RuntimeError(f"{kind!r} is no message of the lifespan protocol.")
        if kind.endswith(".failed") and message.get("message"):
            log.debug("%s: %s: %s", self._name, kind, message["message"])
        self._answer = kind
        self._answered.set()
