"""The lifespan of an ASGI application in a replica: startup and shutdown.

An application without support for the lifespan protocol is served without it.
"""

from __future__ import annotations

import asyncio
import logging

from starlette.types import ASGIApp, Message

from .failure_log import begin_at_user

__all__ = ["Lifespan"]

log = logging.getLogger("alacarte.replica")
SHUTDOWN_TIMEOUT_S = 10.0
"""Time for an application to shut down."""


class Lifespan:
    """Starts and stops one application.

    Attributes:
        state: State that the application sets at startup; each request gets a shallow copy.
    """

    def __init__(self, app: ASGIApp, name: str) -> None:
        self.state: dict[str, object] = {}
        self._app = app
        self._name = name
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._has_received = False
        self._last_message: str | None = None
        self._has_answered = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the application and wait for its startup.

        Raises:
            Exception: The application's exception, with a traceback from the user's first frame.
        """
        self._messages.put_nowait({"type": "lifespan.startup"})
        task = self._task = asyncio.create_task(self._run())
        await self._has_answered.wait()
        if self._has_sent("lifespan.startup.complete"):
            return
        self._task = None
        if self._last_message is None and not self._has_received:
            if task.exception() is not None:
                log.debug("%s: the application has no lifespan", self._name)
            return
        await asyncio.wait([task])
        error = task.exception()
        if error is not None:
            raise begin_at_user(error)
        if self._has_sent("lifespan.startup.failed"):
            raise RuntimeError("the ASGI application failed to start (lifespan.startup.failed).")

    async def stop(self) -> None:
        """Shut the application down and wait for its end; log failures."""
        task, self._task = self._task, None
        if task is None or task.done():
            return
        self._has_answered.clear()
        self._last_message = None
        self._messages.put_nowait({"type": "lifespan.shutdown"})
        try:
            async with asyncio.timeout(SHUTDOWN_TIMEOUT_S):
                await self._has_answered.wait()
                await asyncio.wait([task])
        except TimeoutError:
            log.error(
                "%s: the application did not shut down within %g s", self._name, SHUTDOWN_TIMEOUT_S
            )
            task.cancel()
            return
        error = None if task.cancelled() else task.exception()
        if error is not None:
            shown = begin_at_user(error)
            log.error("%s: the application's shutdown failed", self._name, exc_info=shown)
        elif self._has_sent("lifespan.shutdown.failed"):
            log.error("%s: the application's shutdown failed", self._name)

    def _has_sent(self, kind: str) -> bool:
        return self._last_message == kind

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        try:
            await self._app(scope, self._receive, self._send)
        finally:
            self._has_answered.set()

    async def _receive(self) -> Message:
        self._has_received = True
        return await self._messages.get()

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if not kind.startswith("lifespan."):
            self._has_received = False  # the application handles this scope like a request
            raise RuntimeError(f"{kind!r} is not a message of the lifespan protocol.")
        if kind.endswith(".failed") and message.get("message"):
            log.debug("%s: %s: %s", self._name, kind, message["message"])
        self._last_message = kind
        self._has_answered.set()
