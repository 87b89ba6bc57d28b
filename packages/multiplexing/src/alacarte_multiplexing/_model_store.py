"""The models of one loader in one replica: loaded when asked for, unloaded to make room."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any

from alacarte.aio import TaskSet
from alacarte.context import current_call
from alacarte.errors import ServeError

from ._model import Model, not_counted
from ._recency import Recency

__all__ = ["ModelStore"]

log = logging.getLogger("alacarte.multiplexing")

PATIENCE_S = 10.0
"""How long a load waits for a request that uses the model that is to go. After that it loads all
the same, and that model is unloaded when the request ends: a replica beyond its limit is better
than one that is stuck."""


class _Load:
    """A load on its way, for all who wait for it."""

    __slots__ = ("model", "started", "task", "waiters")

    def __init__(self) -> None:
        self.started = False
        # Kept from being evicted until those who waited have it.
        self.model: Model | None = None
        self.waiters = 0
        self.task: asyncio.Task[Model]


class ModelStore:
    """Gives models by id. On the replica's event loop.

    Loads run one after the other, so that a loader needs room for one; whoever asks for a model
    that is there does not wait for them.

    Args:
        load: The user's loader, bound.
        limit: How many models may be held, -1 for any number.
        changed: Called when other models are held or loading than before.
    """

    def __init__(
        self, load: Callable[[str], Awaitable[Any]], limit: int, changed: Callable[[], None]
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
        """Models held or loading, those asked for last first."""
        return [*self._loads, *reversed(list(self._models))]

    async def get(self, model_id: str) -> Any:
        """Return the model of that id, loaded if it is not there.

        Whoever asks for a model that is being loaded waits for the same load, and gets the same
        exception if it fails. The next who asks loads it anew.
        """
        model = self._models.touch(model_id)
        if model is not None:
            return model.use()
        if self._closed:
            raise ServeError(f"model {model_id!r} cannot be loaded: the replica is stopping.")
        load = self._loads.get(model_id)
        if load is None:
            load = self._begin(model_id)
        load.waiters += 1
        try:
            with not_counted():
                # Shielded: one who goes away must not take the load from the others.
                model = await asyncio.shield(load.task)
            return model.use()
        finally:
            load.waiters -= 1
            if not load.waiters:
                self._left(model_id, load)

    def _left(self, model_id: str, load: _Load) -> None:
        """Nobody waits for this load any more."""
        if load.model is not None:
            load.model.leave()
            load.model = None
        elif not load.started and self._loads.get(model_id) is load:
            # What has started goes on, or a model that loads slower than its callers' time
            # limit would never be there.
            del self._loads[model_id]
            load.task.cancel()
            self._changed()

    def _begin(self, model_id: str) -> _Load:
        load = self._loads[model_id] = _Load()
        context = contextvars.copy_context()
        load.task = asyncio.get_running_loop().create_task(
            self._run(model_id, load), name=f"load model {model_id}", context=context
        )
        load.task.add_done_callback(functools.partial(self._ended, model_id, load))
        self._changed()
        return load

    async def _run(self, model_id: str, load: _Load) -> Model:
        # The load is for all who wait: it has not the first one's time limit, and what it calls
        # is not cancelled with the first one, as it is no part of a copy.
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
            task.exception()  # seen: those who waited have it, or have gone

    async def _evict(self, model: Model) -> None:
        """Unload a model: now if nobody uses it, or does soon; else when they have ended."""
        if await model.free(PATIENCE_S):
            await _unload(model)
            return
        self._leaving.start(_unload_later(model))

    async def close(self) -> None:
        """Unload everything."""
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
        await model.unused()
    finally:
        await _unload(model)
