"""Choosing a replica for each call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from ._configuration import ConfigSections
from ._deployment_info import DeploymentInfo
from ._observers import Outcome
from ._replica_load import ReplicaLoad
from ._requests import Call

Pick = ReplicaLoad
"""A policy picks by returning one of the replicas it was shown."""


class Wait(NamedTuple):
    """Every replica is busy: keep the call in the queue until a slot frees."""


WAIT = Wait()


class Shed(NamedTuple):
    """Refuse the call now, with back pressure."""

    retry_after_s: float = 1.0


class RoutingPolicy(Protocol):
    """Chooses a replica for each call of one deployment, in one process.

    Every method runs on the router's event loop, must not block and does no I/O. One object
    serves one router, so it needs no lock. What `choose` raises, or returns against its contract,
    fails that call with a `PluginError` that names the policy, its plugin and the deployment.
    """

    def choose(self, call: Call, replicas: Sequence[ReplicaLoad]) -> Pick | Wait | Shed:
        """Return one of `replicas` that is `free`, `WAIT`, or a `Shed`.

        Args:
            call: The call to place. Its payload is not to be read.
            replicas: Those that are connected, never empty, in no particular order.
        """


class ListeningPolicy(RoutingPolicy, Protocol):
    """A routing policy that asks what becomes of calls and replicas.

    Each of the methods is optional: calls pay only for those that are there. Their exceptions are
    logged, the first of each method, and change nothing.
    """

    def started(self, call: Call, replica: ReplicaLoad) -> None:
        """A call was sent to this replica."""

    def finished(self, call: Call, replica: ReplicaLoad, outcome: Outcome) -> None:
        """What this replica had of a call has ended: exactly once for each `started`."""

    def left(self, replica: ReplicaLoad) -> None:
        """A replica is gone for good, and every call that it had has finished."""


@dataclass(frozen=True)
class PolicyContext:
    """What a routing policy is made for.

    Attributes:
        deployment: The deployment whose calls it places.
        parameters: What the user gave beside the name, an instance of the factory's `parameters`
            model; None for a factory without one.
        config: The configuration of the instance.
        clock: Seconds, never going back; the clock of `Call.deadline`.
    """

    deployment: DeploymentInfo
    parameters: Any
    config: ConfigSections
    clock: Callable[[], float]


@dataclass(frozen=True)
class PolicyFactory:
    """A routing policy under the name by which `DeploymentConfig.routing_policy` asks for it.

    Attributes:
        name: Unique among all installed plugins.
        create: Makes one policy for one router.
        parameters: `"module:attribute"` of a frozen pydantic model, which the other items of
            `routing_policy={"name": ..., ...}` fill; "" for a policy without parameters.
    """

    name: str
    create: Callable[[PolicyContext], RoutingPolicy]
    parameters: str = ""
