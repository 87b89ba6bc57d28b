"""What users may configure, validated when it is given.

Names and defaults follow Ray Serve, so that a program moves over as it is. These models live in
the user's process and the controller; a replica gets plain values (`ReplicaSettings`).
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = ["AutoscalingConfig", "ClusterOptions", "DeploymentConfig", "RayActorOptions"]

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AutoscalingConfig(_Model):
    """When and how far the number of replicas follows the load.

    Attributes:
        min_replicas: Never fewer; 0 lets a deployment without load stop altogether.
        initial_replicas: How many at first; `min_replicas` when None.
        max_replicas: Never more.
        target_ongoing_requests: Requests per replica to aim at.
        look_back_period_s: Over how long the load is looked at.
        upscaling_factor: What the wanted growth is multiplied by; 1 when None.
        downscaling_factor: What the wanted shrinkage is multiplied by; 1 when None.
        upscale_delay_s: How long more must be wanted before more are started.
        downscale_delay_s: How long fewer must be wanted before some are stopped.
        downscale_to_zero_delay_s: The same for the last one; `downscale_delay_s` when None.
        aggregation_function: How the load over that time becomes one number.
    """

    min_replicas: int = Field(1, ge=0)
    initial_replicas: int | None = Field(None, ge=0)
    max_replicas: int = Field(1, ge=1)
    target_ongoing_requests: Positive = 2.0
    look_back_period_s: Positive = 30.0
    upscaling_factor: Positive | None = None
    downscaling_factor: Positive | None = None
    upscale_delay_s: NotNegative = 30.0
    downscale_delay_s: NotNegative = 600.0
    downscale_to_zero_delay_s: NotNegative | None = None
    aggregation_function: Literal["mean", "max", "min"] = "mean"

    @model_validator(mode="after")
    def _ordered(self) -> AutoscalingConfig:
        first = self.min_replicas if self.initial_replicas is None else self.initial_replicas
        if not self.min_replicas <= first <= self.max_replicas:
            raise ValueError(
                f"min_replicas={self.min_replicas}, initial_replicas={first} and "
                f"max_replicas={self.max_replicas} must be in this order"
            )
        return self

    @property
    def start_replicas(self) -> int:
        """How many replicas a new deployment begins with."""
        return self.min_replicas if self.initial_replicas is None else self.initial_replicas


class RayActorOptions(_Model):
    """Resources and environment of each replica's process, as Ray takes them.

    The local cluster runs replicas in this process and has no use for them.

    Attributes:
        num_cpus: CPUs to set aside; fractions are fine.
        num_gpus: GPUs to set aside; fractions share one.
        memory: Memory to set aside, in bytes.
        resources: Custom resources of the cluster to set aside.
        accelerator_type: The kind of GPU the node must have.
        runtime_env: Packages, files and environment variables of the process.
        label_selector: Labels the node must have.
        fallback_strategy: Other selectors to try when no node fits.
    """

    num_cpus: NotNegative = 1.0
    num_gpus: NotNegative = 0.0
    memory: NotNegative | None = None
    resources: dict[str, float] = Field(default_factory=dict)
    accelerator_type: str | None = None
    runtime_env: dict[str, Any] | None = None
    label_selector: dict[str, str] | None = None
    fallback_strategy: list[dict[str, Any]] | None = None


class DeploymentConfig(_Model):
    """One deployment's options.

    Attributes:
        num_replicas: Copies to run. "auto" hands the number to autoscaling, 1 to 100.
        max_ongoing_requests: Requests a replica works on at a time.
        max_queued_requests: Requests that may wait in each calling process for a free
            replica, -1 for no bound. (Ray Serve has none unless asked.)
        user_config: A JSON-able value handed to the `reconfigure` method.
        graceful_shutdown_timeout_s: How long a replica that leaves may finish its requests.
        graceful_shutdown_wait_loop_s: Accepted for Ray Serve's sake; leaving replicas are
            watched, not polled.
        health_check_period_s: Time between health checks.
        health_check_timeout_s: How long one may take.
        max_constructor_retry_count: Replicas that may fail to start before giving up; at most
            three for each replica wanted.
        routing_policy: Name of the policy that picks a replica for each call.
        ray_actor_options: Resources of each replica's process.
        autoscaling_config: Bounds of autoscaling; excludes a fixed `num_replicas`.
        max_replicas_per_node: Replicas of this deployment on one node.
    """

    num_replicas: int = Field(1, ge=1)
    max_ongoing_requests: int = Field(5, ge=1)
    max_queued_requests: int = Field(1024, ge=-1)
    user_config: Any = None
    graceful_shutdown_timeout_s: NotNegative = 20.0
    graceful_shutdown_wait_loop_s: NotNegative = 2.0
    health_check_period_s: Positive = 10.0
    health_check_timeout_s: Positive = 30.0
    max_constructor_retry_count: int = Field(20, ge=1)
    routing_policy: str = "power_of_two"
    ray_actor_options: RayActorOptions = Field(default_factory=RayActorOptions)
    autoscaling_config: AutoscalingConfig | None = None
    max_replicas_per_node: int | None = Field(None, ge=1, le=100)

    @field_validator("max_queued_requests")
    @classmethod
    def _queue_bound(cls, value: int) -> int:
        if value == 0:
            raise ValueError("must be -1 (no bound) or at least 1")
        return value

    @field_validator("user_config")
    @classmethod
    def _json_able(cls, value: Any) -> Any:
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"must be JSON-able: {error}") from None
        return value

    @property
    def target_replicas(self) -> int:
        """How many replicas a new deployment begins with."""
        scaling = self.autoscaling_config
        return self.num_replicas if scaling is None else scaling.start_replicas

    @property
    def start_failures_allowed(self) -> int:
        """Failed starts after which a version is given up."""
        return min(self.max_constructor_retry_count, 3 * max(self.target_replicas, 1))


class ClusterOptions(_Model):
    """How an instance's processes find and trust each other.

    Attributes:
        transport: `auto` takes a Unix socket on the same host and TCP across hosts; `tcp`
            and `unix` insist.
        max_message_bytes: The largest single request or reply.
        actor_start_timeout_s: How long a new process may take to come up, user code aside.
        blocked_loop_warning_s: A replica's event loop that is blocked for longer is warned of in
            its log, with the line of code that blocks it. `inf` for never.
    """

    transport: Literal["auto", "unix", "tcp"] = "auto"
    max_message_bytes: int = Field(2 * 1024**3, ge=1024)
    actor_start_timeout_s: Positive = 60.0
    blocked_loop_warning_s: Positive = 1.0
