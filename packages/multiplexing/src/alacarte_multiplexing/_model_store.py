"""The models of one loader in one replica: loaded on demand, unloaded to make room."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace

from alacarte.aio import TaskSet
from alacarte.context import current_call
from alacarte.errors import ServeError

from ._model import Model, not_counted
from ._recency import Recency

__all__ = ["ModelStore"]

log = logging.getLogger("alacarte.multiplexing")

EVICTION_TIMEOUT_S = 10.0
"""Time that a load waits for the requests that use the evicted model. After the timeout the load
proceeds, and the evicted model is unloaded when its requests end: a replica beyond its limit is
better than a stuck one."""


class _Load:
    """A load in progress, shared by all its waiters."""

    __slots__ = ("model", "started", "task", "waiters")

    def __init__(self) -> None:
        self.started = False
        # In use until all waiters have it, so that it is not evicted before.
        self.model: Model | None = None
        self.waiters = 0
        self.task: asyncio.Task[Model]


class ModelStore:
    """Cache of one loader's models by id. Lives on the replica's event loop.

    Loads run one after the other, so that a replica needs memory for one extra model only. Calls
    for a cached model do not wait for loads.

    Args:
        load: The user's loader, bound to its instance.
        limit: Maximum number of models, -1 for no limit.
        changed: Called when the set of cached and loading models has changed.
    """

    def __init__(
        self, load: Callable[[str], Awaitable[object]], limit: int, changed: Callable[[], None]
    ) -> None:
        self._load = load
        self._models: Recency[Model] = Recency(limit)
        self._loads: dict[str, _Load] = {}
        self._loading = asyncio.Lock()
        self._changed = changed
        self._leaving = TaskSet()
        self._closed = False

    @property
    def model_ids(self) -> Iterable[str]:
        """The ids of loading and cached models, most recently used first."""
        return [*self._loads, *reversed(list(self._models))]

    async def get(self, model_id: str) -> object:
        """Return a model by id; load the model if it is not cached.

        Concurrent calls for a loading model share the load and its error. After an error, the next
        call loads again.
        """
        model = self._models.touch(model_id)
        if model is not None:
            return model.use()
        if self._closed:
            raise ServeError(f"cannot load model {model_id!r}: the replica is stopping.")
        load = self._loads.get(model_id)
        if load is None:
            load = self._start_load(model_id)
        load.waiters += 1
        try:
            with not_counted():
                # Shielded: a cancelled waiter must not cancel the load of the others.
                model = await asyncio.shield(load.task)
            return model.use()
        finally:
            load.waiters -= 1
            if not load.waiters:
                self._release_load(model_id, load)

    def _release_load(self, model_id: str, load: _Load) -> None:
        """End a load without waiters: release its model, or cancel it before its start."""
        if load.model is not None:
            load.model.leave()
            load.model = None
        elif not load.started and self._loads.get(model_id) is load:
            # A started load continues, or a model that loads slower than its callers' timeouts
            # would never be loaded.
            del self._loads[model_id]
            load.task.cancel()
            self._changed()

    def _start_load(self, model_id: str) -> _Load:
        load = self._loads[model_id] = _Load()
        context = contextvars.copy_context()
        load.task = asyncio.get_running_loop().create_task(
            self._run(model_id, load), name=f"load model {model_id}", context=context
        )
        load.task.add_done_callback(functools.partial(self._ended, model_id, load))
        self._changed()
        return load

    async def _run(self, model_id: str, load: _Load) -> Model:
        # The load serves all waiters: a copy of the first waiter's call without its deadline also
        # detaches the loader's calls from that waiter's cancellation.
        call = current_call.get()
        if call is not None:
            current_call.set(replace(call, deadline=None))
        async with self._loading:
            load.started = True
            victim = self._models.make_room()
            if victim is not None:
                self._changed()
                await self._evict(victim)
            model = Model(model_id, await self._load(model_id))
            self._models.add(model_id, model)
            if load.waiters:
                model.enter()
                load.model = model
            return model

    def _ended(self, model_id: str, load: _Load, task: asyncio.Task[Model]) -> None:
        if self._loads.get(model_id) is load:
            del self._loads[model_id]
            self._changed()
        if not task.cancelled():
            task.exception()  # retrieved: the waiters have it, or have gone

    async def _evict(self, model: Model) -> None:
        """Unload a model when no request uses it; wait for that until the timeout only."""
        if await model.wait_idle(EVICTION_TIMEOUT_S):
            await _unload(model)
            return
        self._leaving.start(_unload_later(model))

    async def close(self) -> None:
        """Cancel all loads and unload all models."""
        self._closed = True
        for load in list(self._loads.values()):
            load.task.cancel()
        if self._loads:
            await asyncio.wait([load.task for load in self._loads.values()])
        self._leaving.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)
        for model in self._models.clear():
            await _unload(model)
        self._changed()


async def _unload(model: Model) -> None:
    try:
        await model.unload()
    except asyncio.CancelledError:
        raise
    except BaseException:  # the user's __del__
        log.exception("model %s: its __del__ failed", model.model_id)


async def _unload_later(model: Model) -> None:
    try:
        await model.wait_unused()
    finally:
        await _unload(model)
