"""How many replicas each deployment that scales has, so that a new controller goes on with it.

A number is stored before it is acted on, like all that the controller does; under a key of its own,
since it changes often and the rest of the state is large.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable
from typing import NamedTuple

from .._cluster.protocol import Cluster
from .._model.specs import DeploymentSpec
from ..config import AutoscalingConfig
from ..types import DeploymentId
from .scaling_rule import within

__all__ = ["NUMBERS_KEY", "Numbers"]

log = logging.getLogger("alacarte.controller")
NUMBERS_KEY = "numbers"
_RETRY_S = 0.5
_LAST_S = 5.0


class _Stored(NamedTuple):
    number: int
    config: str
    """Digest of the configuration it was reached under."""


class Numbers:
    """The numbers of one instance. Lives on the controller's loop.

    Args:
        act: Called with a deployment and its number, once that is stored.
    """

    def __init__(self, cluster: Cluster, act: Callable[[DeploymentId, int], None]) -> None:
        self._cluster = cluster
        self._act = act
        self._numbers: dict[DeploymentId, _Stored] = {}
        self._unsaved: dict[DeploymentId, None] = {}
        self._saving: asyncio.Task[None] | None = None

    async def load(self) -> list[DeploymentId]:
        """Take up what a former controller stored; return whose numbers these are."""
        data = await self._cluster.get(NUMBERS_KEY)
        for app, name, number, config in json.loads(data) if data else ():
            self._numbers[DeploymentId(app, name)] = _Stored(number, config)
        return list(self._numbers)

    def begin(self, spec: DeploymentSpec, current: int | None) -> int:
        """Return how many replicas a deployment has from now on, as it is deployed.

        What it has stays, within bounds. It begins with its first number when it is new, and again
        when its autoscaling has changed and names an `initial_replicas`.

        Args:
            current: How many it has, where it did not scale before; None for a new one.
        """
        scaling = spec.config.autoscaling_config
        assert scaling is not None
        digest = _digest(scaling)
        stored = self._numbers.get(spec.id)
        has = current if stored is None else stored.number
        is_changed = stored is None or stored.config != digest
        if has is None or (is_changed and scaling.initial_replicas is not None):
            has = scaling.start_replicas
        number = within(scaling, has)
        if stored != (number, digest):
            self._numbers[spec.id] = _Stored(number, digest)
            self._save(spec.id)
        return number

    def set(self, deployment: DeploymentId, number: int) -> None:
        """Store a deployment's new number, then act on it."""
        self._numbers[deployment] = self._numbers[deployment]._replace(number=number)
        self._save(deployment)

    def forget(self, deployment: DeploymentId) -> None:
        """Store no number of it any more."""
        if self._numbers.pop(deployment, None) is not None:
            self._save(deployment)

    async def clear(self) -> None:
        """Store nothing any more."""
        self._numbers.clear()
        self._unsaved.clear()
        if self._saving is not None:
            # Not cancelled: what is on its way would arrive after all, and after the deletion.
            await asyncio.wait([self._saving], timeout=_LAST_S)
        await self._cluster.delete(NUMBERS_KEY)

    def _save(self, deployment: DeploymentId) -> None:
        self._unsaved[deployment] = None
        if self._saving is None or self._saving.done():
            self._saving = asyncio.get_running_loop().create_task(self._store())

    async def _store(self) -> None:
        """Store all that has changed, in as few writes as it takes."""
        while self._unsaved:
            changed, self._unsaved = self._unsaved, {}
            rows = [[*deployment, *stored] for deployment, stored in self._numbers.items()]
            try:
                await self._cluster.put(NUMBERS_KEY, json.dumps(rows).encode())
            except Exception:  # whatever the cluster answers, it is asked again
                log.exception("the numbers of replicas could not be stored")
                self._unsaved = {**changed, **self._unsaved}
                await asyncio.sleep(_RETRY_S)
                continue
            for deployment in changed:
                # One that has changed meanwhile is acted on when that is stored.
                if deployment in self._numbers and deployment not in self._unsaved:
                    self._act(deployment, self._numbers[deployment].number)


def _digest(config: AutoscalingConfig) -> str:
    text = json.dumps(config.model_dump(), sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
