"""The current request, replica and runtime.

All are context variables: they follow into the thread pool and into tasks of user code, and they
separate the replicas of the local cluster, which share a process.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from .errors import ServeError
from .types import Call, DeploymentId, Identity, NestedCalls, Runtime

__all__ = [
    "ReplicaContext",
    "RequestContext",
    "current_call",
    "current_replica",
    "current_runtime",
    "get_replica_context",
    "get_request_context",
]


@dataclass
class ReplicaContext:
    """The replica that user code runs in.

    Attributes:
        deployment_id: Application and deployment.
        replica_id: Unique within the instance.
        servable_object: The user's object; None while its constructor runs.
        code_version: Version of the deployment's code.
    """

    deployment_id: DeploymentId
    replica_id: str
    servable_object: Any = None
    code_version: str = ""
    _publish: Callable[[str, frozenset[str]], None] | None = field(default=None, repr=False)
    _opening: list[Callable[[], Awaitable[None]]] = field(default_factory=list, repr=False)
    _closing: list[Callable[[], Awaitable[None]]] = field(default_factory=list, repr=False)
    _resizing: list[Callable[[int], object]] = field(default_factory=list, repr=False)
    _max_ongoing: int = field(default=1, repr=False)

    def advertise(self, topic: str, values: Iterable[str]) -> None:
        """Publish values of a topic to every process that calls this replica, for routing policies.

        Policies read them as `ReplicaLoad.advertised[topic]`. The values replace the topic's
        previous values, and also reach callers that connect later. From any thread.

        Args:
            topic: Name of the topic; alacarte-multiplexing uses `models`.
            values: All values of the topic: short strings.

        Raises:
            ConfigError: All topics together exceed 1 MiB.
            ServeError: The replica is not running.
        """
        if self._publish is None:
            raise ServeError(f"replica {self.replica_id} is not running and cannot advertise.")
        self._publish(topic, frozenset(values))

    def on_open(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Await `callback()` after the user's constructor, before the replica accepts requests.

        For `CallProtocol.bind`, which is called just before. When the callback raises, the start of
        the replica fails.
        """
        self._opening.append(callback)

    def on_close(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Await `callback()` when the replica stops: after its last request, before `__del__`.

        Callbacks run in reverse order of registration. Exceptions are logged.
        """
        self._closing.append(callback)

    def on_resize(self, callback: Callable[[int], object]) -> None:
        """Call `callback(max_ongoing_requests)` now, and on the event loop when the option changes.

        For objects that limit requests themselves, such as thread pools.
        """
        self._resizing.append(callback)
        callback(self._max_ongoing)

    def _resize(self, max_ongoing: int) -> None:
        self._max_ongoing = max_ongoing
        for callback in self._resizing:
            callback(max_ongoing)

    @property
    def app_name(self) -> str:
        """The name of the application."""
        return self.deployment_id.app

    @property
    def deployment(self) -> str:
        """The name of the deployment."""
        return self.deployment_id.name

    @property
    def replica_tag(self) -> str:
        """Ray Serve's name for `replica_id`."""
        return self.replica_id


current_call: ContextVar[Call | None] = ContextVar("alacarte_call", default=None)
"""The current call, None outside of a request."""

current_replica: ContextVar[ReplicaContext | None] = ContextVar("alacarte_replica", default=None)
"""The current replica, None outside of a replica."""

current_runtime: ContextVar[Runtime | None] = ContextVar("alacarte_runtime", default=None)
"""The runtime of the current actor; None in a driver, which has one runtime for the process."""


def get_replica_context() -> ReplicaContext:
    """Return the context of the current replica.

    Raises:
        ServeError: The calling code does not run in a replica.
    """
    replica = current_replica.get()
    if replica is None:
        raise ServeError("get_replica_context() was called outside of a replica.")
    return replica


@dataclass(frozen=True)
class RequestContext:
    """The request that user code handles.

    Attributes:
        request_id: Id of the request, inherited by every nested call and shown in logs.
        app_name: Application that the request entered through; for a handle call from outside of
            a request, the application that answers the call.
        route: Prefix of the route that the request entered by, "" for a handle call.
        multiplexed_model_id: Id of the requested model, "" for none.
        session_id: Key for sticky routing, "" for none.
        deadline: Time limit on this process's `time.monotonic()`; None for no limit.
        identity: The caller, as an authentication layer has established; None without such a layer.
    """

    request_id: str = ""
    app_name: str = ""
    route: str = ""
    multiplexed_model_id: str = ""
    session_id: str = ""
    deadline: float | None = None
    identity: Identity | None = None
    _nested: NestedCalls | None = field(default=None, repr=False, compare=False)

    @property
    def cancelled(self) -> bool:
        """Whether the caller has cancelled the request or left, or the deadline has passed.

        An async method gets `asyncio.CancelledError`. A sync method continues in its thread until
        it reads this property, or calls another deployment, which raises `RequestCancelledError`.
        """
        return self._nested is not None and self._nested.cancelled

    def remaining_s(self) -> float | None:
        """Return the seconds until the deadline, at least 0.0; None for no limit."""
        return None if self.deadline is None else max(self.deadline - time.monotonic(), 0.0)


def get_request_context() -> RequestContext:
    """Return the context of the current request.

    For the methods of a replica, its threads, and the tasks that they start.

    Raises:
        ServeError: The calling code handles no request.
    """
    call = current_call.get()
    if call is None:
        raise ServeError("get_request_context() was called outside of a request.")
    replica = current_replica.get()
    app = call.app or ("" if replica is None else replica.app_name)
    return RequestContext(
        call.request_id,
        app,
        call.route,
        call.model_id,
        call.routing_key,
        call.deadline,
        call.identity,
        call.nested,
    )
