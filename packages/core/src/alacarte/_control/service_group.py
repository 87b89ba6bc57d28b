"""Node services: their processes, on every node that should have them."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from .._cluster.actor_names import service_group
from .._cluster.cluster_protocol import (
    Actor,
    ActorDied,
    ActorSpec,
    Cluster,
    ClusterUnresponsive,
    Node,
    NotStarted,
)
from .._cluster.stubs import stub
from .._plugins import Plugins
from ..actors import ActorUnresponsive, Membership, NodeServiceProtocol
from ..aio import TaskSet
from ..errors import ConfigError, NotFoundError, ServeError
from ..foreign import describe_error
from ..status import ProxyStatus, ServiceStatusOverview
from ..types import NodeServiceSpec, ProcessInfo

__all__ = ["ServiceGroup", "WantedService"]

log = logging.getLogger("alacarte.controller")
SERVICE_TARGET = "alacarte._control.service_actor:ServiceActor"
_RESTART_S = (0.1, 0.5, 2.0, 5.0)
_UNSETTLED = 2
"""Failed starts for which whoever starts the instance waits."""
_END_S = 5.0
"""For what is in progress when the service ends on a node."""


@dataclass(frozen=True)
class WantedService:
    """A service, the nodes it should run on, and how many processes of it each has."""

    spec: NodeServiceSpec
    nodes: Sequence[Node]
    processes: int


@dataclass(eq=False)
class _Process:
    """One that has started."""

    actor: Actor
    facts: dict[str, str]


@dataclass(eq=False)
class _Slot:
    """A place for one process, and whoever is in it.

    Attributes:
        group: Names the service on its node; the name of each of its processes begins so.
        facts: Of the process that was up last.
    """

    spec: NodeServiceSpec
    node: Node
    index: int
    group: str
    status: ProxyStatus = ProxyStatus.STARTING
    message: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    process: _Process | None = None
    life: asyncio.Task[None] | None = None
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    refusal: ConfigError | None = None

    @property
    def name(self) -> str:
        return f"{self.group}:{self.index}"

    def process_info(self, name: str) -> ProcessInfo:
        """Return what a process in this place, of that name, tells plugins about itself."""
        kind: Literal["proxy", "service"] = "proxy" if self.spec.is_ingress else "service"
        return ProcessInfo(kind, name, self.node.node_id, self.spec.name)

    @property
    def overview(self) -> ServiceStatusOverview:
        return ServiceStatusOverview(
            self.status,
            self.spec.name,
            self.node.node_id,
            self.facts.get("url", ""),
            self.message,
            self.index,
        )


class ServiceGroup:
    """Every node service of the instance. Lives on the controller's loop.

    Args:
        membership: What each process is handed.
        joined: Told the name of each process that follows the routes, before it starts.
        left: Told when such a process is gone, or on its way out.
    """

    def __init__(
        self,
        cluster: Cluster,
        membership: Membership,
        plugins: Plugins,
        joined: Callable[[str], None],
        left: Callable[[str], None],
    ) -> None:
        self._cluster = cluster
        self._membership = membership
        self._plugins = plugins
        self._joined = joined
        self._left = left
        self._slots: dict[str, _Slot] = {}
        self._leaving: dict[str, ServiceStatusOverview] = {}
        self._ending = TaskSet()
        self._turns: dict[str, asyncio.Lock] = {}
        self._restarting = asyncio.Lock()

    @property
    def overviews(self) -> dict[str, ServiceStatusOverview]:
        """Every process, as `ServeStatus.services` has them."""
        found = {_key(slot.overview): slot.overview for slot in self._slots.values()}
        return found | {f"{_key(each)}/old": each for each in self._leaving.values()}

    @property
    def by_node(self) -> dict[str, ServiceStatusOverview]:
        """The first process on each node: HTTP's, or else another ingress's, or else any."""
        found: dict[str, ServiceStatusOverview] = {}
        order = sorted(self._slots.values(), key=_rank)
        for slot in order:
            found.setdefault(slot.node.node_id, slot.overview)
        return found

    def place(self, wanted: Sequence[WantedService]) -> None:
        """Start what is missing, and end what is on nodes that are gone."""
        slots = {slot.name: slot for each in wanted for slot in self._wanted_slots(each)}
        for name in self._slots.keys() - slots.keys():
            self._vacate(self._slots.pop(name))
        for name, slot in slots.items():
            if name not in self._slots:
                self._slots[name] = slot
                self._begin(slot)

    def _wanted_slots(self, wanted: WantedService) -> Iterator[_Slot]:
        def group(node: Node) -> str:
            return service_group(self._membership.instance, wanted.spec.name, node.node_id)

        seen: set[str] = set()
        # Nodes of one address share ports, so one of them has the service: whichever has it now.
        for node in sorted(wanted.nodes, key=lambda node: f"{group(node)}:0" not in self._slots):
            if node.address in seen:
                continue
            seen.add(node.address)
            for index in range(wanted.processes):
                yield _Slot(wanted.spec, node, index, group(node))

    async def settled(self) -> None:
        """Return when every process has come up once.

        Raises:
            ConfigError: One was refused what the user asked for, such as its port.
        """
        for slot in list(self._slots.values()):
            await slot.settled.wait()
            if slot.refusal is not None:
                raise slot.refusal

    async def restart(self, service: str, drain_s: float) -> None:
        """Put a successor in the place of each process, one after the other.

        Each begins before its predecessor stops taking work; that one then has `drain_s` for
        what it has accepted. Returns when the last predecessor is gone.

        Args:
            service: Which one; "" for all.

        Raises:
            NotFoundError: No service of that name runs.
            ServeError: A successor did not start; its predecessor goes on, and so do the others.
        """
        async with self._restarting:
            slots = [slot for slot in self._slots.values() if service in ("", slot.spec.name)]
            if service and not slots:
                running = sorted({slot.spec.name for slot in self._slots.values()})
                raise NotFoundError(f"no node service {service!r} runs; there are {running}.")
            ends = []
            try:
                for slot in slots:
                    old = await self._succeed(slot)
                    if old is not None:
                        end = self._end(old, slot, drain_s, replaced=True)
                        ends.append(self._in_background(end))
            finally:
                await asyncio.gather(*ends)

    async def stop(self) -> None:
        """Drain and end every process."""
        slots, self._slots = list(self._slots.values()), {}
        for slot in slots:
            self._vacate(slot)
        while self._ending:
            await asyncio.gather(*self._ending)

    def _begin(self, slot: _Slot, process: _Process | None = None) -> None:
        slot.life = asyncio.get_running_loop().create_task(self._live(slot, process))

    def _vacate(self, slot: _Slot) -> None:
        if slot.life is not None:
            slot.life.cancel()
        process, slot.process = slot.process, None
        if process is not None:
            self._in_background(self._end(process, slot, _END_S, replaced=False))
        slot.settled.set()

    async def _live(self, slot: _Slot, process: _Process | None) -> None:
        """Keep one place filled for as long as it is wanted."""
        failures = 0
        while True:
            try:
                process = process or await self._adopted(slot) or await self._started(slot)
            except ConfigError as error:
                slot.status, slot.message = ProxyStatus.UNHEALTHY, str(error)
                if not slot.facts:
                    # The user must mend it: trying again would only repeat it.
                    slot.refusal = error
                    slot.settled.set()
                    return
                log.warning("%s did not start: %s", slot.name, error)
            except Exception as error:  # a plugin's code, or a process that does not come up
                message = f"{slot.name} did not start: {self._blamed(slot, 'start', error)}"
                log.log(logging.DEBUG if message == slot.message else logging.WARNING, message)
                slot.message = message
                if failures >= _UNSETTLED:
                    slot.settled.set()  # status tells; who waits for the others need not wait
            else:
                failures = 0
                slot.process, slot.facts = process, process.facts
                slot.status, slot.message = ProxyStatus.HEALTHY, ""
                slot.settled.set()
                slot.message = f"died: {await process.actor.wait_closed()}"
                log.warning("%s %s", slot.name, slot.message)
                slot.process = None
                self._gone(process.actor)
            process = None
            slot.status = ProxyStatus.UNHEALTHY
            await asyncio.sleep(_RESTART_S[min(failures, len(_RESTART_S) - 1)])
            failures += 1

    async def _started(self, slot: _Slot) -> _Process:
        """Start a new process for a place."""
        name = f"{slot.name}:{secrets.token_hex(3)}"
        actor: Actor | None = None
        if slot.spec.is_ingress:
            self._joined(name)
        try:
            actor = await self._cluster.start_actor(
                ActorSpec(
                    name,
                    SERVICE_TARGET,
                    (
                        slot.spec.target,
                        slot.process_info(name),
                        self._membership,
                        slot.group,
                        slot.index,
                        self._facts_for(slot),
                    ),
                    title="alacarte:proxy" if slot.spec.is_ingress else "",
                    node_id=slot.node.node_id,
                    plugins=self._plugins.loaded,
                )
            )
            # In turn: what they share, the second is to find where the first has put it.
            async with self._turns.setdefault(slot.group, asyncio.Lock()):
                return _Process(actor, await stub(NodeServiceProtocol, actor).start())
        except BaseException:
            if actor is not None:
                actor.kill()
            self._left(name)
            raise

    def _blamed(self, slot: _Slot, method: str, error: Exception) -> str:
        """Keep what a service's plugin fails at; return the error with the plugin's name."""
        if isinstance(error, ActorDied | ActorUnresponsive | ClusterUnresponsive):
            return repr(error)  # of the process, or the cluster
        service = slot.spec.name
        plugin = self._plugins.plugin_of("register_node_services", service)
        what, subject = f"node service {service}: {method}", f"node {slot.node.node_id}"
        self._plugins.failures.note(plugin, what, error, subject)
        return f"plugin {plugin} failed: {describe_error(error)}"

    def _facts_for(self, slot: _Slot) -> dict[str, str]:
        siblings = [each.facts for each in self._slots.values() if each.group == slot.group]
        return next((facts for facts in [slot.facts, *siblings] if facts), {})

    async def _adopted(self, slot: _Slot) -> _Process | None:
        """Return the process that a former controller started, if there is one that works."""
        adopted: _Process | None = None
        for name in await self._cluster.list_actors(f"{slot.name}:"):
            actor = await self._cluster.find_actor(name)
            if actor is None or (slot.process is not None and slot.process.actor.name == name):
                continue
            try:
                facts = await stub(NodeServiceProtocol, actor).describe()
            except (NotStarted, ActorUnresponsive):
                facts = None
            except ActorDied:
                continue
            if facts is None:
                actor.kill()
                continue
            found = _Process(actor, facts)
            if adopted is not None:
                # The former controller ended in the middle of a restart.
                self._in_background(self._end(found, slot, _END_S, replaced=True))
                continue
            adopted = found
            if slot.spec.is_ingress:
                self._joined(name)
        return adopted

    async def _succeed(self, slot: _Slot) -> _Process | None:
        """Start a successor, hand it the place, and return who was there; None for nobody."""
        old = slot.process
        if old is None:
            return None  # one is being started anyway
        try:
            new = await self._started(slot)
        except Exception as error:  # a plugin's code, or a process that does not come up
            cause = (
                str(error) if isinstance(error, ConfigError) else self._blamed(slot, "start", error)
            )
            raise ServeError(
                f"{slot.name}: the successor did not start ({cause}); the old one goes on."
            ) from None
        if slot.life is not None:
            slot.life.cancel()
        if self._slots.get(slot.name) is not slot:  # shut down, or its node is gone meanwhile
            self._in_background(self._end(new, slot, _END_S, replaced=False))
            return None
        old, slot.process = slot.process, new
        self._begin(slot, new)
        return old

    async def _end(self, process: _Process, slot: _Slot, limit_s: float, *, replaced: bool) -> None:
        """Drain a process that has left its place, and end it."""
        name = process.actor.name
        self._left(name)
        self._leaving[name] = replace(slot.overview, status=ProxyStatus.DRAINING)
        try:
            await stub(NodeServiceProtocol, process.actor).stop(limit_s, replaced)
        except (ActorUnresponsive, ActorDied):
            pass
        except Exception as error:  # a plugin's code
            log.warning("%s did not stop cleanly: %s", name, self._blamed(slot, "stop", error))
        finally:
            del self._leaving[name]
            process.actor.kill()

    def _gone(self, actor: Actor) -> None:
        actor.kill()
        self._left(actor.name)

    def _in_background(self, ending: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._ending.start(ending)


def _rank(slot: _Slot) -> int:
    """Return a rank by which HTTP proxies sort first: a route's prefix continues their URLs."""
    if slot.spec.serves_routes:
        url = slot.facts.get("url", "")
        return 0 if not url or url.startswith(("http://", "https://")) else 1
    return 2 if slot.spec.serves_applications else 3


def _key(overview: ServiceStatusOverview) -> str:
    return f"{overview.service}/{overview.node_id}/{overview.index}"
