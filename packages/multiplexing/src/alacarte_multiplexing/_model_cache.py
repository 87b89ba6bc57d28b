"""The model cache of one replica: the models of all its loaders."""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable
from itertools import islice

from alacarte.context import ReplicaContext, current_replica
from alacarte.errors import ServeError

from ._model_store import ModelStore

__all__ = ["MAX_ADVERTISED", "Loader", "ModelCache", "current_cache"]

MAX_ADVERTISED = 1000
"""Maximum number of models that a replica advertises to routers, most recently used first."""

_caches: dict[str, ModelCache] = {}
"""Model caches by replica id: in the local cluster, replicas share a process."""


class Loader:
    """A user's loader with its limit. Contains no models, so that it pickles with the user's class.

    Attributes:
        function: The user's function; for a method, the unbound one.
        limit: Maximum number of models per replica and instance; -1 for no limit.
    """

    def __init__(self, function: Callable[..., Awaitable[object]], limit: int) -> None:
        self.function = function
        self.limit = limit


class ModelCache:
    """The model stores of one replica: one per loader and, for methods, per instance."""

    def __init__(self, replica: ReplicaContext) -> None:
        self.replica = replica
        # By identity, because instances need not be hashable.
        self._stores: dict[tuple[Loader, int], ModelStore] = {}
        self._owners: dict[tuple[Loader, int], weakref.ref[object]] = {}
        replica.on_close(self._close)

    def store(self, loader: Loader, owner: object = None) -> ModelStore:
        """Return the model store of a loader; for a method, the store of the instance `owner`."""
        store = self._stores.get((loader, id(owner)))
        return self._create(loader, owner) if store is None else store

    def _create(self, loader: Loader, owner: object) -> ModelStore:
        key = (loader, id(owner))
        load = loader.function
        if owner is not None:
            load = self._bound(key, owner)
        store = self._stores[key] = ModelStore(load, loader.limit, self._changed)
        return store

    def _bound(self, key: tuple[Loader, int], owner: object) -> Callable[[str], Awaitable[object]]:
        """Return the loader bound to its instance by a weak reference."""
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

        def load(model_id: str) -> Awaitable[object]:
            alive = reference()
            if alive is None:
                raise ServeError(
                    f"{function.__qualname__}: its instance was deleted before the load; keep a "
                    "reference to it."
                )
            return function(alive, model_id)

        return load

    def _changed(self) -> None:
        ids = (each for store in self._stores.values() for each in store.model_ids)
        self.replica.advertise("models", islice(ids, MAX_ADVERTISED))

    async def _close(self) -> None:
        for store in list(self._stores.values()):
            await store.close()
        _caches.pop(self.replica.replica_id, None)


def current_cache(caller: str) -> ModelCache:
    """Return the model cache of the current replica.

    Args:
        caller: Name of the called loader, for the error.

    Raises:
        RuntimeError: The caller runs outside of a replica.
    """
    replica = current_replica.get()
    if replica is None:
        raise RuntimeError(
            f"{caller} was called outside of a replica; call it in a deployment's method."
        )
    cache = _caches.get(replica.replica_id)
    if cache is None:
        cache = _caches[replica.replica_id] = ModelCache(replica)
    return cache
