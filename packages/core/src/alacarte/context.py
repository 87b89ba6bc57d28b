"""Where code is running: in which request, in which replica, with which runtime.

Context variables, so that they hold in the thread pool and in tasks the user starts, and so that
the local cluster, whose replicas share one process, keeps them apart.
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
        code_version: Of the deployment; it changes when a replica of new code is started.
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
        """Tell every process that calls this replica what it holds, for routing policies to see.

        They see it as `ReplicaLoad.advertised[topic]`, soon and without asking. What was said of
        the topic before is replaced; callers that connect later are told, too. From any thread.

        Args:
            topic: Names the kind of thing; `models` is what alacarte-multiplexing tells.
            values: All that the replica holds of it: short texts.

        Raises:
            ConfigError: All topics together exceed 1 MiB.
            ServeError: The replica is not running.
        """
        if self._publish is None:
            raise ServeError(f"replica {self.replica_id} does not run: it can advertise nothing.")
        self._publish(topic, frozenset(values))

    def on_open(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Await `callback()` before the replica takes requests, once the user's object is made.

        For `CallProtocol.bind`, which is called just before. One that fails is a failed start.
        """
        self._opening.append(callback)

    def on_close(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Await `callback()` when the replica stops: after its last request, before `__del__`.

        Those given last run first. One that fails is logged.
        """
        self._closing.append(callback)

    def on_resize(self, callback: Callable[[int], object]) -> None:
        """Call `callback(max_ongoing_requests)` now, and on the event loop when the option changes.

        For what limits requests by itself, such as a thread pool.
        """
        self._resizing.append(callback)
        callback(self._max_ongoing)

    def _resize(self, max_ongoing: int) -> None:
        self._max_ongoing = max_ongoing
        for callback in self._resizing:
            callback(max_ongoing)

    @property
    def app_name(self) -> str:
        """The application."""
        return self.deployment_id.app

    @property
    def deployment(self) -> str:
        """The deployment's name."""
        return self.deployment_id.name

    @property
    def replica_tag(self) -> str:
        """Ray Serve's name for `replica_id`."""
        return self.replica_id


current_call: ContextVar[Call | None] = ContextVar("alacarte_call", default=None)
"""The request being worked on here, None outside of one."""

current_replica: ContextVar[ReplicaContext | None] = ContextVar("alacarte_replica", default=None)
"""The replica this code runs in, None outside of one."""

current_runtime: ContextVar[Runtime | None] = ContextVar("alacarte_runtime", default=None)
"""The runtime of the actor this code runs in; None in a driver, which has one for the process."""


def get_replica_context() -> ReplicaContext:
    """Return the replica that calls this.

    Raises:
        ServeError: Not called in a replica.
    """
    replica = current_replica.get()
    if replica is None:
        raise ServeError("get_replica_context() was called outside of a replica.")
    return replica


@dataclass(frozen=True)
class RequestContext:
    """The request that user code is working on.

    Attributes:
        request_id: Follows the request through every nested call, and stands in logs.
        app_name: Application the request entered through; of a call by a handle from outside,
            the one that answers it.
        route: Route prefix it entered by, "" when it came by a handle.
        multiplexed_model_id: Model asked for, "" for none.
        session_id: What makes routing sticky, "" for none.
        deadline: When its time is over, on this process's `time.monotonic()`; None for no limit.
        identity: Who makes the request, as an authentication layer has established; else None.
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
        """Whether the caller has gone or given up, or the time is over.

        An async method is told by `asyncio.CancelledError`. A sync one runs on in its thread until
        it looks here, or calls another deployment, which raises `RequestCancelledError`.
        """
        return self._nested is not None and self._nested.cancelled

    def remaining_s(self) -> float | None:
        """Return the seconds left, 0.0 when the time is over, None for no limit."""
        return None if self.deadline is None else max(self.deadline - time.monotonic(), 0.0)


def get_request_context() -> RequestContext:
    """Return the request that the calling code works on.

    In the methods of a replica, in its threads, and in the tasks that they start.

    Raises:
        ServeError: No request is being worked on here.
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
