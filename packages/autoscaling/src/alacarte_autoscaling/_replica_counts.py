"""Stored replica counts of autoscaled deployments, for the next controller.

A count is stored before the controller applies the count. Counts have a separate key, since they
change often and the other state is large.
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
    """A deployment's number of replicas, and the digest of its autoscaling configuration."""

    replicas: int
    config: str


def read_counts(data: bytes | None) -> dict[DeploymentId, StoredCount]:
    """Return the counts that a previous controller stored."""
    return {
        DeploymentId(app, name): StoredCount(replicas, config)
        for app, name, replicas, config in (json.loads(data) if data else ())
    }


class ReplicaCounts:
    """The replica counts of one instance. Runs on the controller's event loop.

    Args:
        context: Stores and applies the counts, and holds the counts of the previous controller.
    """

    def __init__(self, context: ScalerContext) -> None:
        self._context = context
        self._counts = read_counts(context.recovered)
        self._unsaved: dict[DeploymentId, None] = {}
        self._saving: asyncio.Task[None] | None = None

    def begin(
        self, deployment: DeploymentId, scaling: AutoscalingConfig, current: int | None
    ) -> int:
        """Return the number of replicas of a deployment that is being deployed.

        An existing count stays, within the bounds. A new deployment starts with `start_replicas`,
        and so does a deployment with a changed configuration that sets `initial_replicas`.

        Args:
            current: The number of replicas of a deployment that did not scale before; None for a
                new deployment.
        """
        digest = _digest(scaling)
        stored = self._counts.get(deployment)
        count = current if stored is None else stored.replicas
        is_changed = stored is None or stored.config != digest
        if count is None or (is_changed and scaling.initial_replicas is not None):
            count = scaling.start_replicas
        replicas = within(scaling, count)
        if stored != (replicas, digest):
            self._counts[deployment] = StoredCount(replicas, digest)
            self._save(deployment)
        return replicas

    def set(self, deployment: DeploymentId, replicas: int) -> None:
        """Store a deployment's new count, then apply the count."""
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
            # Wait instead of cancelling: a cancelled write could still arrive after the deletion.
            await asyncio.wait([self._saving], timeout=_LAST_WRITE_S)
        await self._context.clear()

    def _save(self, deployment: DeploymentId) -> None:
        self._unsaved[deployment] = None
        if self._saving is None or self._saving.done():
            self._saving = asyncio.get_running_loop().create_task(self._store())

    async def _store(self) -> None:
        """Store all changed counts, with as few writes as possible."""
        while self._unsaved:
            changed, self._unsaved = self._unsaved, {}
            rows = [[*deployment, *stored] for deployment, stored in self._counts.items()]
            try:
                await self._context.store(json.dumps(rows).encode())
            except Exception:  # any error of the cluster: retry
                log.exception("cannot store the replica counts; retrying in %g s", _RETRY_S)
                self._unsaved = {**changed, **self._unsaved}
                await asyncio.sleep(_RETRY_S)
                continue
            for deployment in changed:
                # A newer change of the count is applied after it has been stored.
                if deployment in self._counts and deployment not in self._unsaved:
                    self._context.scale(deployment, self._counts[deployment].replicas)


def _digest(config: AutoscalingConfig) -> str:
    text = json.dumps(config.model_dump(), sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
