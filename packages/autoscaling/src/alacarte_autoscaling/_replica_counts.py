"""The stored replica counts of deployments that scale, for the next controller.

A count is stored before the controller acts on it, like every change; under a key of its own, since
counts change often and the rest of the state is large.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from typing import NamedTuple

from alacarte.types import DeploymentId, ScalerContext

from ._scaling_rule import within
from .config import AutoscalingConfig

__all__ = ["ReplicaCounts", "StoredCount", "read_counts"]

log = logging.getLogger("alacarte.controller")
_RETRY_S = 0.5
_LAST_WRITE_S = 5.0


class StoredCount(NamedTuple):
    """A deployment's count, and a digest of the configuration it was reached under."""

    replicas: int
    config: str


def read_counts(data: bytes | None) -> dict[DeploymentId, StoredCount]:
    """Return the counts that a former controller stored."""
    return {
        DeploymentId(app, name): StoredCount(replicas, config)
        for app, name, replicas, config in (json.loads(data) if data else ())
    }


class ReplicaCounts:
    """The counts of one instance. Lives on the controller's loop.

    Args:
        context: Stores the counts, acts on them, and has those that a former controller stored.
    """

    def __init__(self, context: ScalerContext) -> None:
        self._context = context
        self._counts = read_counts(context.recovered)
        self._unsaved: dict[DeploymentId, None] = {}
        self._saving: asyncio.Task[None] | None = None

    def begin(
        self, deployment: DeploymentId, scaling: AutoscalingConfig, current: int | None
    ) -> int:
        """Return how many replicas a deployment has from now on, as it is deployed.

        The count stays, within bounds. A deployment begins with its first count when it is new, and
        again when its autoscaling has changed and names an `initial_replicas`.

        Args:
            current: How many it has, where it did not scale before; None for a new one.
        """
        digest = _digest(scaling)
        stored = self._counts.get(deployment)
        has = current if stored is None else stored.replicas
        is_changed = stored is None or stored.config != digest
        if has is None or (is_changed and scaling.initial_replicas is not None):
            has = scaling.start_replicas
        replicas = within(scaling, has)
        if stored != (replicas, digest):
            self._counts[deployment] = StoredCount(replicas, digest)
            self._save(deployment)
        return replicas

    def set(self, deployment: DeploymentId, replicas: int) -> None:
        """Store a deployment's new count, then act on it."""
        self._counts[deployment] = self._counts[deployment]._replace(replicas=replicas)
        self._save(deployment)

    def forget(self, deployment: DeploymentId) -> None:
        """Delete a deployment's count."""
        if self._counts.pop(deployment, None) is not None:
            self._save(deployment)

    async def clear(self) -> None:
        """Delete all counts."""
        self._counts.clear()
        self._unsaved.clear()
        if self._saving is not None:
            # Not cancelled: what is on its way would arrive after all, and after the deletion.
            await asyncio.wait([self._saving], timeout=_LAST_WRITE_S)
        await self._context.clear()

    def _save(self, deployment: DeploymentId) -> None:
        self._unsaved[deployment] = None
        if self._saving is None or self._saving.done():
            self._saving = asyncio.get_running_loop().create_task(self._store())

    async def _store(self) -> None:
        """Store all changed counts, in as few writes as possible."""
        while self._unsaved:
            changed, self._unsaved = self._unsaved, {}
            rows = [[*deployment, *stored] for deployment, stored in self._counts.items()]
            try:
                await self._context.store(json.dumps(rows).encode())
            except Exception:  # whatever the cluster answers, it is asked again
                log.exception("the counts of replicas could not be stored")
                self._unsaved = {**changed, **self._unsaved}
                await asyncio.sleep(_RETRY_S)
                continue
            for deployment in changed:
                # A count that has changed meanwhile is acted on when the change is stored.
                if deployment in self._counts and deployment not in self._unsaved:
                    self._context.scale(deployment, self._counts[deployment].replicas)


def _digest(config: AutoscalingConfig) -> str:
    text = json.dumps(config.model_dump(), sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
