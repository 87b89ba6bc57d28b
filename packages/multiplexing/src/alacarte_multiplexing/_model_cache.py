"""All the models of one replica, whichever loaders they came from."""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Any

from alacarte.context import ReplicaContext, current_replica
from alacarte.errors import ServeError

from ._model_store import ModelStore

__all__ = ["MAX_ADVERTISED", "Loader", "ModelCache", "current_cache"]

MAX_ADVERTISED = 1000
"""Models that routers are told of: those asked for last."""

_shelves: dict[str, ModelCache] = {}
"""By replica: in the local cluster several share this process."""


class Loader:
    """A user's loader with its limit. Holds no models, so that it pickles with the user's class.

    Attributes:
        function: As the user wrote it; a method's is not bound.
        limit: Models it may hold in a replica, for each object; -1 for any number.
    """

    def __init__(self, function: Callable[..., Awaitable[Any]], limit: int) -> None:
        self.function = function
        self.limit = limit


class ModelCache:
    """The stores of one replica: one for each loader, and for each object where it is a method."""

    def __init__(self, replica: ReplicaContext) -> None:
        self.replica = replica
        # By identity, since objects need not be hashable.
        self._stores: dict[tuple[Loader, int], ModelStore] = {}
        self._owners: dict[tuple[Loader, int], weakref.ref[Any]] = {}
        replica.on_close(self._close)

    def store(self, loader: Loader, owner: Any = None) -> ModelStore:
        """Return the store of a loader's models, for this object if it is a method."""
        store = self._stores.get((loader, id(owner)))
        return self._create(loader, owner) if store is None else store

    def _create(self, loader: Loader, owner: Any) -> ModelStore:
        key = (loader, id(owner))
        load = loader.function
        if owner is not None:
            load = self._bound(key, owner)
        store = self._stores[key] = ModelStore(load, loader.limit, self._changed)
        return store

    def _bound(self, key: tuple[Loader, int], owner: Any) -> Callable[[str], Awaitable[Any]]:
        """Return the loader bound to its object, which it does not keep alive."""
        function = key[0].function

        def forget(_: object) -> None:
            self._stores.pop(key, None)
            self._owners.pop(key, None)

        try:
            reference = self._owners[key] = weakref.ref(owner, forget)
        except TypeError:
            raise TypeError(
                f"{function.__qualname__}: instances of {type(owner).__qualname__} cannot be "
                "weakly referenced; add '__weakref__' to its __slots__."
            ) from None

        def load(model_id: str) -> Awaitable[Any]:
            alive = reference()
            if alive is None:
                raise ServeError(f"{function.__qualname__}: its object is gone.")
            return function(alive, model_id)

        return load

    def _changed(self) -> None:
        ids = (each for store in self._stores.values() for each in store.model_ids)
        self.replica.advertise("models", islice(ids, MAX_ADVERTISED))

    async def _close(self) -> None:
        for store in list(self._stores.values()):
            await store.close()
        _shelves.pop(self.replica.replica_id, None)


def current_cache(asked: str) -> ModelCache:
    """Return the shelf of the replica that calls this.

    Args:
        asked: What was called, for the error.

    Raises:
        RuntimeError: Not called in a replica.
    """
    replica = current_replica.get()
    if replica is None:
        raise RuntimeError(
            f"{asked} was called outside of a replica; models are loaded in replicas only."
        )
    shelf = _shelves.get(replica.replica_id)
    if shelf is None:
        shelf = _shelves[replica.replica_id] = ModelCache(replica)
    return shelf
