"""A loaded model, with the tasks that use it.

A request's task uses a model from the call of the loader until the task ends. While the task waits
for another load, it counts as a user but not as running: that load may wait for this model.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from contextlib import contextmanager

from alacarte.aio import wake
from alacarte.context import current_call
from alacarte.foreign import disarm_destructor

__all__ = ["Model", "not_counted"]

_used: dict[asyncio.Task[object], list[Model]] = {}
"""Models in use by task, in all event loops of this process."""


class Model:
    """A loaded model.

    Attributes:
        value: Result of the loader.
        users: Number of tasks that use the model.
        running: Number of these tasks that do not wait for the load of another model.
    """

    def __init__(self, model_id: str, value: object) -> None:
        self.model_id = model_id
        self.value = value
        self.users = 0
        self.running = 0
        self._idle_waiter: asyncio.Future[None] | None = None
        self._unused_waiter: asyncio.Future[None] | None = None

    @property
    def in_use(self) -> bool:
        """Whether a task uses the model."""
        return self.users > 0

    def use(self) -> object:
        """Return the value; count the current task as a user if it belongs to a request."""
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
        """Add a user, until `leave`."""
        self.users += 1
        self.running += 1

    async def wait_idle(self, timeout_s: float) -> bool:
        """Wait until no user is running, or until the timeout; return whether there is no user."""
        if self.running:
            self._idle_waiter = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._idle_waiter], timeout=timeout_s)
            self._idle_waiter = None
        return not self.users

    async def wait_unused(self) -> None:
        """Wait until no task uses the model."""
        if self.users:
            self._unused_waiter = asyncio.get_running_loop().create_future()
            await self._unused_waiter

    async def unload(self) -> None:
        """Drop the value and run its `__del__` once: on the loop if async, else in a thread."""
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
        """Count one user as not running: it waits for another model."""
        self.running -= 1
        if not self.running:
            wake(self._idle_waiter)

    def resume(self) -> None:
        """Count one user as running again."""
        self.running += 1

    def leave(self) -> None:
        """Remove a user."""
        self.users -= 1
        self.pause()
        if not self.users:
            wake(self._unused_waiter)


@contextmanager
def not_counted() -> Iterator[None]:
    """Exclude the current task from the running users of its models while it waits for a load."""
    task = asyncio.current_task()
    models = list(_used.get(task, ())) if task is not None else []
    for model in models:
        model.pause()
    try:
        yield
    finally:
        for model in models:
            model.resume()


def _release(task: asyncio.Task[object]) -> None:
    for model in _used.pop(task, ()):
        model.leave()
