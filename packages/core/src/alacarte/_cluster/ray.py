"""The Ray cluster: every actor is a Ray actor. The only module that imports Ray.

Ray places processes, watches them and finds them by name; requests never pass through it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import json
import logging
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import ray
from ray import exceptions
from ray._private.services import (
    canonicalize_bootstrap_address,
    find_bootstrap_address,
    find_gcs_addresses,
)
from ray._raylet import (  # type: ignore[attr-defined]
    IMPLICIT_RESOURCE_PREFIX,
    AuthenticationTokenLoader,
    Config,
    PlacementGroupID,
)
from ray.core.generated.gcs_pb2 import GcsNodeInfo  # type: ignore[attr-defined]
from ray.util import list_named_actors
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)

from ..errors import ConfigError, PluginError
from .admission import admit
from .deaths import cause_of_death, is_unexplained
from .exits import ExitWatch, describe_exit, process_space
from .greeting import Greeting, greet
from .host import ActorHost, num_cores
from .protocol import Actor, ActorDied, ActorSpec, Capacity, ClusterSilent, Node, NotBegun
from .room import FreeNode, Group, Need, exceeded, lacking
from .threads import BlockingCalls
from .titles import title_of

__all__ = ["RayCluster"]

log = logging.getLogger("alacarte.cluster")
NAMESPACE = "alacarte"
_KV_NAMESPACE = b"alacarte"
_CALLS_AT_ONCE = 10_000
_HEAD = "node:__internal_head__"
_ACCELERATOR_SHARE = 0.001
"""What Ray asks of `accelerator_type:...` for an actor."""
_ANSWER_S = 10.0
"""How long Ray's control store may take for one answer; it takes half a millisecond."""
_AUTOSCALER_V2 = b"__autoscaler_v2_enabled"
_AUTOSCALER_STATUS = b"__autoscaling_status"
_REACH_S = 1.0
_CALLS = BlockingCalls("alacarte-ray", 32)
_EXITS = ExitWatch()
_EXIT_S = 2.0
"""For a process to end whose connections have; a large one takes a while."""
T = TypeVar("T")


class _Process:
    """What Ray runs in each process: a host for one actor of ours.

    Ray calls these on an event loop of its own, apart from the actor's.

    Args:
        spec: Without the arguments: Ray's control store keeps what this constructor gets.
    """

    def __init__(self, spec: ActorSpec) -> None:
        self._host: asyncio.Future[ActorHost] | None = None
        self._spec = spec
        # Ray may start the process again, under its old name; then nobody calls `begin`.
        self._has_begun = spec.restarts
        self._title = spec.title or title_of(spec.name)
        # Ray names the process after the class of its actor, whenever a call has ended.
        self.__class__ = type(self._title, (type(self),), {})

    def __repr__(self) -> str:
        """Return what Ray puts in front of each line that the process prints."""
        return self._title

    async def begin(self, *args: Any) -> tuple[str, int]:
        """Make the actor. Apart from the constructor, so that an error arrives as itself.

        Returns:
            The process: its id, and where that id means this process.
        """
        if not self._has_begun:
            self._has_begun = True
            self._spec = replace(self._spec, args=args)
        await self._made()
        return self.process()

    def process(self) -> tuple[str, int]:
        """Return the process as `begin` does, whether the actor is made or not."""
        return process_space(), os.getpid()

    async def call(self, method: str, args: tuple[Any, ...]) -> Any:
        host = await self._made()
        return await asyncio.wrap_future(host.submit(method, args))

    async def _made(self) -> ActorHost:
        """Return the host, made once: somebody may find its name before `begin` is done.

        Raises:
            NotBegun: Or before it is called.
        """
        if not self._has_begun:
            raise NotBegun(f"{self._spec.name} has not been given its arguments yet")
        if self._host is None:
            host = functools.partial(ActorHost, self._spec, RayCluster(), _this_node())
            self._host = asyncio.get_running_loop().run_in_executor(None, host)
        return await asyncio.shield(self._host)

    async def live(self) -> None:
        """Never return: the caller learns of the end of this process by the end of the call."""
        await asyncio.Event().wait()


class RayActor:
    """A reference to a Ray actor.

    Args:
        bundled: Whether resources in bundles belong to it; None for not known.
        title: Of its process; "" for what its name says.
        restarts: Ray starts it again when it dies, in another process.
    """

    def __init__(
        self,
        name: str,
        handle: Any,
        bundled: bool | None = None,
        title: str = "",
        *,
        restarts: bool = False,
    ) -> None:
        self.name = name
        self._restarts = restarts
        self._handle = handle
        self._bundled = bundled
        self._connection = _connection()
        # While a call runs, Ray names the process after the call.
        self._named = {"name": title or title_of(name)}
        self._exit: concurrent.futures.Future[int | None] | None = None

    async def call(self, method: str, *args: Any) -> Any:
        _check_connected(self._connection)
        try:
            return await self._handle.call.options(**self._named).remote(method, args)
        except exceptions.RayTaskError as error:
            raise _cause(error) from None
        except exceptions.RayActorError as error:
            raise ActorDied(f"{self.name}: {await self._reason(error)}") from None

    async def begin(self, args: tuple[Any, ...]) -> None:
        # One by one: Ray writes arguments of 100 KB and more to the disk when its memory is short.
        try:
            process = await self._handle.begin.options(**self._named).remote(*args)
        except exceptions.RayTaskError as error:
            raise _cause(error) from None
        except exceptions.RayError as error:
            raise ActorDied(f"{self.name} did not come up: {_first_line(error)}") from None
        if not self._restarts:
            self._watch(process)

    async def closed(self) -> str:
        while True:
            _check_connected(self._connection)
            try:
                if self._exit is None:
                    self._watch(await self._handle.process.options(**self._named).remote())
                await self._handle.live.options(**self._named).remote()
            except exceptions.ActorUnavailableError:
                await asyncio.sleep(0.1)  # Ray does not know yet; ask again
            except exceptions.RayError as error:
                return await self._reason(error)

    def _watch(self, process: tuple[str, int]) -> None:
        """Keep the process in sight, where it is one of this machine."""
        space, pid = process
        if space and space == process_space():
            self._exit = _EXITS.watch(pid)

    async def _reason(self, error: exceptions.RayError) -> str:
        """Return why the process ended: as the kernel has it, where Ray does not know."""
        text = str(error)
        if self._exit is not None and is_unexplained(text):
            with contextlib.suppress(TimeoutError):
                # Its connections may be gone before it is.
                async with asyncio.timeout(_EXIT_S):
                    status = await asyncio.shield(asyncio.wrap_future(self._exit))
                    if status is not None:
                        return f"its process {describe_exit(status)}"
        return cause_of_death(text)

    def kill(self) -> None:
        _check_connected(self._connection)
        ray.kill(self._handle, no_restart=True)
        if self._bundled is not False:
            # It asks Ray's control store, which the caller, an event loop, must not wait for.
            _CALLS.submit(functools.partial(_remove_groups, self.name))


def _connection() -> str:
    """Return what tells this process's connection to Ray from an earlier or later one; "" for none.

    `ray.shutdown()` ends it, and another `ray.init()` begins another, also to the same cluster.
    """
    if not ray.is_initialized():
        return ""
    # A job's id is unique in its cluster, and that of a node everywhere.
    context = ray.get_runtime_context()
    return f"{context.get_node_id()}/{context.get_job_id()}"


def _check_connected(connection: str) -> None:
    """Raise ActorDied where this connection has ended.

    Ray would take the question for the first of a new program, and start a cluster for it.
    """
    if _connection() != connection:
        raise ActorDied("this process has left that Ray cluster (ray.shutdown)")


class RayCluster:
    """A `Cluster` on the Ray that this process is connected to."""

    kind = "ray"

    def __init__(self) -> None:
        self._starting: set[str] = set()
        self._connection = _connection()

    @property
    def is_connected(self) -> bool:
        return _connection() == self._connection

    def is_reachable(self) -> bool:
        host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
        try:
            return greet(host.strip("[]"), int(port), _REACH_S) is not Greeting.SILENT
        except OSError:
            return False

    @classmethod
    def connect(
        cls, address: str | None = None, *, only_running: bool = False
    ) -> RayCluster | None:
        """Connect this process to Ray, which is started here when none runs.

        Args:
            address: As `ray.init` takes it; None for `RAY_ADDRESS`, else a running local
                cluster, else a new one.
            only_running: Return None instead of starting a cluster.

        Raises:
            ConfigError: No cluster answers at the address, or it refuses this process's token.
            ClusterSilent: The control store there is stopped.
        """
        if not ray.is_initialized():
            found = cls.find(address, any_here=only_running)
            if found is None and only_running:
                return None
            if "NO_COLOR" in os.environ or not sys.stdout.isatty():
                os.environ.setdefault("RAY_COLOR_PREFIX", "0")  # of its workers' lines
            with _quiet_about_tokens():
                try:
                    _keep_log_lines()
                    ray.init(
                        address=found or "local",
                        namespace=NAMESPACE,
                        logging_level=logging.WARNING,
                        include_dashboard=False,
                        log_to_driver=True,
                    )
                except ConnectionError as error:
                    raise ConfigError(f"no Ray cluster answers at {found!r}: {error}") from None
        return cls()

    @staticmethod
    def connected() -> bool:
        """Return whether this process is connected to a cluster."""
        return bool(ray.is_initialized())

    @staticmethod
    def find(address: str | None = None, *, any_here: bool = False) -> str | None:
        """Return the address of a running cluster that lets this process in; None for none.

        A cluster asks for a token or does not; where the user has not chosen (`RAY_AUTH_MODE`),
        the cluster decides whether this process sends the one that Ray keeps for it.

        Args:
            address: As `connect` takes it. One that is named, here or in `RAY_ADDRESS`, must
                answer.
            any_here: Consider every cluster on this machine, not only the one started last.

        Raises:
            ConfigError: No cluster answers at the address, or it refuses this process's token; or
                there are several to choose from.
            ClusterSilent: The control store there is stopped.
        """
        named = address or ""
        if named in ("", "auto"):
            named = os.environ.get("RAY_ADDRESS", "")
        if named == "local":
            return None
        search = "auto" if any_here or "auto" in (address, named) else None
        named = "" if named == "auto" else named
        try:
            # "auto" and None both mean RAY_ADDRESS first.
            found = named if "://" in named else _address_of(named or search)
            if found is not None:
                admit(found, _RayTokens(), _ANSWER_S)
        except ConfigError:
            raise
        except ValueError as error:
            raise ConfigError(f"{named!r} is not an address of a Ray cluster: {error}") from None
        except OSError as error:  # ConnectionError is one
            if named or (search and not any_here):
                where = named or search
                raise ConfigError(f"no Ray cluster answers at {where!r}: {error}") from None
            return None  # none runs; one that has ended may have left its address behind
        return found

    async def start_actor(self, spec: ActorSpec) -> Actor:
        self._starting.add(spec.name)
        try:
            group = await self._reserve(spec) if spec.bundles else None
            try:
                return await self._spawn(spec, group)
            except BaseException:
                if group is not None:
                    _CALLS.submit(functools.partial(remove_placement_group, group))
                raise
        finally:
            self._starting.discard(spec.name)

    async def _reserve(self, spec: ActorSpec) -> PlacementGroup:
        """Ask for an actor's bundles. They need not be there yet: the actor waits for them."""
        labels = list(map(dict, spec.bundle_labels))
        ask = functools.partial(
            placement_group,
            list(map(dict, spec.bundles)),
            spec.bundle_strategy,
            name=spec.name,
            lifetime="detached",
            # Ray before 2.49 does not know this argument.
            **({"bundle_label_selector": labels} if labels else {}),
        )
        what = f"setting aside bundles for {spec.name}"
        try:
            return await _answer(what, ask, remove_placement_group)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"Ray does not accept the bundles: {_first_line(error)}") from None

    async def _spawn(self, spec: ActorSpec, group: PlacementGroup | None) -> RayActor:
        try:
            process = _remote(_Process).options(
                name=spec.name,
                namespace=NAMESPACE,
                lifetime="detached",
                max_concurrency=_CALLS_AT_ONCE,
                max_restarts=-1 if spec.restarts else 0,
                max_task_retries=0,
                **_options(spec, group),
            )
        except (TypeError, ValueError) as error:
            raise ConfigError(f"Ray does not accept the options: {_first_line(error)}") from None
        try:
            # Ray asks its control store for a named actor and blocks meanwhile.
            start: Callable[[], Any] = functools.partial(process.remote, _stored_part(spec))
            handle = await _answer(f"starting {spec.name}", start, ray.kill)
        except ValueError as error:
            if "already" in str(error):
                raise ActorDied(f"{spec.name} cannot be started: {error}") from None
            raise ConfigError(f"Ray does not accept the options: {_first_line(error)}") from None
        actor = RayActor(spec.name, handle, group is not None, spec.title, restarts=spec.restarts)
        try:
            await actor.begin(spec.args)
        except BaseException:
            actor.kill()
            raise
        return actor

    async def missing(self, spec: ActorSpec) -> dict[str, tuple[float, float]]:
        nodes = await _answer("what is free", functools.partial(_free_nodes, spec))
        group = _group(spec, 1)
        return lacking(group.needs, nodes, together=group.together, apart=group.apart)

    async def capacity(self, wanted: Mapping[str, tuple[ActorSpec, int]]) -> Capacity:
        def ask() -> Capacity:
            groups = {key: _group(spec, count) for key, (spec, count) in wanted.items()}
            limits = {_room_for(spec): spec.max_per_node for spec, _ in wanted.values()}
            oversized, totals = exceeded(groups, _whole_nodes(limits))
            if not (oversized or totals):
                return Capacity()
            asks = {key: group.resources for key, group in groups.items()}
            return Capacity(oversized, totals, asks, _grows())

        return await _answer("what the cluster has in all", ask)

    async def find_actor(self, name: str) -> Actor | None:
        _check_connected(self._connection)
        try:
            handle = await _answer(f"finding {name}", lambda: ray.get_actor(name, NAMESPACE))
        except ValueError:
            return None
        return RayActor(name, handle)

    async def list_actors(self, prefix: str) -> list[str]:
        _check_connected(self._connection)
        found = await _answer("listing actors", lambda: list_named_actors(all_namespaces=True))
        return [
            actor["name"]
            for actor in found
            if actor["namespace"] == NAMESPACE and actor["name"].startswith(prefix)
        ]

    async def end_process(self, node_id: str, pid: int) -> None:
        there = NodeAffinitySchedulingStrategy(node_id, soft=False)
        task = _remote(_end_process).options(num_cpus=0, max_retries=0, scheduling_strategy=there)
        await _answer(f"ending process {pid}", lambda: task.remote(pid))

    async def release(self, prefix: str) -> None:
        # In this order: what is started meanwhile is among the living.
        left = await _answer("listing placement groups", lambda: _groups_named(prefix))
        living = {*await self.list_actors(prefix), *self._starting}
        for name, group in left:
            if name not in living:
                remove = functools.partial(remove_placement_group, group)
                await _answer(f"giving back the bundles of {name}", remove)

    async def nodes(self) -> list[Node]:
        return await _answer("listing nodes", _nodes)

    async def get(self, key: str) -> bytes | None:
        def ask() -> bytes | None:
            found: bytes | None = _store().internal_kv_get(
                key.encode(), _KV_NAMESPACE, timeout=_ANSWER_S
            )
            return found

        return await _answer("reading the state", ask)

    async def put(self, key: str, value: bytes) -> None:
        def ask() -> None:
            _store().internal_kv_put(key.encode(), value, True, _KV_NAMESPACE, timeout=_ANSWER_S)

        await _answer("storing the state", ask)

    async def delete(self, key: str) -> None:
        def ask() -> None:
            _store().internal_kv_del(key.encode(), False, _KV_NAMESPACE, timeout=_ANSWER_S)

        await _answer("deleting the state", ask)

    async def keys(self, prefix: str) -> list[str]:
        def ask() -> list[str]:
            found: list[bytes] = _store().internal_kv_keys(
                prefix.encode(), _KV_NAMESPACE, timeout=_ANSWER_S
            )
            return [key.decode() for key in found]

        return await _answer("listing what is stored", ask)


@functools.cache
def _remote(code: Any) -> Any:
    """Return what Ray starts of a class or function of ours; made once in each process.

    Ray stores each one's code, for good, once for every cluster that it is used in.
    """
    return ray.remote(code)


def _keep_log_lines() -> None:
    """Have this program shown every line of the log, unless its user has decided about that.

    Ray leaves out lines that another process has printed within five seconds, and shows them
    later with a count. Of a traceback that two replicas print, the half would be missing.
    """
    if "RAY_DEDUP_LOGS" not in os.environ:
        # Ray has read the variable when it was imported.
        ray._private.ray_logging.RAY_DEDUP_LOGS = False  # type: ignore[attr-defined]


class _RayTokens:
    """The `Tokens` of Ray in this process."""

    @property
    def mode(self) -> str:
        return os.environ.get("RAY_AUTH_MODE", "").lower()

    def header(self) -> str:
        try:
            loader = AuthenticationTokenLoader.instance()
            found = loader.get_token_for_http_header(ignore_auth_mode=True)
        except Exception as error:  # Ray's AuthenticationError, from a module of its own
            raise ConfigError(f"Ray cannot read the token: {_first_line(error)}") from None
        return str(found.get("authorization", ""))

    def enable(self) -> None:
        os.environ["RAY_AUTH_MODE"] = "token"
        Config.initialize("")  # Ray has read its environment already


def _address_of(cluster: str | None) -> str | None:
    """Return a cluster's host and port, as Ray finds them: None for the one started last."""
    forget = getattr(find_gcs_addresses, "cache_clear", None)
    if forget is not None:  # a Ray that remembers what its search of this machine has found
        forget()
    if cluster == "auto" and not os.environ.get("RAY_ADDRESS"):
        running = find_gcs_addresses()  # type: ignore[no-untyped-call]
        if len(running) > 1 and find_bootstrap_address(None) is None:
            raise ConfigError(
                f"{len(running)} Ray clusters run on this machine: {', '.join(sorted(running))}. "
                "Choose one by its address (--address, or RAY_ADDRESS), or 'local' for a new one."
            )
    return canonicalize_bootstrap_address(cluster)  # type: ignore[arg-type]


@contextlib.contextmanager
def _quiet_about_tokens() -> Iterator[None]:
    """Keep Ray from warning that tokens are on, which is as it should be."""
    logger = logging.getLogger("ray._private.authentication.authentication_token_setup")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


async def _answer(what: str, ask: Callable[[], T], undo: Callable[[T], object] | None = None) -> T:
    """Run a call that blocks on Ray's control store, which may be gone, in a thread.

    Args:
        what: Is asked for, in the error.
        undo: What to do with an answer that comes too late.

    Raises:
        ClusterSilent: There is no answer in time.
    """
    try:
        return await _CALLS.run(ask, _ANSWER_S, undo)
    except (TimeoutError, exceptions.RpcError) as error:
        why = f" ({_first_line(error)})" if isinstance(error, exceptions.RpcError) else ""
        raise ClusterSilent(
            f"Ray's control store has not answered within {_ANSWER_S:g} s: {what}{why}. What runs "
            "goes on without it; see to the process gcs_server on Ray's head node."
        ) from None


def _store() -> Any:
    """Return this process's connection to Ray's control store; its calls take a `timeout`."""
    return ray._private.worker.global_worker.gcs_client  # type: ignore[attr-defined]


def _stored_part(spec: ActorSpec) -> ActorSpec:
    """Return what the process needs before `begin`: Ray's control store keeps it, on disk even."""
    if spec.restarts and spec.args:
        raise ValueError(f"{spec.name}: nobody hands arguments to a process that Ray restarts")
    return replace(spec, args=(), options={}, bundles=())


def _options(spec: ActorSpec, group: PlacementGroup | None) -> dict[str, Any]:
    """Return an actor's resources, environment and place, as Ray takes them."""
    options: dict[str, Any] = {"num_cpus": 0, **spec.options}
    if spec.node_id:
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(spec.node_id, soft=False)
    elif group is not None:
        options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(
            group, placement_group_bundle_index=0, placement_group_capture_child_tasks=True
        )
    else:
        options["scheduling_strategy"] = "SPREAD" if spec.spread else "DEFAULT"
    if spec.on_head:
        options["resources"] = {**(options.get("resources") or {}), _HEAD: 0.001}
    if spec.max_per_node:
        resources = dict(options.get("resources") or {})
        resources[_counter(spec)] = 1.0 / spec.max_per_node
        options["resources"] = resources
    if spec.avoid and group is None and "label_selector" not in options:
        # Ray goes on placing actors on a node that is gone until it has missed its heartbeats.
        options["label_selector"] = {"ray.io/node-id": f"!in({','.join(spec.avoid)})"}
        options["fallback_strategy"] = [{"label_selector": {}}]
    return options


def _end_process(pid: int) -> None:
    """On its node: end a process of Ray's, unless its number is another one's by now."""
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            is_ray = file.read().startswith(b"ray::")
        if is_ray:
            os.kill(pid, signal.SIGKILL)


def _counter(spec: ActorSpec) -> str:
    """Name the resource that bounds a group's actors on a node: each node has 1, undeclared."""
    return f"{IMPLICIT_RESOURCE_PREFIX}{spec.group}"


def _group(spec: ActorSpec, count: int) -> Group:
    return Group(
        _needs(spec),
        count,
        together=spec.bundle_strategy == "STRICT_PACK",
        apart=spec.bundle_strategy == "STRICT_SPREAD",
    )


def _needs(spec: ActorSpec) -> list[Need]:
    """Return what an actor takes of the nodes it lies on, under Ray's names for it."""
    if spec.bundles:
        labels = spec.bundle_labels or ({},) * len(spec.bundles)
        return [
            Need(bundle, (selector,) if selector else ())
            for bundle, selector in zip(spec.bundles, labels, strict=True)
        ]
    options = spec.options
    names = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
    amounts = {ray_name: options.get(name) or 0 for name, ray_name in names.items()}
    amounts |= options.get("resources") or {}
    if options.get("accelerator_type"):
        amounts[f"accelerator_type:{options['accelerator_type']}"] = _ACCELERATOR_SHARE
    if spec.max_per_node:
        amounts[_room_for(spec)] = 1.0
    asked = [options, *(options.get("fallback_strategy") or ())]
    selectors = tuple(each["label_selector"] for each in asked if each.get("label_selector"))
    resources = {name: float(amount) for name, amount in amounts.items() if amount}
    return [Need(resources, selectors, spec.node_id)]


def _room_for(spec: ActorSpec) -> str:
    return f"room for {spec.group} (at most {spec.max_per_node} on a node)"


def _whole_nodes(limits: Mapping[str, int]) -> list[FreeNode]:
    """Ask Ray what the nodes that take actors have, free or in use.

    Args:
        limits: Actors that may share a node, by the name of that bound.
    """
    leaving = _draining()
    room = {name: float(limit) for name, limit in limits.items()}
    return [
        FreeNode(node_id.hex(), {**dict(node.resources_total), **room}, dict(node.labels))
        for node_id, node in _store().get_all_node_info(timeout=_ANSWER_S).items()
        if node.state == GcsNodeInfo.ALIVE and node_id.hex() not in leaving
    ]


def _grows() -> bool:
    """Whether Ray's autoscaler may add nodes. A cluster put together by hand has one that cannot.

    Ray calls each node of such a cluster a type of its own.
    """
    store = _store()
    if store.internal_kv_get(_AUTOSCALER_V2, None, timeout=_ANSWER_S) == b"1":
        return True
    status = store.internal_kv_get(_AUTOSCALER_STATUS, None, timeout=_ANSWER_S)
    report = (json.loads(status) if status else {}).get("autoscaler_report") or {}
    types = report.get("node_type_mapping") or {}
    return any(kind != f"node_{node_id}" for node_id, kind in types.items())


def _free_nodes(spec: ActorSpec) -> list[FreeNode]:
    """Ask Ray what is free on the nodes that take actors."""
    labels = {
        node_id.hex(): dict(node.labels)
        for node_id, node in _store().get_all_node_info(timeout=_ANSWER_S).items()
        if node.state == GcsNodeInfo.ALIVE
    }
    leaving = _draining()
    usage = _store().get_all_resource_usage(timeout=_ANSWER_S).resource_usage_data.batch
    nodes = []
    for each in usage:
        node_id = each.node_id.hex()
        if node_id in labels and node_id not in leaving:
            free = dict(each.resources_available)
            if spec.max_per_node:
                # In shares of 1/n, of which Ray speaks only once somebody has one.
                share = free.get(_counter(spec), 1.0)
                free[_room_for(spec)] = float(round(share * spec.max_per_node))
            nodes.append(FreeNode(node_id, free, labels[node_id]))
    return nodes


def _nodes() -> list[Node]:
    leaving = _draining()
    return [
        Node(
            node_id.hex(),
            node.node_manager_address,
            is_head=_HEAD in node.resources_total,
            draining_until=leaving.get(node_id.hex()),
            cores=max(int(node.resources_total.get("CPU", 0)), 1),
        )
        for node_id, node in _store().get_all_node_info(timeout=_ANSWER_S).items()
        if node.state == GcsNodeInfo.ALIVE
    ]


def _draining() -> dict[str, float]:
    """Return until when the nodes that are to go will be there, in seconds since 1970."""
    try:
        found = _store().get_draining_nodes(timeout=_ANSWER_S)
    except AttributeError:  # Ray 2.54 has it in another place, and without a limit of time
        found = ray._private.state.state.get_draining_nodes()
    # In milliseconds, and 0 for no bound.
    return {node_id: until / 1000 or math.inf for node_id, until in found.items()}


def _groups_named(prefix: str) -> list[tuple[str, PlacementGroup]]:
    """Return the placement groups that are there or asked for, of names that begin so."""
    return [
        (entry["name"], PlacementGroup(PlacementGroupID.from_hex(group_id)))
        for group_id, entry in placement_group_table().items()
        if entry["name"].startswith(prefix) and entry["state"] != "REMOVED"
    ]


def _remove_groups(of: str) -> None:
    for name, group in _groups_named(of):
        if name == of:
            remove_placement_group(group)


def _this_node() -> Node:
    context = ray.get_runtime_context()
    address = str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]
    return Node(context.get_node_id(), address, cores=num_cores())


def _cause(error: exceptions.RayTaskError) -> BaseException:
    """Return the exception as it was raised in the actor."""
    cause = error.cause
    return cause if isinstance(cause, BaseException) else PluginError(str(error))


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
