"""What a plugin may observe of requests, process by process.

A `Meter` belongs to one process. It is asked once for each router, replica, ingress and batched
function of that process, and gives an observer for it, or None. Only these observers run at request
time; where no plugin gives one, nothing is called.
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
    """How a call ended: the call as a whole, or the part of it that one replica had.

    Attributes:
        kind: `success`; `error`, raised by the replica's code or by whoever refused the call;
            `rejected`, not taken by a replica at its limit, and not started; `lost`, the connection
            to the replica broke; `unanswered`, given up while the replica had not even answered a
            PING; `cancelled`, given up by the caller.
        code: Of the error; None for a success.
        error_type: Name of the exception's class, "" where there was none.
        first_part_s: Seconds until the reply began, None when it did not.
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

    As of all observers, subclass it and override the methods of interest. They must not block. An
    exception is logged once with the plugin's name, and changes nothing for the call.

    Each call is one `Call` object from `began` to `ended`, which come exactly once each, in this
    order. A broadcast is not among them: see `broadcast`.
    """

    def began(self, call: Call) -> None:
        """A call was handed to the router, inside of all layers."""

    def queued(self, call: Call) -> None:
        """A call waits, since no replica takes it now. Again after each refusal."""

    def sent(self, call: Call, replica: ReplicaLoad) -> None:
        """A call was sent to a replica."""

    def rejected(self, call: Call, replica: ReplicaLoad) -> None:
        """A replica at its limit refused a call, which goes elsewhere."""

    def retried(self, call: Call, replica: ReplicaLoad) -> None:
        """The replica was lost, and the call, which may run twice, goes elsewhere."""

    def first_part(self, call: Call, replica: ReplicaLoad) -> None:
        """The first part of a reply that streams has come. Not called for a reply in one piece."""

    def ended(self, call: Call, replica: ReplicaLoad | None, outcome: Outcome) -> None:
        """A call ended.

        Args:
            replica: The last one it was sent to, None when none took it.
        """

    def broadcast(self, call: Call, replicas: Sequence[ReplicaLoad]) -> None:
        """A call was sent to every replica, past policy and queue."""

    def joined(self, replica: ReplicaLoad) -> None:
        """A replica was connected to, for the first time or again."""

    def left(self, replica: ReplicaLoad) -> None:
        """A replica is gone for good."""

    def ejected(self, replica: ReplicaLoad) -> None:
        """A replica that does not answer gets no more calls for now."""

    def restored(self, replica: ReplicaLoad) -> None:
        """A replica that was ejected gets calls again."""


class ReplicaObserver:
    """Observes the calls that one replica runs. Runs on the replica's event loop."""

    def rejected(self, call: Call) -> None:
        """A call was refused: the replica is at its limit, or leaves."""

    def started(self, call: Call) -> None:
        """A call has a slot, and begins to run."""

    def first_part(self, call: Call) -> None:
        """The first part of a reply that streams was sent."""

    def ended(self, call: Call, outcome: Outcome) -> None:
        """A call that started has ended."""


class WireObserver:
    """Observes the connections between callers and replicas at one end. Runs on their event loop.

    Bytes are those of the sockets: frames of all kinds, handshakes and PINGs included. What goes
    through shared memory is not among them.
    """

    def opened(self) -> None:
        """A connection was opened; the peer has still to prove itself."""

    def closed(self) -> None:
        """A connection ended."""

    def sent(self, size_bytes: int) -> None:
        """Bytes were written."""

    def received(self, size_bytes: int) -> None:
        """Bytes have arrived."""


@dataclass(frozen=True, slots=True)
class EdgeRequest:
    """A request from outside as an ingress such as the HTTP proxy saw it.

    Attributes:
        protocol: `http` or `websocket`; another ingress has a name of its own.
        method: As in the request, "" where no request line could be read.
        path: Its path as sent, without the query; "" where none could be read.
        route: Prefix of the route that the path belongs to, "" for none.
        app: Application behind that route, or the one that has answered; "" for none.
        request_id: "" for a request that was refused before it had one.
        status: Sent to the client; 499 for one that left before. A WebSocket's is 101.
        total_s: Seconds from the head's arrival to the end; 0.0 for a request that the ingress
            answered by itself.
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

    Each request is either `refused` or has `ended`, exactly once. One whose body is refused while
    an application works on it has ended as well, with 499.
    """

    def opened(self) -> None:
        """A client connected."""

    def closed(self) -> None:
        """A client's connection ended."""

    def received(self, size_bytes: int) -> None:
        """Bytes came from a client."""

    def sent(self, size_bytes: int) -> None:
        """Bytes were written to a client."""

    def refused(self, request: EdgeRequest, reason: str) -> None:
        """The ingress answered with an error of its own: no application has seen the request.

        Args:
            reason: A sentence, the one that the client was sent.
        """

    def ended(self, request: EdgeRequest) -> None:
        """A request has ended: answered by an application or a plugin's layer, left by its client,
        or one for the ingress itself that succeeded, such as `/-/healthz`.
        """


class BatchObserver:
    """Observes one batched function. Runs on the replica's event loop."""

    def queued(self) -> None:
        """A call waits for its batch."""

    def started(self, size: int, oldest_s: float) -> None:
        """A batch of so many calls begins; its oldest has waited so many seconds."""

    def ended(self, size: int, total_s: float, error: BaseException | None) -> None:
        """A batch has ended, after so many seconds."""


class Meter:
    """What one plugin observes in one process. Override what is of interest.

    Each method is called once for each of its subjects in this process, and may return None.
    """

    def router(self, deployment: DeploymentId) -> RouterObserver | None:
        """Return what observes this process's calls to a deployment."""
        return None

    def replica(self, deployment: DeploymentId) -> ReplicaObserver | None:
        """Return what observes the calls that this replica runs."""
        return None

    def wire(self, end: Literal["caller", "replica"]) -> WireObserver | None:
        """Return what observes this process's connections to replicas, or those of its callers."""
        return None

    def edge(self, ingress: str) -> EdgeObserver | None:
        """Return what observes an ingress of this process, such as `http`."""
        return None

    def batcher(self, deployment: DeploymentId, function: str) -> BatchObserver | None:
        """Return what observes a batched function, by its qualified name."""
        return None
