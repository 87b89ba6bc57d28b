"""The processes of node services, on every node that should run them."""

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

__all__ = ["NodeServiceGroup", "WantedService"]

log = logging.getLogger("alacarte.controller")
NODE_SERVICE_TARGET = "alacarte._control.node_service_actor:NodeServiceActor"
_RESTART_BACKOFF_S = (0.1, 0.5, 2.0, 5.0)
_MAX_AWAITED_FAILURES = 2
"""Failed starts of a process that `wait_ready` waits for."""
_DRAIN_S = 5.0
"""Time for accepted requests when a service ends on a node."""


@dataclass(frozen=True)
class WantedService:
    """A node service with its nodes and the number of its processes on each node."""

    spec: NodeServiceSpec
    nodes: Sequence[Node]
    processes: int


@dataclass(eq=False)
class _ServiceProcess:
    """A started process of a node service."""

    actor: Actor
    metadata: dict[str, str]


@dataclass(eq=False)
class _Slot:
    """A slot for one process of a service on a node, with its current process.

    Attributes:
        group: Unique name of the service on its node; prefix of its processes' names.
        metadata: Metadata of the last started process.
        task: Keeps the slot filled.
        ready: Set when the slot's first process has started, was refused, or failed repeatedly.
        refusal: Error that only the user can fix, such as a port in use.
    """

    spec: NodeServiceSpec
    node: Node
    index: int
    group: str
    status: ProxyStatus = ProxyStatus.STARTING
    message: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    process: _ServiceProcess | None = None
    task: asyncio.Task[None] | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    refusal: ConfigError | None = None

    @property
    def name(self) -> str:
        """The prefix of the names of the slot's processes."""
        return f"{self.group}:{self.index}"

    def process_info(self, name: str) -> ProcessInfo:
        """Return the description of a process in this slot, for plugins."""
        kind: Literal["proxy", "service"] = "proxy" if self.spec.is_ingress else "service"
        return ProcessInfo(kind, name, self.node.node_id, self.spec.name)

    @property
    def overview(self) -> ServiceStatusOverview:
        """The status of the slot's process."""
        return ServiceStatusOverview(
            self.status,
            self.spec.name,
            self.node.node_id,
            self.metadata.get("url", ""),
            self.message,
            self.index,
        )


class NodeServiceGroup:
    """All node services of the instance. Lives on the controller's loop.

    Args:
        membership: Passed to each process.
        track: Called with the name of each process that watches the routes, before its start.
        untrack: Called with the name of such a process when it stops or has died.
    """

    def __init__(
        self,
        cluster: Cluster,
        membership: Membership,
        plugins: Plugins,
        track: Callable[[str], None],
        untrack: Callable[[str], None],
    ) -> None:
        self._cluster = cluster
        self._membership = membership
        self._plugins = plugins
        self._track = track
        self._untrack = untrack
        self._slots: dict[str, _Slot] = {}
        self._draining: dict[str, ServiceStatusOverview] = {}
        self._ending = TaskSet()
        self._start_locks: dict[str, asyncio.Lock] = {}
        self._restarting = asyncio.Lock()

    @property
    def overviews(self) -> dict[str, ServiceStatusOverview]:
        """The status of every process, for `ServeStatus.services`."""
        found = {_key(slot.overview): slot.overview for slot in self._slots.values()}
        return found | {f"{_key(each)}/old": each for each in self._draining.values()}

    @property
    def by_node(self) -> dict[str, ServiceStatusOverview]:
        """The status of one process per node: an HTTP proxy, else another ingress, else any."""
        found: dict[str, ServiceStatusOverview] = {}
        order = sorted(self._slots.values(), key=_rank)
        for slot in order:
            found.setdefault(slot.node.node_id, slot.overview)
        return found

    def reconcile(self, wanted: Sequence[WantedService]) -> None:
        """Start missing processes, and end those on nodes that are gone."""
        slots = {slot.name: slot for each in wanted for slot in self._wanted_slots(each)}
        for name in self._slots.keys() - slots.keys():
            self._close_slot(self._slots.pop(name))
        for name, slot in slots.items():
            if name not in self._slots:
                self._slots[name] = slot
                self._run_slot(slot)

    def _wanted_slots(self, wanted: WantedService) -> Iterator[_Slot]:
        def group(node: Node) -> str:
            return service_group(self._membership.instance, wanted.spec.name, node.node_id)

        seen: set[str] = set()
        # Nodes with one address share ports, so only one runs the service: its current node first.
        for node in sorted(wanted.nodes, key=lambda node: f"{group(node)}:0" not in self._slots):
            if node.address in seen:
                continue
            seen.add(node.address)
            for index in range(wanted.processes):
                yield _Slot(wanted.spec, node, index, group(node))

    async def wait_ready(self) -> None:
        """Wait until every process has started once, or has failed repeatedly.

        Raises:
            ConfigError: A service cannot run with the user's options, for example because its
                port is in use.
        """
        for slot in list(self._slots.values()):
            await slot.ready.wait()
            if slot.refusal is not None:
                raise slot.refusal

    async def restart(self, service: str, drain_s: float) -> None:
        """Replace each process by a successor, one after the other.

        A successor starts before its predecessor stops accepting requests. Returns when the last
        predecessor has ended.

        Args:
            service: Name of the service; "" for all.
            drain_s: Time that a predecessor has for its accepted requests, in seconds.

        Raises:
            NotFoundError: No service of that name runs.
            ServeError: A successor did not start. Its predecessor and the remaining processes keep
                running.
        """
        async with self._restarting:
            slots = [slot for slot in self._slots.values() if service in ("", slot.spec.name)]
            if service and not slots:
                running = sorted({slot.spec.name for slot in self._slots.values()})
                raise NotFoundError(f"no node service {service!r} runs; running: {running}.")
            ends = []
            try:
                for slot in slots:
                    old = await self._replace(slot)
                    if old is not None:
                        end = self._end(old, slot, drain_s, replaced=True)
                        ends.append(self._in_background(end))
            finally:
                await asyncio.gather(*ends)

    async def stop(self) -> None:
        """Drain and end every process."""
        slots, self._slots = list(self._slots.values()), {}
        for slot in slots:
            self._close_slot(slot)
        while self._ending:
            await asyncio.gather(*self._ending)

    def _run_slot(self, slot: _Slot, process: _ServiceProcess | None = None) -> None:
        slot.task = asyncio.get_running_loop().create_task(self._run(slot, process))

    def _close_slot(self, slot: _Slot) -> None:
        if slot.task is not None:
            slot.task.cancel()
        process, slot.process = slot.process, None
        if process is not None:
            self._in_background(self._end(process, slot, _DRAIN_S, replaced=False))
        slot.ready.set()

    async def _run(self, slot: _Slot, process: _ServiceProcess | None) -> None:
        """Keep a slot filled: adopt or start a process, and restart one that dies."""
        failures = 0
        while True:
            try:
                process = process or await self._adopt(slot) or await self._start(slot)
            except ConfigError as error:
                slot.status, slot.message = ProxyStatus.UNHEALTHY, str(error)
                if not slot.metadata:
                    # Only the user can fix this error: a retry would fail again.
                    slot.refusal = error
                    slot.ready.set()
                    return
                log.warning("%s did not start: %s", slot.name, error)
            except Exception as error:  # a plugin's code, or a process that does not come up
                reason = self._note_failure(slot, "start", error)
                message = f"{slot.name} did not start: {reason}"
                log.log(logging.DEBUG if message == slot.message else logging.WARNING, message)
                slot.message = message
                if failures >= _MAX_AWAITED_FAILURES:
                    slot.ready.set()  # the status has the message; `wait_ready` need not wait
            else:
                failures = 0
                slot.process, slot.metadata = process, process.metadata
                slot.status, slot.message = ProxyStatus.HEALTHY, ""
                slot.ready.set()
                slot.message = f"died: {await process.actor.wait_closed()}"
                log.warning("%s %s", slot.name, slot.message)
                slot.process = None
                self._discard(process.actor)
            process = None
            slot.status = ProxyStatus.UNHEALTHY
            await asyncio.sleep(_RESTART_BACKOFF_S[min(failures, len(_RESTART_BACKOFF_S) - 1)])
            failures += 1

    async def _start(self, slot: _Slot) -> _ServiceProcess:
        """Start a new process for a slot."""
        name = f"{slot.name}:{secrets.token_hex(3)}"
        actor: Actor | None = None
        if slot.spec.is_ingress:
            self._track(name)
        try:
            actor = await self._cluster.start_actor(
                ActorSpec(
                    name,
                    NODE_SERVICE_TARGET,
                    (
                        slot.spec.target,
                        slot.process_info(name),
                        self._membership,
                        slot.group,
                        slot.index,
                        self._metadata_for(slot),
                    ),
                    title="alacarte:proxy" if slot.spec.is_ingress else "",
                    node_id=slot.node.node_id,
                    plugins=self._plugins.loaded,
                )
            )
            # One after the other: later processes find the shared socket of the first.
            async with self._start_locks.setdefault(slot.group, asyncio.Lock()):
                return _ServiceProcess(actor, await stub(NodeServiceProtocol, actor).start())
        except BaseException:
            if actor is not None:
                actor.kill()
            self._untrack(name)
            raise

    def _note_failure(self, slot: _Slot, method: str, error: Exception) -> str:
        """Record a failure of a service's plugin; return the error with the plugin's name."""
        if isinstance(error, ActorDied | ActorUnresponsive | ClusterUnresponsive):
            return repr(error)  # a failure of the process or the cluster, not of the plugin
        service = slot.spec.name
        plugin = self._plugins.plugin_of("register_node_services", service)
        what, subject = f"node service {service}: {method}", f"node {slot.node.node_id}"
        self._plugins.failures.note(plugin, what, error, subject)
        return f"plugin {plugin} failed: {describe_error(error)}"

    def _metadata_for(self, slot: _Slot) -> dict[str, str]:
        siblings = [each.metadata for each in self._slots.values() if each.group == slot.group]
        return next((metadata for metadata in [slot.metadata, *siblings] if metadata), {})

    async def _adopt(self, slot: _Slot) -> _ServiceProcess | None:
        """Return a working process that a former controller started, None if there is none."""
        adopted: _ServiceProcess | None = None
        for name in await self._cluster.list_actors(f"{slot.name}:"):
            actor = await self._cluster.find_actor(name)
            if actor is None or (slot.process is not None and slot.process.actor.name == name):
                continue
            try:
                metadata = await stub(NodeServiceProtocol, actor).describe()
            except (NotStarted, ActorUnresponsive):
                metadata = None
            except ActorDied:
                continue
            if metadata is None:
                actor.kill()
                continue
            found = _ServiceProcess(actor, metadata)
            if adopted is not None:
                # A second process: the former controller ended during a restart.
                self._in_background(self._end(found, slot, _DRAIN_S, replaced=True))
                continue
            adopted = found
            if slot.spec.is_ingress:
                self._track(name)
        return adopted

    async def _replace(self, slot: _Slot) -> _ServiceProcess | None:
        """Start a successor in a slot; return the old process, None if there was none."""
        old = slot.process
        if old is None:
            return None  # the slot's task starts a process anyway
        try:
            new = await self._start(slot)
        except Exception as error:  # a plugin's code, or a process that does not come up
            refused = isinstance(error, ConfigError)
            cause = str(error) if refused else self._note_failure(slot, "start", error)
            raise ServeError(
                f"{slot.name}: the successor did not start, and the old process keeps running: "
                f"{cause}"
            ) from None
        if slot.task is not None:
            slot.task.cancel()
        if self._slots.get(slot.name) is not slot:  # shutdown, or the node has left meanwhile
            self._in_background(self._end(new, slot, _DRAIN_S, replaced=False))
            return None
        old, slot.process = slot.process, new
        self._run_slot(slot, new)
        return old

    async def _end(
        self, process: _ServiceProcess, slot: _Slot, limit_s: float, *, replaced: bool
    ) -> None:
        """Drain a process that has left its slot, and end it."""
        name = process.actor.name
        self._untrack(name)
        self._draining[name] = replace(slot.overview, status=ProxyStatus.DRAINING)
        try:
            await stub(NodeServiceProtocol, process.actor).stop(limit_s, replaced)
        except (ActorUnresponsive, ActorDied):
            pass
        except Exception as error:  # a plugin's code
            log.warning(
                "%s did not stop cleanly: %s", name, self._note_failure(slot, "stop", error)
            )
        finally:
            del self._draining[name]
            process.actor.kill()

    def _discard(self, actor: Actor) -> None:
        actor.kill()
        self._untrack(actor.name)

    def _in_background(self, ending: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._ending.start(ending)


def _rank(slot: _Slot) -> int:
    """Return a sort key that puts HTTP proxies first: their URLs are bases of route prefixes."""
    if slot.spec.serves_routes:
        url = slot.metadata.get("url", "")
        return 0 if not url or url.startswith(("http://", "https://")) else 1
    return 2 if slot.spec.serves_applications else 3


def _key(overview: ServiceStatusOverview) -> str:
    return f"{overview.service}/{overview.node_id}/{overview.index}"
