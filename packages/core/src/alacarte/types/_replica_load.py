"""A replica as its callers see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_NONE: frozenset[str] = frozenset()


class ReplicaLoad:
    """One replica as this process's router sees it. Policies read it and change nothing.

    Attributes:
        replica_id: Unique within the deployment's life.
        node_id: The node it runs on.
        local: It runs on the same node as this process. False for all replicas in a driver on Ray.
        max_ongoing: Requests it accepts at a time.
        in_flight: Requests of this process that it is working on.
        reported: Requests it was working on when it last told, everyone's included.
        blocked: It refused a request and has not announced a free slot since.
        latency_s: Moving average of the time a call took to its end, 0.0 before the first.
        advertised: What it says that it holds, by topic; see `ReplicaContext.advertise`.
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
        """Whether it can take a request now, as far as this process knows."""
        return self.in_flight < self.max_ongoing and not self.blocked

    @property
    def model_ids(self) -> frozenset[str]:
        """Models it holds or is loading: what it advertises under `models`."""
        return self.advertised.get("models", _NONE)

    def __repr__(self) -> str:
        state = "blocked" if self.blocked else f"{self.in_flight}/{self.max_ongoing}"
        return f"<replica {self.replica_id} {state}>"


@dataclass(frozen=True)
class Address:
    """Where a replica listens.

    Attributes:
        unix_path: Its Unix socket, usable on the same host only.
        host_id: Names that host.
        tcp: `(ip, port)`, None when it listens on no TCP port.
    """

    unix_path: str
    host_id: str
    tcp: tuple[str, int] | None = None
