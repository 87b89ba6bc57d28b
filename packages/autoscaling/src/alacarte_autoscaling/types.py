"""Types of autoscaling policies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from alacarte.types import DeploymentId

if TYPE_CHECKING:  # pydantic is slow to import, and not needed in processes that call
    from .config import AutoscalingConfig


@dataclass(frozen=True)
class AutoscalingContext:
    """The context of an autoscaling policy's decision: one deployment at one moment.

    Names are Ray Serve's. Times are in seconds since 1970.

    Attributes:
        deployment_id: Application and name of the deployment.
        deployment_name: Name of the deployment.
        app_name: Name of the application.
        current_num_replicas: Number of running replicas.
        target_num_replicas: Current target number of replicas.
        total_num_requests: Number of queued and running requests over `look_back_period_s`,
            aggregated by `aggregation_function`.
        total_queued_requests: Number of requests that now wait for a replica.
        total_running_requests: Number of requests that are now in replicas.
        capacity_adjusted_min_replicas: `min_replicas`.
        capacity_adjusted_max_replicas: `max_replicas`.
        config: The deployment's `AutoscalingConfig`.
        current_time: The current time.
        last_scale_up_time: Time of the last increase of the target, None for none yet.
        last_scale_down_time: Time of the last decrease of the target, None for none yet.
        policy_state: The state from the policy's previous decision; empty at first, and after a
            restart of the policy's process.
    """

    deployment_id: DeploymentId
    deployment_name: str
    app_name: str
    current_num_replicas: int
    target_num_replicas: int
    total_num_requests: float
    total_queued_requests: int
    total_running_requests: int
    capacity_adjusted_min_replicas: int
    capacity_adjusted_max_replicas: int
    config: AutoscalingConfig
    current_time: float
    last_scale_up_time: float | None = None
    last_scale_down_time: float | None = None
    policy_state: Mapping[str, Any] = field(default_factory=dict)


ScalingDecision = int | float | tuple[int | float, dict[str, Any]]
"""A policy's decision: a number of replicas, which may be fractional, or a tuple with a state."""


class ScalingPolicy(Protocol):
    """Decides on the number of replicas of a deployment.

    Factors, delays and bounds of the `AutoscalingConfig` are applied to the decision. A cold start,
    with queued requests and no running replica, does not call the policy.
    """

    def decide(self, context: AutoscalingContext) -> ScalingDecision:
        """Return the desired number of replicas. Must not block: it runs in the controller."""


@dataclass(frozen=True)
class ScalingPolicyFactory:
    """An autoscaling policy and its name in `AutoscalingPolicy.policy_function`.

    Attributes:
        name: Unique among all installed plugins; without ":" and ".", as in import paths.
        create: Creates a policy for one deployment from the user's `policy_kwargs`. A deployment
            with invalid arguments is refused with the raised error.
        period_s: Maximum time between two decisions, for policies that depend on more than the
            load, such as the time of day. None for decisions on changes of the load only.
    """

    name: str
    create: Callable[[Mapping[str, Any]], ScalingPolicy]
    period_s: float | None = None
