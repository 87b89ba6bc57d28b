"""Autoscaling policies, and the context of their decisions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from alacarte.types import DeploymentId

if TYPE_CHECKING:  # pydantic is slow to import, and callers have no need of it
    from .config import AutoscalingConfig


@dataclass(frozen=True)
class AutoscalingContext:
    """The context of an autoscaling policy's decision: one deployment at one moment.

    Names are Ray Serve's. Times are in seconds since 1970.

    Attributes:
        deployment_id: Which deployment.
        deployment_name: Its name within its application.
        app_name: Its application.
        current_num_replicas: Replicas that run.
        target_num_replicas: Replicas that are wanted now.
        total_num_requests: Requests in progress and waiting, over `look_back_period_s`, made one
            number by `aggregation_function`.
        total_queued_requests: Requests that wait for a replica now.
        total_running_requests: Requests that replicas work on now.
        capacity_adjusted_min_replicas: `min_replicas`.
        capacity_adjusted_max_replicas: `max_replicas`.
        config: The deployment's `AutoscalingConfig`.
        current_time: Now.
        last_scale_up_time: When more were wanted last, None for not yet.
        last_scale_down_time: When fewer were wanted last, None for not yet.
        policy_state: What the policy returned as its state last time; empty at first, and again
            after the process that it runs in has ended.
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


ScalingAnswer = int | float | tuple[int | float, dict[str, Any]]
"""A policy's decision: a number of replicas, which may be fractional; or that and its state."""


class ScalingPolicy(Protocol):
    """Decides how many replicas a deployment should have.

    Factors, delays and bounds of the `AutoscalingConfig` are applied to its decision, so a policy
    need not know them. Where no replica runs and requests wait, one is started without asking.
    """

    def decide(self, context: AutoscalingContext) -> ScalingAnswer:
        """Return how many replicas are wanted. Must not block: it runs in the controller."""


@dataclass(frozen=True)
class ScalingPolicyFactory:
    """An autoscaling policy under the name by which an `AutoscalingPolicy` asks for it.

    Attributes:
        name: Unique among all installed plugins; without ":" and ".", which import paths have.
        create: Makes one policy for one deployment, of the user's `policy_kwargs`. Whatever it
            raises refuses the deployment.
        period_s: How often to ask even while the load stays the same, for policies that decide by
            other things, such as the time of day. None for never.
    """

    name: str
    create: Callable[[Mapping[str, Any]], ScalingPolicy]
    period_s: float | None = None
