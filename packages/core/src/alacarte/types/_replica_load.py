"""State of a replica in a calling process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_NONE: frozenset[str] = frozenset()


class ReplicaLoad:
    """The load of one replica, as this process's router knows it. Read-only for policies.

    Attributes:
        replica_id: Unique over the deployment's lifetime.
        node_id: The replica's node.
        local: Whether the replica runs on this process's node. Always False in a driver on Ray.
        max_ongoing: Number of requests that the replica accepts at a time.
        in_flight: Number of this process's requests that the replica works on.
        reported: Number of all callers' requests in the replica, by its latest report.
        blocked: Whether the replica rejected a request, and has not announced a free slot since.
        latency_s: Moving average of the duration of calls in seconds, 0.0 before the first call.
        advertised: The values that the replica advertises, by topic; see
            `ReplicaContext.advertise`.
    """

    __slots__ = (
        "advertised", "blocked", "in_flight", "latency_s", "local", "max_ongoing", "node_id",
        "replica_id", "reported",
    )  # fmt: skip

    def __init__(
        self, replica_id: str, *, max_ongoing: int = 5, node_id: str = "", local: bool = True
    ) -> None:
        self.replica_id = replica_id
        self.node_id = node_id
        self.local = local
        self.max_ongoing = max_ongoing
        self.in_flight = 0
        self.reported = 0
        self.blocked = False
        self.latency_s = 0.0
        self.advertised: Mapping[str, frozenset[str]] = {}

    @property
    def free(self) -> bool:
        """Whether the replica accepts a request now, as far as this process knows."""
        return self.in_flight < self.max_ongoing and not self.blocked

    @property
    def model_ids(self) -> frozenset[str]:
        """The models that the replica holds or loads, advertised under the topic `models`."""
        return self.advertised.get("models", _NONE)

    def __repr__(self) -> str:
        state = "blocked" if self.blocked else f"{self.in_flight}/{self.max_ongoing}"
        return f"<replica {self.replica_id} {state}>"


@dataclass(frozen=True)
class Address:
    """The addresses of a replica.

    Attributes:
        unix_path: Path of the Unix socket, for callers on the same host.
        host_id: Identifies that host.
        tcp: `(ip, port)`, None for a replica without a TCP port.
    """

    unix_path: str
    host_id: str
    tcp: tuple[str, int] | None = None
