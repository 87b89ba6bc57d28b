"""Node services: one process of each on every node that should have it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .._cluster.protocol import Actor, ActorDied, ActorSpec, Cluster, Node
from .._plugins import PluginRecord
from ..errors import ConfigError
from ..status import ProxyStatus, ServiceStatusOverview
from ..types import NodeServiceSpec
from .desired import State

__all__ = ["ServiceGroup"]

log = logging.getLogger("alacarte.controller")
SERVICE_TARGET = "alacarte._control.service_actor:ServiceActor"
_RESTART_S = (0.1, 0.5, 2.0, 5.0)


@dataclass(eq=False)
class _Service:
    spec: NodeServiceSpec
    node: Node
    name: str
    status: ProxyStatus = ProxyStatus.STARTING
    message: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    actor: Actor | None = None
    life: asyncio.Task[None] | None = None
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    refusal: ConfigError | None = None

    @property
    def overview(self) -> ServiceStatusOverview:
        return ServiceStatusOverview(
            self.status,
            self.spec.name,
            self.node.node_id,
            self.facts.get("url", ""),
            self.message,
        )


class ServiceGroup:
    """Every node service of the instance. Lives on the controller's loop.

    Args:
        joined: Told the name of each service that follows the routes, before it starts.
        left: Told when such a service is gone.
    """

    def __init__(
        self,
        cluster: Cluster,
        state: State,
        plugins: tuple[PluginRecord, ...],
        joined: Callable[[str], None],
        left: Callable[[str], None],
    ) -> None:
        self._cluster = cluster
        self._state = state
        self._plugins = plugins
        self._joined = joined
        self._left = left
        self._services: dict[str, _Service] = {}

    @property
    def overviews(self) -> list[ServiceStatusOverview]:
        return [service.overview for service in self._services.values()]

    def place(self, spec: NodeServiceSpec, nodes: list[Node]) -> None:
        """Start what is missing on these nodes; one on each address, since they share ports."""
        seen: set[str] = set()
        for node in nodes:
            name = f"alacarte:{self._state.instance}:service:{spec.name}:{node.node_id}"
            if node.address in seen:
                continue
            seen.add(node.address)
            if name not in self._services:
                service = _Service(spec, node, name)
                self._services[name] = service
                service.life = asyncio.get_running_loop().create_task(self._live(service))

    async def settled(self) -> None:
        """Return when every service has come up once.

        Raises:
            ConfigError: One was refused what the user asked for, such as its port.
        """
        for service in list(self._services.values()):
            await service.settled.wait()
            if service.refusal is not None:
                raise service.refusal

    async def stop(self) -> None:
        """Drain and end every service."""
        services, self._services = list(self._services.values()), {}
        await asyncio.gather(*(self._end(service) for service in services))

    async def _live(self, service: _Service) -> None:
        """Keep one service up for as long as it is wanted."""
        failures = 0
        while True:
            try:
                await self._bring_up(service)
            except ConfigError as error:
                # The user must mend it: trying again would only repeat it.
                service.refusal = error
                service.status, service.message = ProxyStatus.UNHEALTHY, str(error)
                self._gone(service)
                service.settled.set()
                return
            except Exception as error:  # a plugin's code, or a process that does not come up
                service.message = f"{service.name} did not start: {error!r}"
                log.warning("%s", service.message)
            else:
                failures = 0
                service.status, service.message = ProxyStatus.HEALTHY, ""
                service.settled.set()
                assert service.actor is not None
                service.message = f"died: {await service.actor.closed()}"
                log.warning("%s %s", service.name, service.message)
            self._gone(service)
            service.status = ProxyStatus.UNHEALTHY
            await asyncio.sleep(_RESTART_S[min(failures, len(_RESTART_S) - 1)])
            failures += 1

    async def _bring_up(self, service: _Service) -> None:
        if service.spec.serves_routes:
            self._joined(service.name)
        if await self._adopted(service):
            return
        args: tuple[Any, ...] = (
            service.spec.target,
            self._state.secret,
            self._state.config,
        )
        service.actor = await self._cluster.start_actor(
            ActorSpec(
                service.name,
                SERVICE_TARGET,
                args,
                node_id=service.node.node_id,
                plugins=self._plugins,
            )
        )
        service.facts = dict(await service.actor.call("start"))

    async def _adopted(self, service: _Service) -> bool:
        """Whether one that a former controller started is there and works."""
        actor = await self._cluster.find_actor(service.name)
        if actor is None:
            return False
        try:
            facts = await actor.call("describe")
        except ActorDied:
            return False
        if facts is None:
            actor.kill()
            return False
        service.actor, service.facts = actor, facts
        return True

    async def _end(self, service: _Service) -> None:
        if service.life is not None:
            service.life.cancel()
        if service.actor is not None:
            try:
                async with asyncio.timeout(5.0):
                    await service.actor.call("stop")
            except (TimeoutError, ActorDied):
                pass
            except Exception as error:  # a plugin's code
                log.warning("%s did not stop cleanly: %r", service.name, error)
        self._gone(service)

    def _gone(self, service: _Service) -> None:
        if service.actor is not None:
            service.actor.kill()
            service.actor = None
        self._left(service.name)
