"""Observers of requests, process by process.

A `Meter` belongs to one process. It returns an observer, or None, for each router, replica, ingress
and batched function of that process. Only these observers run at request time; a process without
observers pays nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..errors import ErrorCode
from ._deployment_id import DeploymentId
from ._replica_load import ReplicaLoad
from ._requests import Call

OutcomeKind = Literal["success", "error", "rejected", "lost", "unanswered", "cancelled"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a call, or of one attempt at one replica.

    Attributes:
        kind: `success`; `error`, raised by the replica's code or by the code that refused the call;
            `rejected` by a replica at its limit, without a start; `lost`, the connection to the
            replica broke; `unanswered`, abandoned while the replica answered no PING; `cancelled`
            by the caller.
        code: The code of the error; None for a success.
        error_type: Name of the exception's class, "" for no exception.
        first_part_s: Seconds until the reply began, None for no reply.
        total_s: Seconds until the end.
    """

    kind: OutcomeKind
    code: ErrorCode | None = None
    error_type: str = ""
    first_part_s: float | None = None
    total_s: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the call succeeded."""
        return self.kind == "success"


class RouterObserver:
    """Observes the calls that one process makes to one deployment. Runs on the router's event loop.

    As with all observers, subclass it and override the methods of interest. They must not block. An
    exception is logged once with the plugin's name, and does not affect the call.

    Each call is one `Call` object from `began` to `ended`; both are called exactly once, in this
    order. Broadcasts call `broadcast` only.
    """

    def began(self, call: Call) -> None:
        """Called when a call enters the router, inside of all layers."""

    def queued(self, call: Call) -> None:
        """Called when a call is queued because no replica is free, and after each rejection."""

    def sent(self, call: Call, replica: ReplicaLoad) -> None:
        """Called when a call is sent to a replica."""

    def rejected(self, call: Call, replica: ReplicaLoad) -> None:
        """Called when a replica at its limit rejects a call, which then goes to another replica."""

    def retried(self, call: Call, replica: ReplicaLoad) -> None:
        """Called when an idempotent call is retried elsewhere because its replica was lost."""

    def first_part(self, call: Call, replica: ReplicaLoad) -> None:
        """Called when the first part of a streaming reply arrives."""

    def ended(self, call: Call, replica: ReplicaLoad | None, outcome: Outcome) -> None:
        """Called when a call has ended.

        Args:
            replica: The replica of the last attempt, None for a call that was never sent.
        """

    def broadcast(self, call: Call, replicas: Sequence[ReplicaLoad]) -> None:
        """Called when a call is sent to every replica, without policy and queue."""

    def joined(self, replica: ReplicaLoad) -> None:
        """Called when a connection to a replica is established, the first time or again."""

    def left(self, replica: ReplicaLoad) -> None:
        """Called when a replica is gone for good."""

    def ejected(self, replica: ReplicaLoad) -> None:
        """Called when an unresponsive replica is ejected, and gets no calls for a while."""

    def restored(self, replica: ReplicaLoad) -> None:
        """Called when an ejected replica gets calls again."""


class ReplicaObserver:
    """Observes the calls that one replica runs. Runs on the replica's event loop."""

    def rejected(self, call: Call) -> None:
        """Called when the replica rejects a call, at its limit or while it drains."""

    def started(self, call: Call) -> None:
        """Called when a call has a slot and starts to run."""

    def first_part(self, call: Call) -> None:
        """Called when the first part of a streaming reply was sent."""

    def ended(self, call: Call, outcome: Outcome) -> None:
        """Called when a call that started has ended."""


class WireObserver:
    """Observes the connections between callers and replicas at one end. Runs on their event loop.

    Counts the bytes of the sockets: frames of all kinds, authentication and PINGs included, but
    not payloads in shared memory.
    """

    def opened(self) -> None:
        """Called when a connection opens, before the peer is authenticated."""

    def closed(self) -> None:
        """Called when a connection closes."""

    def sent(self, size_bytes: int) -> None:
        """Called when bytes were written."""

    def received(self, size_bytes: int) -> None:
        """Called when bytes have arrived."""


@dataclass(frozen=True, slots=True)
class EdgeRequest:
    """A client's request at an ingress such as the HTTP proxy.

    Attributes:
        protocol: `http` or `websocket`; other ingresses use names of their own.
        method: The method, "" for an unreadable request line.
        path: The path as sent, without the query; "" for an unreadable request line.
        route: Prefix of the matching route, "" for no route.
        app: Application that answered, or the route's application; "" for no application.
        request_id: The request's id, "" for a request that was refused before it got an id.
        status: Status sent to the client; 499 where the client left earlier, 101 for a WebSocket.
        total_s: Seconds from the arrival of the head to the end; 0.0 for a request that the ingress
            answered without an application.
    """

    protocol: str
    method: str
    path: str
    route: str
    app: str
    request_id: str
    status: int
    total_s: float


class EdgeObserver:
    """Observes an ingress, such as the HTTP proxy of one process. Runs on its event loop.

    Each request calls either `refused` or `ended`, exactly once. A request whose body is refused
    while an application works on the request calls `ended`, with status 499.
    """

    def opened(self) -> None:
        """Called when a client connects."""

    def closed(self) -> None:
        """Called when a client's connection closes."""

    def received(self, size_bytes: int) -> None:
        """Called when bytes arrived from a client."""

    def sent(self, size_bytes: int) -> None:
        """Called when bytes were written to a client."""

    def refused(self, request: EdgeRequest, reason: str) -> None:
        """Called when the ingress answers with an error, before any application gets the request.

        Args:
            reason: The sentence that the client received.
        """

    def ended(self, request: EdgeRequest) -> None:
        """Called when a request has ended.

        An application or a plugin's layer has answered the request, the client has left, or the
        ingress has answered a request for itself, such as `/-/healthz`.
        """


class BatchObserver:
    """Observes one batched function. Runs on the replica's event loop."""

    def queued(self) -> None:
        """Called when a call is queued for a batch."""

    def started(self, size: int, oldest_s: float) -> None:
        """Called when a batch starts.

        Args:
            size: Number of calls in the batch.
            oldest_s: Seconds that the oldest call has waited.
        """

    def ended(self, size: int, total_s: float, error: BaseException | None) -> None:
        """Called when a batch has ended, after `total_s` seconds."""


class Meter:
    """The observers of one plugin in one process. Override the methods of interest.

    Each method is called once for each of its subjects in this process, and may return None.
    """

    def router(self, deployment: DeploymentId) -> RouterObserver | None:
        """Return an observer of this process's calls to a deployment."""
        return None

    def replica(self, deployment: DeploymentId) -> ReplicaObserver | None:
        """Return an observer of the calls that this replica runs."""
        return None

    def wire(self, end: Literal["caller", "replica"]) -> WireObserver | None:
        """Return an observer of this process's connections.

        Args:
            end: `"caller"` for the connections to replicas, `"replica"` for those from callers.
        """
        return None

    def edge(self, ingress: str) -> EdgeObserver | None:
        """Return an observer of an ingress of this process, such as `http`."""
        return None

    def batcher(self, deployment: DeploymentId, function: str) -> BatchObserver | None:
        """Return an observer of a batched function, by its qualified name."""
        return None
