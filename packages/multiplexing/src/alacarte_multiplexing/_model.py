"""A loaded model: who uses it, and how it ends.

A task of a request that was given a model uses it until the task ends. While it waits for another
model to load, it does not count: the load may itself be waiting for this model to be free.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from alacarte.aio import wake
from alacarte.context import current_call
from alacarte.foreign import disarm_destructor

__all__ = ["Model", "not_counted"]

_used: dict[asyncio.Task[Any], list[Model]] = {}
"""The models that each task uses, in all event loops of this process."""


class Model:
    """One loaded model.

    Attributes:
        value: What the loader returned.
        users: Tasks that use it, and `running` those of them that wait for no other model.
    """

    def __init__(self, model_id: str, value: Any) -> None:
        self.model_id = model_id
        self.value = value
        self.users = 0
        self.running = 0
        self._waiter: asyncio.Future[None] | None = None
        self._unused: asyncio.Future[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether somebody uses it."""
        return self.users > 0

    def use(self) -> Any:
        """Return the value, and count the running task as a user if it works on a request."""
        task = asyncio.current_task()
        if task is not None and current_call.get() is not None:
            models = _used.get(task)
            if models is None:
                models = _used[task] = []
                task.add_done_callback(_release)
            if self not in models:
                models.append(self)
                self.enter()
        return self.value

    def enter(self) -> None:
        """Somebody uses it, until `leave`."""
        self.users += 1
        self.running += 1

    async def free(self, patience_s: float) -> bool:
        """Wait until no user of it runs, no longer than that; return whether it has no user."""
        if self.running:
            self._waiter = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._waiter], timeout=patience_s)
            self._waiter = None
        return not self.users

    async def unused(self) -> None:
        """Wait until nobody uses it."""
        if self.users:
            self._unused = asyncio.get_running_loop().create_future()
            await self._unused

    async def unload(self) -> None:
        """Let the model go: run its `__del__`, once, on the loop if it is async.

        A sync one runs in a thread, since it may take its time.
        """
        value, self.value = self.value, None
        destructor = getattr(type(value), "__del__", None)
        if destructor is None:
            return
        try:
            if inspect.iscoroutinefunction(destructor):
                await destructor(value)
            else:
                ended = await asyncio.to_thread(destructor, value)
                if inspect.isawaitable(ended):
                    await ended
        finally:
            disarm_destructor(value)

    def pause(self) -> None:
        """One of its users waits for another model."""
        self.running -= 1
        if not self.running:
            wake(self._waiter)

    def resume(self) -> None:
        """That user goes on."""
        self.running += 1

    def leave(self) -> None:
        """One of its users has ended."""
        self.users -= 1
        self.pause()
        if not self.users:
            wake(self._unused)


@contextmanager
def not_counted() -> Iterator[None]:
    """Within this, the running task waits for a model, and does not count as running."""
    task = asyncio.current_task()
    models = list(_used.get(task, ())) if task is not None else []
    for model in models:
        model.pause()
    try:
        yield
    finally:
        for model in models:
            model.resume()


def _release(task: asyncio.Task[Any]) -> None:
    for model in _used.pop(task, ()):
        model.leave()
