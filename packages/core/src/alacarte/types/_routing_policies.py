"""Routing policies: the choice of a replica for each call."""

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
"""The chosen replica, from the sequence that `choose` was given."""


class Wait(NamedTuple):
    """Decision to keep the call queued until a slot is free."""


WAIT = Wait()


class Shed(NamedTuple):
    """Decision to refuse the call with a `BackPressureError`.

    Attributes:
        retry_after_s: Seconds after which the client may retry.
    """

    retry_after_s: float = 1.0


class RoutingPolicy(Protocol):
    """Chooses a replica for each call of one deployment, in one process.

    Every method runs on the router's event loop, must not block and does no I/O. Each router has
    its own policy object, so the object needs no lock. When `choose` raises or returns an invalid
    value, that call fails with a `PluginError` that names the policy, its plugin and the
    deployment.
    """

    def choose(self, call: Call, replicas: Sequence[ReplicaLoad]) -> Pick | Wait | Shed:
        """Return one of `replicas` that is `free`, `WAIT`, or a `Shed`.

        Args:
            call: The call to route. Do not read its payload.
            replicas: The connected replicas, at least one, in no particular order.
        """


class ListeningPolicy(RoutingPolicy, Protocol):
    """A routing policy that receives the outcomes of calls, and the end of replicas.

    Each of the methods is optional, and costs nothing where it is absent. The first exception of
    each method is logged; exceptions change nothing.
    """

    def started(self, call: Call, replica: ReplicaLoad) -> None:
        """Called when a call is sent to a replica."""

    def finished(self, call: Call, replica: ReplicaLoad, outcome: Outcome) -> None:
        """Called when an attempt at a replica has ended, exactly once for each `started`."""

    def left(self, replica: ReplicaLoad) -> None:
        """Called when a replica is gone for good and all its calls have finished."""


@dataclass(frozen=True)
class PolicyContext:
    """The deployment, parameters, configuration and clock of a routing policy.

    Attributes:
        deployment: The deployment whose calls the policy routes.
        parameters: The user's parameters, an instance of the factory's `parameters` model; None
            for a factory without a model.
        config: The configuration of the instance.
        clock: The monotonic clock of `Call.deadline`, in seconds.
    """

    deployment: DeploymentInfo
    parameters: Any
    config: ConfigSections
    clock: Callable[[], float]


@dataclass(frozen=True)
class PolicyFactory:
    """A routing policy and its name in `DeploymentConfig.routing_policy`.

    Attributes:
        name: Unique among all installed plugins.
        create: Creates a policy for one router.
        parameters: `"module:attribute"` of a frozen pydantic model for the other items of
            `routing_policy={"name": ..., ...}`; "" for a policy without parameters.
    """

    name: str
    create: Callable[[PolicyContext], RoutingPolicy]
    parameters: str = ""
