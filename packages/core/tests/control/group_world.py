"""A replica group with fake processes on a fake cluster, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from alacarte._cluster.cluster_protocol import ActorDied, ActorSpec
from alacarte._control.replica_group import ReplicaGroup
from alacarte._control.start_gate import StartGate
from alacarte._model.deployment_spec import DeploymentSpec
from alacarte.actors import Liveness, Membership, ReplicaInfo
from alacarte.config import DeploymentConfig
from alacarte.errors import DeployError
from alacarte.status import DeploymentStatus, DeploymentStatusOverview
from alacarte.types import Address, DeploymentId

ME = DeploymentId("shop", "Model")
WELL = Liveness(0.1, 0, 0, 5)
Main = Callable[[], Coroutine[Any, Any, None]]


class Process:
    """An actor whose user code is `health` and `constructor`; None for no code."""

    def __init__(self, cluster: Cluster, spec: ActorSpec) -> None:
        self.name = spec.name
        self.spec, self.membership = spec.args
        self.cluster = cluster
        self.end: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.health: Exception | None = None
        self.check_hangs = False
        self.liveness_is: Liveness | None = WELL
        self.frozen = False
        self.stopped = False
        self.limit_s = 0.0
        self.config = self.spec.user_config

    async def call(self, method: str, *args: Any) -> Any:
        if self.end.done():
            raise ActorDied("gone")
        if self.frozen:
            await asyncio.Event().wait()
        return await getattr(self, method)(*args)

    async def start(self) -> ReplicaInfo:
        await self.cluster.constructor()
        if self.spec.user_config == "bad":
            raise DeployError("ValueError: cannot take this\n  File user.py")
        return ReplicaInfo(
            ME, self.spec.replica_id, self.spec.version, Address("/x", "host", None), "node",
            7, self.spec.max_ongoing, self.spec.user_config,
            self.cluster.has_health_check,
        )  # fmt: skip

    async def check_health(self) -> None:
        if self.check_hangs:
            await asyncio.Event().wait()
        if self.health is not None:
            raise self.health

    async def probe_liveness(self) -> Liveness:
        if self.liveness_is is None:
            await asyncio.Event().wait()
        return self.liveness_is

    async def reconfigure(
        self, max_ongoing: int, user_config: Any, options: Mapping[str, Any]
    ) -> None:
        if user_config == "bad":
            raise DeployError("ValueError: cannot take this\n  File user.py")
        if user_config == "endless":
            await asyncio.Event().wait()
        self.config = user_config

    async def stop(self, limit_s: float) -> None:
        self.stopped = True
        self.limit_s = limit_s

    async def wait_closed(self) -> str:
        return await asyncio.shield(self.end)

    def kill(self) -> None:
        if not self.end.done():
            self.end.set_result("killed")


class Cluster:
    """A cluster that starts processes at once, or when the test lets it."""

    kind = "test"

    def __init__(self) -> None:
        self.processes: list[Process] = []
        self.places = asyncio.Event()
        self.places.set()
        self.lacks: dict[str, tuple[float, float]] = {}
        self.has_health_check = True
        self.ended: list[tuple[str, int]] = []
        self.constructor: Callable[[], Coroutine[Any, Any, None]] = return_at_once

    async def start_actor(self, spec: ActorSpec) -> Process:
        await self.places.wait()
        process = Process(self, spec)
        self.processes.append(process)
        return process

    async def end_process(self, node_id: str, pid: int) -> None:
        self.ended.append((node_id, pid))

    async def missing(self, spec: ActorSpec) -> dict[str, tuple[float, float]]:
        return self.lacks

    @property
    def alive(self) -> list[Process]:
        return [process for process in self.processes if not process.end.done()]


async def return_at_once() -> None:
    """Run a constructor without effects."""


class World:
    """A group that is reconciled after every change, as the controller does."""

    def __init__(self, **options: Any) -> None:
        self.cluster = Cluster()
        self.gate = StartGate()
        self.spec = spec(**options)
        self.dirty = asyncio.Event()
        self.statuses: list[DeploymentStatus] = []
        options = {"max_message_bytes": 1, "transport": "unix", "actor_start_timeout_s": 180.0}
        config = {"cluster": options}
        self.group = ReplicaGroup(
            ME,
            self.cluster,
            Membership("i", b"s", config),
            (),
            self.gate,
            lambda _: self.dirty.set(),
            lambda *_: None,
        )
        self.group.set_spec(self.spec)
        self.task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while True:
            pause = self.group.reconcile()
            status = self.group.refresh_status().status
            if not self.statuses or self.statuses[-1] is not status:
                self.statuses.append(status)
            try:
                async with asyncio.timeout(pause and max(pause, 0.001)):
                    await self.dirty.wait()
            except TimeoutError:
                continue
            self.dirty.clear()

    @property
    def overview(self) -> DeploymentStatusOverview:
        self.group.refresh_status()
        return self.group.full_overview

    def want(self, wanted: DeploymentSpec | None) -> None:
        self.group.set_spec(wanted)
        self.dirty.set()

    async def until(self, condition: Callable[[], object], limit_s: float = 1000.0) -> None:
        async with asyncio.timeout(limit_s):
            while not condition():
                await asyncio.sleep(0.05)

    async def healthy(self) -> None:
        await self.until(lambda: self.overview.status is DeploymentStatus.HEALTHY)

    async def close(self) -> None:
        self.task.cancel()
        self.group.kill()
        for _ in range(5):
            await asyncio.sleep(0)


def spec(version: str = "v1", **options: Any) -> DeploymentSpec:
    return DeploymentSpec(ME, version, b"", b"", False, DeploymentConfig(**options))
