"""The queues of a batched function: one per instance and event loop, dropped with either."""

from __future__ import annotations

import asyncio
import weakref

from alacarte.context import current_replica, current_runtime
from alacarte.types import BatchObserver

from ._queue import BatchedFunction, Queue

__all__ = ["BoundQueues"]


class BoundQueues:
    """The queues of one batched function, created on demand and dropped with their owners.

    Pickles without its queues: a class that is defined in a script is sent to replicas by value,
    with its decorated methods and this object.
    """

    def __init__(self, target: BatchedFunction) -> None:
        self.target = target
        # By identity: instances need not be hashable (dataclasses are not), which weak mappings
        # require. `forget` removes an entry before its identity can be reused.
        self._queues: dict[tuple[int, int], Queue] = {}
        self._owners: dict[tuple[int, int], list[weakref.ref[object]]] = {}

    def __getstate__(self) -> dict[str, object]:
        return {"target": self.target, "_queues": {}, "_owners": {}}

    def __len__(self) -> int:
        return len(self._queues)

    def of(self, args: tuple[object, ...]) -> Queue:
        """Return the queue for a call with the given arguments on the running loop."""
        loop = asyncio.get_running_loop()
        owner = args[0] if self.target.parameters.is_method and args else None
        queue = self._queues.get((id(owner), id(loop)))
        return self._create(owner, loop) if queue is None else queue

    def _create(self, owner: object, loop: asyncio.AbstractEventLoop) -> Queue:
        key = (id(owner), id(loop))

        def forget(_: object) -> None:
            self._queues.pop(key, None)
            self._owners.pop(key, None)

        try:
            self._owners[key] = [
                weakref.ref(each, forget) for each in (owner, loop) if each is not None
            ]
        except TypeError:
            raise TypeError(
                f"{self.target.name}: instances of {type(owner).__qualname__} cannot be weakly "
                f"referenced; add '__weakref__' to its __slots__."
            ) from None
        queue = self._queues[key] = Queue(self.target, _observer(self.target))
        return queue


def _observer(target: BatchedFunction) -> BatchObserver | None:
    """Return the plugins' observer of this replica's batches, None if no plugin observes them."""
    replica, runtime = current_replica.get(), current_runtime.get()
    if replica is None or runtime is None:
        return None
    return runtime.observe("batcher", BatchObserver, replica.deployment_id, target.name)
