"""The routers of a process: created with the first call, dropped after their deployment's end."""

from __future__ import annotations

import asyncio
import functools
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .._model.snapshots import deployment_key
from .._routing.router import Router
from ..actors import DeploymentSnapshot, SnapshotDelta
from ..layers import compose
from ..types import DeploymentId, DeploymentInfo, Service
from .layered_service import BuildLayers, Describe, LayeredService
from .subscription import Subscription

__all__ = ["LINGER_S", "MAX_DELETED", "RouterTable"]

LINGER_S = 5.0
"""Time that a deleted deployment is still watched, so that calls to it fail at once."""
MAX_DELETED = 64
"""Limit of deleted deployments that are still watched; the oldest are dropped first."""


class RouterTable:
    """A router for each deployment that this process calls, updated by its snapshots.

    The table keeps no router, key or timer of a deleted deployment. A service that a caller still
    holds stays usable: its next call brings the router back.

    Args:
        make: Creates the router of a deployment.
        layers: Returns the layers around calls to a deployment.
        describe: Returns a deployment's info for layers; None if no layer depends on options.
        subscription: The subscription of this process.

    Attributes:
        live: The routers in use.
    """

    def __init__(
        self,
        make: Callable[[DeploymentId], Router],
        layers: BuildLayers,
        describe: Describe | None,
        subscription: Subscription,
    ) -> None:
        self.live: dict[DeploymentId, Router] = {}
        self._make = make
        self._layers = layers
        self._describe = describe
        self._subscription = subscription
        self._cores: dict[DeploymentId, Service] = {}
        self._services: dict[DeploymentId, Service] = {}
        self._deleted: dict[DeploymentId, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        # Dropped routers that a caller may still use. The cores decide: an unused router is in a
        # reference cycle and lives until the garbage collector runs.
        self._dropped: weakref.WeakValueDictionary[DeploymentId, Router]
        self._dropped = weakref.WeakValueDictionary()
        self._dropped_cores: weakref.WeakValueDictionary[DeploymentId, Service]
        self._dropped_cores = weakref.WeakValueDictionary()
        self._layered: weakref.WeakValueDictionary[DeploymentId, LayeredService]
        self._layered = weakref.WeakValueDictionary()
        self._snapshots: dict[DeploymentId, DeploymentSnapshot] = {}

    def service(self, deployment: DeploymentId) -> Service:
        """Return the service of a deployment; create its router if necessary."""
        service = self._services.get(deployment)
        if service is None:
            core = self._follow_core(deployment)
            service = self._services[deployment] = self._wrap(deployment, core)
        return service

    def _wrap(self, deployment: DeploymentId, core: Service) -> Service:
        """Return a router's service, wrapped in its layers."""
        if self._describe is None:
            return core
        service = self._layered.get(deployment)
        if service is None:
            follow = functools.partial(self._follow_core, deployment)
            service = LayeredService(deployment, core, self._describe, self._layers, follow)
            self._layered[deployment] = service
            if deployment in self._snapshots:
                service.update(self._snapshots[deployment])
        return service

    def _follow_core(self, deployment: DeploymentId) -> Service:
        """Return the core service of a router that watches its deployment; see `_build_core`."""
        core = self._cores.get(deployment)
        if core is not None:
            return core
        core = self._dropped_cores.get(deployment)
        if core is None:
            router = self._make(deployment)
            core = self._build_core(router)
        else:
            router = self._dropped[deployment]
            router.reopen()
        self._adopt(router, core)
        return core

    def _build_core(self, router: Router) -> Service:
        """Return the service inside the layers that depend on options."""
        if self._describe is None:
            layers = self._layers(DeploymentInfo(router.deployment))
            if layers:
                return compose(router.service, [staged.layer for staged in layers])
        return functools.partial(router.service)  # weakly referenceable, unlike a bound method

    def is_deleted(self, deployment: DeploymentId) -> bool:
        """Return whether a deployment that was called no longer exists."""
        router = self.live.get(deployment)
        return router is None or router.is_deleted

    async def close(self, *reason: str) -> None:
        """Close all routers. Later calls fail, with the reason if one is given."""
        for router in [*self.live.values(), *self._dropped.values()]:
            await router.close(*reason)
        for service in list(self._layered.values()):
            service.close()

    def _adopt(self, router: Router, core: Service) -> None:
        deployment = router.deployment
        self.live[deployment] = router
        self._cores[deployment] = core
        self._dropped.pop(deployment, None)
        self._dropped_cores.pop(deployment, None)

        def apply(news: Any) -> None:
            snapshot = (
                news.snapshot if isinstance(news, SnapshotDelta) else replace(news, replicas=())
            )
            self._snapshots[deployment] = snapshot
            if deployment in self._layered:
                # Layers first: the router may send calls as soon as it has the snapshot.
                self._layered[deployment].update(snapshot)
            router.update(news)
            self._track_deletion(router)

        self._subscription.follow(deployment_key(deployment), apply)

    def _track_deletion(self, router: Router) -> None:
        """Track whether a router's deployment is deleted, and schedule its removal."""
        if not router.is_deleted:
            self._deleted.pop(router.deployment, None)
            return
        self._deleted.setdefault(router.deployment, self._loop.time())
        if len(self._deleted) > MAX_DELETED:
            self._drop_deleted()
        if self._timer is None:
            self._timer = self._loop.call_later(LINGER_S, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._drop_deleted()
        if self._deleted:
            self._timer = self._loop.call_later(LINGER_S, self._on_timer)

    def _drop_deleted(self) -> None:
        now = self._loop.time()
        for deployment, since in list(self._deleted.items()):
            # Timers may fire a little early.
            if now - since < LINGER_S - 0.1 and len(self._deleted) <= MAX_DELETED:
                return
            if self.live[deployment].is_idle:
                del self._deleted[deployment]
                self._drop(deployment)

    def _drop(self, deployment: DeploymentId) -> None:
        self._subscription.unfollow(deployment_key(deployment))
        self._services.pop(deployment, None)
        self._snapshots.pop(deployment, None)
        if deployment in self._layered:
            self._layered[deployment].forget()
        router = self._dropped[deployment] = self.live.pop(deployment)
        self._dropped_cores[deployment] = self._cores.pop(deployment)
        router.retire(self._readopt)

    def _readopt(self, router: Router) -> None:
        """Adopt a dropped router again: a caller has kept its service and calls it."""
        # The call holds a reference to the core, so the weak reference is alive.
        self._adopt(router, self._dropped_cores[router.deployment])
