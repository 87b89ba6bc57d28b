"""Whose queue a call goes to: one for each instance and event loop, gone when either is."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

from alacarte.context import current_replica, current_runtime
from alacarte.types import BatchObserver

from ._queue import Queue, Target

__all__ = ["BoundQueues"]


class BoundQueues:
    """The queues of one batched function, made when first needed and gone with their owners.

    It pickles without them, since classes that are defined in a script are sent to replicas
    whole, the decorated method and this object included.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        # By identity, since instances need not be hashable (a dataclass is not), and weak
        # mappings ask for it. An entry goes before the identity can be used again.
        self._queues: dict[tuple[int, int], Queue] = {}
        self._owners: dict[tuple[int, int], list[weakref.ref[Any]]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"target": self.target, "_queues": {}, "_owners": {}}

    def __len__(self) -> int:
        return len(self._queues)

    def of(self, args: tuple[Any, ...]) -> Queue:
        """Return the queue for a call with these arguments, in the running loop."""
        loop = asyncio.get_running_loop()
        owner = args[0] if self.target.parameters.is_method and args else None
        queue = self._queues.get((id(owner), id(loop)))
        return self._create(owner, loop) if queue is None else queue

    def _create(self, owner: Any, loop: asyncio.AbstractEventLoop) -> Queue:
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


def _observer(target: Target) -> BatchObserver | None:
    """Return what plugins observe of the batches of this replica; None where none asks."""
    replica, runtime = current_replica.get(), current_runtime.get()
    if replica is None or runtime is None:
        return None
    return runtime.observe("batcher", BatchObserver, replica.deployment_id, target.name)
