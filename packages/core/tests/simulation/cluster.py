"""A simulated cluster: processes on nodes, with Ray's guarantees and no others.

As on Ray, an actor has a unique name, a call is executed at most once, and the durable map is
durable. Without a guarantee, answers get lost, every operation takes time, and deaths are detected
late.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import pickle
import random
import time
from asyncio import events
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from alacarte._cluster.actor_host import first_launch, method_of
from alacarte._cluster.cluster_protocol import (
    ActorContext,
    ActorDied,
    ActorSpec,
    Capacity,
    ClusterUnresponsive,
    Node,
    NotStarted,
)

from .loop import Process, Scheduler
from .network import Network

__all__ = ["Record", "SimActor", "SimCluster"]


@dataclass(eq=False)
class _Call:
    """A call that is in transit or running."""

    caller: Process
    answer: asyncio.Future[Any]
    method: str
    args: tuple[Any, ...]


@dataclass(eq=False)
class Record:
    """The cluster's record of an actor.

    Attributes:
        state: `pending` without a place, `starting`, `unbegun` when its process waits for
            `start_actor`, `up`, `restarting` or `dead`.
        touched: A fault has hit the process, so its requests may fail.
        had_to_wait: The cluster had no room for the actor when it was requested.
    """

    spec: ActorSpec
    state: str = "pending"
    process: Process | None = None
    instance: Any = None
    node: SimNode | None = None
    touched: bool = False
    had_to_wait: bool = False
    begun: _Call | None = None
    waiting: list[_Call] = field(default_factory=list)
    calls: list[_Call] = field(default_factory=list)
    watchers: list[_Call] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def cpus(self) -> float:
        return float(self.spec.options.get("num_cpus", 0.0))


@dataclass(eq=False)
class SimNode:
    """A node with a number of CPUs.

    Attributes:
        leaves_at: Drain deadline on the monotonic clock; None if the node stays.
    """

    node: Node
    cpus: float
    free: float
    alive: bool = True
    leaves_at: float | None = None


class SimActor:
    """A handle of an actor in one process."""

    def __init__(self, cluster: SimCluster, record: Record, owner: Process) -> None:
        self.name = record.name
        self.record = record
        self._cluster = cluster
        self._owner = owner

    async def call(self, method: str, *args: Any) -> Any:
        caller = _running()
        if method == "apply":  # by value, as everything would be: what is there has no other self
            args = pickle.loads(pickle.dumps(args))
        call = _Call(caller, caller.create_future(), method, args)
        self._cluster.send(self.record, call)
        return await call.answer

    async def wait_closed(self) -> str:
        caller = _running()
        call = _Call(caller, caller.create_future(), "wait_closed", ())
        self._cluster.watch(self.record, call)
        reason: str = await call.answer
        return reason

    def kill(self) -> None:
        if self._owner.alive:
            self._cluster.ask_to_kill(self.record)


class SimCluster:
    """A `Cluster`.

    Args:
        context: Returns the `ActorContext` of an actor on a node.

    Attributes:
        records: Actors by name, dead ones excluded.
        stored: The durable map.
        targets: Replacement classes of actors by `ActorSpec.target`.
        losing: Probability that the answer of a call is lost.
        failing: Probability that an access to the control store fails.
        observe: Called with each event: `(event, record, details)`.
        on_put: Called with each stored value.
    """

    kind = "local"
    node_id = "outside"  # asked by drivers alone

    def __init__(
        self,
        scheduler: Scheduler,
        network: Network,
        chance: random.Random,
        context: Callable[[SimCluster, str, Node], ActorContext],
    ) -> None:
        self.records: dict[str, Record] = {}
        self.stored: dict[str, bytes] = {}
        self.members: list[SimNode] = []
        self.targets: dict[str, Any] = {}
        self.losing = 0.0
        self.failing = 0.0
        self.observe: Callable[..., None] = _nothing
        self.on_put: Callable[[str, bytes], None] = _nothing
        self._scheduler = scheduler
        self._network = network
        self._draw = chance.random
        self._context = context
        self._fabric = scheduler.process("cluster")
        self._started = 0

    # --- Cluster ------------------------------------------------------------------------

    async def start_actor(self, spec: ActorSpec) -> SimActor:
        caller = _running()
        record = Record(spec)
        self.observe("start", record)
        record.begun = call = _Call(caller, caller.create_future(), "start_actor", ())
        self._fabric.post(self._delay(), self._create, record)
        actor = SimActor(self, record, caller)
        try:
            await call.answer
        except BaseException:
            actor.kill()
            raise
        return actor

    async def has_room(self, spec: ActorSpec) -> bool:
        return not await self.missing(spec)

    async def missing(self, spec: ActorSpec) -> dict[str, tuple[float, float]]:
        await self._asked()
        needed = float(spec.options.get("num_cpus", 0.0))
        if self._home(Record(spec)) is not None:
            return {}
        best = max((member.free for member in self.members if member.alive), default=0.0)
        return {"CPU": (needed, best)}

    async def capacity(self, wanted: Mapping[str, tuple[ActorSpec, int]]) -> Capacity:
        await self._asked()
        total = sum(member.cpus for member in self.members if member.alive)
        asks = {key: float(s.options.get("num_cpus", 0.0)) for key, (s, _) in wanted.items()}
        asked = sum(asks[key] * count for key, (_, count) in wanted.items())
        if asked <= total:
            return Capacity()
        each = {key: {"CPU": cpus} for key, cpus in asks.items()}
        return Capacity(totals={"CPU": (asked, total)}, requests=each)

    async def find_actor(self, name: str) -> SimActor | None:
        caller = _running()
        await self._asked()
        record = self.records.get(name)
        return None if record is None else SimActor(self, record, caller)

    async def list_actors(self, prefix: str) -> list[str]:
        await self._asked()
        return [name for name in self.records if name.startswith(prefix)]

    async def nodes(self) -> list[Node]:
        await self._asked()
        wall = time.time() - self._scheduler.now
        return [
            member.node
            if member.leaves_at is None
            else replace(member.node, draining_until=wall + member.leaves_at)
            for member in self.members
            if member.alive
        ]

    async def get(self, key: str) -> bytes | None:
        await self._asked()
        return self.stored.get(key)

    async def put(self, key: str, value: bytes) -> None:
        await self._asked()
        self.stored[key] = value
        self.on_put(key, value)
        await self._asked()

    async def delete(self, key: str) -> None:
        await self._asked()
        self.stored.pop(key, None)
        await self._asked()

    async def keys(self, prefix: str) -> list[str]:
        await self._asked()
        return [key for key in self.stored if key.startswith(prefix)]

    async def end_process(self, node_id: str, pid: int) -> None:
        """Nothing: here every kill arrives."""

    def is_reachable(self) -> bool:
        return True

    async def release(self, prefix: str) -> None:
        await self._asked()

    async def _asked(self) -> None:
        """Wait for the control store, which may fail before or after the operation."""
        caller = _running()
        answer = caller.create_future()
        self._fabric.post(self._delay(), _resolve, answer, None)
        fails = self._draw() < self.failing
        await answer
        if fails:
            raise ClusterUnresponsive("the control store does not answer")

    # --- calls --------------------------------------------------------------------------

    def send(self, record: Record, call: _Call) -> None:
        self._fabric.post(self._delay(), self._arrive, record, call)

    def watch(self, record: Record, call: _Call) -> None:
        if record.state == "dead":
            self._answer(call, "it is gone", 0.05)
        else:
            record.watchers.append(call)

    def _arrive(self, record: Record, call: _Call) -> None:
        if record.state == "dead":
            self._fail(call, ActorDied(f"{record.name} is gone"), 0.01)
        elif record.state == "up":
            self._hand_over(record, call)
        elif record.state == "unbegun":
            self._refuse(record, call)
        elif record.state == "restarting" and self._draw() < 0.5:
            self._fail(call, ActorDied(f"{record.name} is being restarted"), 0.01)
        else:
            record.waiting.append(call)

    def _refuse(self, record: Record, call: _Call) -> None:
        self._fail(
            call, NotStarted(f"{record.name} has not been given its arguments"), self._delay()
        )

    def _hand_over(self, record: Record, call: _Call) -> None:
        assert record.process is not None
        record.calls.append(call)
        process = record.process
        function = method_of(record.instance, call.method)
        if not inspect.iscoroutinefunction(function) and process.frozen != "stopped":
            # By a thread of its own, whatever the loop does.
            self._fabric.soon(self._answer_aside, record, call)
        else:
            process.soon(self._execute, record, call)

    def _answer_aside(self, record: Record, call: _Call) -> None:
        if record.state == "up" and call in record.calls:
            before = events._get_running_loop()
            events._set_running_loop(record.process)
            try:
                result = method_of(record.instance, call.method)(*call.args)
            finally:
                events._set_running_loop(before)
            self._executed(record, call, result, None)

    def _execute(self, record: Record, call: _Call) -> None:
        """In the actor's process."""
        process = record.process
        assert process is not None
        self.observe("call", record, call.method, call.args)
        process.create_task(self._result(record, call))

    async def _result(self, record: Record, call: _Call) -> None:
        try:
            result = method_of(record.instance, call.method)(*call.args)
            if inspect.isawaitable(result):
                result = await result
        except Exception as error:
            self._executed(record, call, None, error)
        else:
            self._executed(record, call, result, None)

    def _executed(
        self, record: Record, call: _Call, result: Any, error: BaseException | None
    ) -> None:
        if call not in record.calls:
            return
        record.calls.remove(call)
        self.observe("done", record, call.method, error)
        if self._draw() < self.losing:
            record.touched = True
            self.observe("lost answer", record, call.method)
            self._fail(call, ActorDied(f"{record.name}: the answer was lost"), 0.3)
        elif error is None:
            self._answer(call, result, self._delay())
        else:
            self._fail(call, error, self._delay())

    def _answer(self, call: _Call, result: Any, delay: float) -> None:
        call.caller.post(delay, _resolve, call.answer, result)

    def _fail(self, call: _Call, error: BaseException, delay: float) -> None:
        call.caller.post(delay, _reject, call.answer, error)

    def _delay(self) -> float:
        """Return the latency to another process: a millisecond, rarely much more."""
        delay = 0.0005 + 0.002 * self._draw()
        return delay + 0.3 * self._draw() if self._draw() < 0.03 else delay

    # --- lives --------------------------------------------------------------------------

    def add_node(self, cpus: float, *, is_head: bool = False) -> None:
        """Add a node with a new name."""
        number = len(self.members)
        node = Node(f"node{number}", f"10.0.0.{number + 1}", is_head=is_head, cores=2)
        self.members.append(SimNode(node, cpus, cpus))
        self._place_pending()

    def drain_node(self, member: SimNode, within_s: float) -> None:
        """Announce the end of a node, remove it at the deadline, and add a replacement."""
        member.leaves_at = self._scheduler.now + within_s
        self._fabric.post(within_s, self.remove_node, member)
        self.add_node(member.cpus, is_head=member.node.is_head)

    def remove_node(self, member: SimNode) -> None:
        """Remove a node with all its processes."""
        member.alive = False
        for record in list(self.records.values()):
            if record.node is member:
                record.touched = True
                self.die(record, "its node is gone")

    def ask_to_kill(self, record: Record) -> None:
        self._fabric.post(self._delay(), self._killed, record)

    def _killed(self, record: Record) -> None:
        self.die(record, "killed", for_good=True)

    def die(self, record: Record, reason: str, *, for_good: bool = False) -> None:
        """End an actor's process at once."""
        if record.state == "dead":
            return
        process, record.process, record.instance = record.process, None, None
        if process is not None:
            process.kill()
            self._network.end_of(process)
        self._leave(record)
        calls, record.calls = record.calls, []
        for call in calls:
            self._fail(call, ActorDied(f"{record.name}: {reason}"), 0.02 + 0.5 * self._draw())
        again = record.spec.restarts and not for_good
        if not again and record.begun is not None:
            self._fail(record.begun, ActorDied(f"{record.name} did not come up: {reason}"), 0.01)
            record.begun = None
        self.observe("died", record, reason)
        if again:
            record.state = "restarting"
            self._fabric.post(0.3 + 1.5 * self._draw(), self._place, record)
            return
        record.state = "dead"
        if self.records.get(record.name) is record:
            del self.records[record.name]
        for call in record.waiting:
            self._fail(call, ActorDied(f"{record.name}: {reason}"), 0.02)
        noticed = 0.02 + 0.8 * self._draw() * self._draw()
        for watcher in record.watchers:
            self._answer(watcher, reason, noticed)

    def _create(self, record: Record) -> None:
        if record.state == "dead":  # killed before it was there
            return
        if record.name in self.records:
            assert record.begun is not None
            record.state = "dead"
            self._fail(record.begun, ActorDied(f"an actor named {record.name} is there"), 0.001)
            return
        self.records[record.name] = record
        self.observe("created", record)
        self._place(record)

    def _home(self, record: Record) -> SimNode | None:
        wanted = record.spec.node_id
        fitting = [
            member
            for member in self.members
            if member.alive
            and member.leaves_at is None
            and member.free >= record.cpus
            and wanted in ("", member.node.node_id)
            and not self._is_crowded(member, record.spec)
        ]
        return fitting[int(self._draw() * len(fitting))] if fitting else None

    def _is_crowded(self, member: SimNode, spec: ActorSpec) -> bool:
        if not spec.max_per_node:
            return False
        there = [each for each in self.records.values() if each.node is member]
        return sum(each.spec.group == spec.group for each in there) >= spec.max_per_node

    def _place(self, record: Record) -> None:
        if record.state == "dead":
            return
        home = self._home(record)
        if home is None:
            record.had_to_wait = True
            if record.state != "restarting":
                record.state = "pending"
            self._fabric.post(0.5, self._place, record) if record.spec.restarts else None
            return
        home.free -= record.cpus
        record.node = home
        record.state = "starting"
        self._fabric.post(0.1 + 0.5 * self._draw(), self._boot, record, home)

    def _place_pending(self) -> None:
        for record in list(self.records.values()):
            if record.state == "pending":
                self._place(record)

    def _leave(self, record: Record) -> None:
        home, record.node = record.node, None
        if home is not None:
            home.free += record.cpus
            self._fabric.post(0.01, self._place_pending)

    def _boot(self, record: Record, home: SimNode) -> None:
        if record.state != "starting" or record.node is not home:
            return
        self._started += 1
        process = self._scheduler.process(f"{record.name}/{self._started}")
        process.network = self._network
        record.process = process
        self.observe("boot", record)
        if record.spec.restarts:
            # The process makes its actor itself, also when nobody is there to call `start_actor`.
            process.soon(self._make, record, home.node)
            return
        record.state = "unbegun"
        waiting, record.waiting = record.waiting, []
        for call in waiting:
            self._refuse(record, call)
        begun = record.begun
        if begun is not None and begun.caller.alive:
            self._fabric.post(self._delay(), self._begin, record, home.node)

    def _begin(self, record: Record, node: Node) -> None:
        """Deliver the constructor arguments to an actor."""
        if record.state == "unbegun":
            assert record.process is not None
            record.process.soon(self._make, record, node)

    def _target(self, target: str) -> Any:
        if target not in self.targets:
            module, _, name = target.partition(":")
            self.targets[target] = getattr(importlib.import_module(module), name)
        return self.targets[target]

    def _make(self, record: Record, node: Node) -> None:
        """In the new process: make the actor's object."""
        context = self._context(self, record.name, node)
        begun, record.begun = record.begun, None
        try:
            instance = self._target(record.spec.target)(context, *record.spec.args)
        except Exception as error:
            if begun is not None:
                self._fail(begun, error, self._delay())
            self.die(record, f"its constructor raised {error!r}", for_good=True)
            return
        record.instance = instance
        record.state = "up"
        self.observe("up", record)
        process = record.process
        assert process is not None
        process.create_task(first_launch(instance))
        if begun is not None:
            if self._draw() < self.losing:
                record.touched = True
                self._fail(begun, ActorDied(f"{record.name}: the answer was lost"), 0.3)
            else:
                self._answer(begun, None, self._delay())
        waiting, record.waiting = record.waiting, []
        for call in waiting:
            self._hand_over(record, call)


def _running() -> Process:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Process)
    return loop


def _resolve(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _reject(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # who has given up meanwhile does not look


def _nothing(*_: Any) -> None:
    pass
