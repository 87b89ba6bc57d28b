"""The clients of an instance: drivers that deploy, and processes that make calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from alacarte._cluster.cluster_protocol import ActorDied, ClusterUnresponsive
from alacarte._model.deployment_spec import ApplicationSpec, DeploymentSpec
from alacarte._process.process_runtime import ProcessRuntime
from alacarte.calls import python_call, python_result
from alacarte.errors import DeployError, ServeError
from alacarte.serve._controller_connection import ControllerConnection
from alacarte.types import Resource

from .ledger import Request
from .operations import Operation, bounds
from .scenario import Planned
from .world import World, instance_config, plugins

__all__ = ["Caller", "Driver", "begun", "tried"]

_RETRY_PAUSE_S = 0.5
T = TypeVar("T")


async def begun(world: World) -> ControllerConnection:
    """Return a connection to the instance; start the instance if necessary."""
    connection = ControllerConnection(world.cluster, plugins())
    while not await tried(connection.join(instance_config())):
        await asyncio.sleep(_RETRY_PAUSE_S)
    return connection


async def tried(work: Any) -> Any:
    """Return an awaitable's result, None if the cluster failed it."""
    try:
        return await work
    except (ActorDied, ClusterUnresponsive):
        return None


async def _watched(world: World, work: Coroutine[Any, Any, None]) -> None:
    """Run a process's coroutine, which must not fail."""
    try:
        await work
    except Exception as error:
        world.ledger.find("only what went wrong is told", repr(error))


class Driver:
    """A program that deploys: one operation after the other, each until its end."""

    def __init__(self, world: World, name: str, ops: list[tuple[float, Operation]]) -> None:
        self.is_done = False
        self._world = world
        self._name = name
        self._ops = ops
        self._next = 0
        self._started = world.now
        self._run()

    def die(self) -> None:
        """End the driver at any point. Its user starts it again; completed operations stay."""
        if not self.is_done:
            self.process.kill()
            self._world.network.end_of(self.process)
            self._run()

    def _run(self) -> None:
        self.process = self._world.process(self._name)
        self.process.post(0.5, self._begin)

    def _begin(self) -> None:
        self.task = self.process.create_task(_watched(self._world, self._work()))

    async def _work(self) -> None:
        world = self._world
        connection = await begun(world)
        while self._next < len(self._ops):
            at, op = self._ops[self._next]
            await asyncio.sleep(max(self._started + at - world.now, 0.0))
            if op.begun_at < 0:
                world.operations.begin(op, world.now)
            world.ledger.note("wish", op.app, _told(op))
            await self._ask(connection, op)
            world.ledger.note("done", op.app)
            self._next += 1
        self.is_done = True

    async def _ask(self, connection: ControllerConnection, op: Operation) -> None:
        world = self._world
        kind = "application"
        if op.specs is None:
            await self._until(connection.controller().delete, kind, op.app)
            op.stored_at = world.now
            await self._until(connection.controller().deleted, kind, op.app)
        else:
            spec = ApplicationSpec(op.app, None, op.specs[-1].id, op.specs)
            while True:
                told = await self._stored(connection, Resource(kind, op.app, spec))
                op.stored_at = world.now if op.stored_at < 0 else op.stored_at
                try:
                    await self._until(connection.controller().applied, kind, op.app, *told)
                except DeployError as error:
                    if not op.is_valid:
                        break
                    if not world.ledger.has_excuse(op):
                        world.ledger.find("what can be started is started", op.app, error)
                        break
                else:
                    if not op.is_valid:
                        world.ledger.find("what does not start is said not to", op.app)
                    break
        op.done_at = world.now

    async def _stored(self, connection: ControllerConnection, resource: Resource) -> list[str]:
        while True:
            try:
                return await connection.store({}, [resource])
            except (ActorDied, ClusterUnresponsive):
                await asyncio.sleep(_RETRY_PAUSE_S)

    async def _until(self, ask: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Repeat a call as `serve` does, and after failures of the cluster, as a user would."""
        while True:
            try:
                return await ask(*args)
            except (ActorDied, ClusterUnresponsive):
                await asyncio.sleep(_RETRY_PAUSE_S)


class Caller:
    """A process that makes calls, as a proxy does."""

    def __init__(self, world: World, name: str, requests: list[Planned]) -> None:
        self.process = world.process(name)
        self.runtime: ProcessRuntime | None = None
        self.left = len(requests)
        self._world = world
        self._requests = requests
        self.process.post(0.0, self._begin)

    def _begin(self) -> None:
        self.task = self.process.create_task(_watched(self._world, self._work()))

    async def _work(self) -> None:
        world = self._world
        started = world.now
        self.runtime = (await begun(world)).runtime
        loop = asyncio.get_running_loop()
        running = set()
        for planned in self._requests:
            await asyncio.sleep(max(started + planned.at - world.now, 0.0))
            task = loop.create_task(self._call(self.runtime, planned.request, planned.work_s))
            running.add(task)
            task.add_done_callback(running.discard)

    async def _call(self, runtime: ProcessRuntime, request: Request, work_s: float) -> None:
        ledger = self._world.ledger
        request.caller = self.process
        request.issued_at = self._world.now
        ledger.issued(request)
        call = python_call(
            "__call__",
            (request.number, work_s),
            {},
            timeout_s=request.timeout_s,
            idempotent=request.idempotent,
            request_id=str(request.number),
        )
        try:
            reply = await runtime.service(request.deployment)(call)
        except (ServeError, Exception) as error:
            ledger.ended(request, None, error)
        else:
            ledger.ended(request, python_result(reply), None)
        self.left -= 1


def _told(op: Operation) -> str:
    if op.specs is None:
        return "nothing"
    return ", ".join(
        f"{spec.version} x{_number(spec)} {spec.config.user_config}" for spec in op.specs
    ) + ("" if op.is_valid else " (bad)")


def _number(spec: DeploymentSpec) -> str:
    low, high = bounds(spec)
    return str(low) if low == high else f"{low} to {high}"
