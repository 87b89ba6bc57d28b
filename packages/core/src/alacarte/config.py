"""What users may configure, validated when it is given.

Names and defaults follow Ray Serve, so that a program moves over as it is. These models live in
the user's process and the controller; a replica gets plain values (`ReplicaSettings`).
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = [
    "AutoscalingConfig",
    "AutoscalingPolicy",
    "ClusterOptions",
    "DeploymentConfig",
    "RayActorOptions",
]

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
_FINEST = 0.0001
"""Ray counts resources in ten-thousandths."""


def _fine(value: float) -> float:
    if 0 < value < _FINEST:
        raise ValueError(f"must be 0 or at least {_FINEST}")
    return value


Quantity = Annotated[float, Field(ge=0), AfterValidator(_fine)]
Bundle = dict[str, Quantity]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AutoscalingPolicy(_Model):
    """What says how many replicas a deployment should have.

    Attributes:
        policy_function: Name of a policy that an installed plugin gives, such as `"default"`; or
            one of your own: a function of an `AutoscalingContext`, a class whose instances are
            called with one, or either as an import path, `"package.module:name"`.
        policy_kwargs: For the constructor of such a class, or the policy of that name. JSON-able.
    """

    policy_function: str | Callable[..., Any] = "default"
    policy_kwargs: dict[str, Any] = Field(default_factory=dict)

    @property
    def is_named(self) -> bool:
        """Whether a plugin gives it, by name."""
        name = self.policy_function
        return isinstance(name, str) and not set(".:") & set(name)

    @field_validator("policy_kwargs")
    @classmethod
    def _json_able(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"must be JSON-able: {error}") from None
        return value


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
        policy: What says how many are wanted; load divided by `target_ongoing_requests` by
            default.
        metrics_interval_s: Accepted for Ray Serve's sake, where it is deprecated; load is told
            when it changes.
        smoothing_factor: Deprecated, as in Ray Serve: the default of the two factors.
        upscale_smoothing_factor: Deprecated, as in Ray Serve: the default of `upscaling_factor`.
        downscale_smoothing_factor: Deprecated, as in Ray Serve: the default of
            `downscaling_factor`.
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
    policy: AutoscalingPolicy = Field(default_factory=AutoscalingPolicy)
    metrics_interval_s: Positive = 10.0
    smoothing_factor: Positive = 1.0
    upscale_smoothing_factor: Positive | None = None
    downscale_smoothing_factor: Positive | None = None

    @classmethod
    def default(cls) -> AutoscalingConfig:
        """Return what `num_replicas="auto"` stands for."""
        return cls.model_validate({"min_replicas": 1, "max_replicas": 100})

    @model_validator(mode="after")
    def _up_to_date(self) -> AutoscalingConfig:
        for name, now in _RENAMED.items():
            if name in self.model_fields_set:
                warnings.warn(f"{name} is deprecated; {now}", DeprecationWarning, stacklevel=4)
        return self

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

    def get_upscaling_factor(self) -> float:
        """Return what the wanted growth is multiplied by. (Ray Serve's name.)"""
        return self.upscaling_factor or self.upscale_smoothing_factor or self.smoothing_factor

    def get_downscaling_factor(self) -> float:
        """Return what the wanted shrinkage is multiplied by. (Ray Serve's name.)"""
        return self.downscaling_factor or self.downscale_smoothing_factor or self.smoothing_factor


_RENAMED = {
    "metrics_interval_s": "load is told when it changes, so leave it out.",
    "smoothing_factor": "say upscaling_factor and downscaling_factor.",
    "upscale_smoothing_factor": "say upscaling_factor.",
    "downscale_smoothing_factor": "say downscaling_factor.",
}


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

    num_cpus: Quantity = 1.0
    num_gpus: Quantity = 0.0
    memory: NotNegative | None = None
    resources: dict[str, Quantity] = Field(default_factory=dict)
    accelerator_type: str | None = None
    runtime_env: dict[str, Any] | None = None
    label_selector: dict[str, str] | None = None
    fallback_strategy: list[dict[str, Any]] | None = None

    @field_validator("num_gpus")
    @classmethod
    def _whole_gpus(cls, value: float) -> float:
        if value > 1 and not value.is_integer():
            raise ValueError("must be at most 1, or a whole number")
        return value

    @field_validator("resources")
    @classmethod
    def _custom_only(cls, value: dict[str, float]) -> dict[str, float]:
        own = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}
        for name in value.keys() & own.keys():
            raise ValueError(f"must hold custom resources only: {name} is the option {own[name]}")
        return value

    @property
    def needs(self) -> dict[str, float]:
        """What a replica's process takes of its node, under Ray's names."""
        plain = {"CPU": self.num_cpus, "GPU": self.num_gpus, "memory": self.memory or 0.0}
        return {name: amount for name, amount in {**plain, **self.resources}.items() if amount}


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
        health_check_period_s: From the start of one health check of a replica to the next.
        health_check_timeout_s: How long one may take, and how long the replica's event loop may
            stand still.
        max_constructor_retry_count: Replicas that may fail to start before giving up; at most
            three for each replica wanted.
        start_timeout_s: How long a constructor may take; None for as long as it likes.
        max_surge_percent: Replicas that may exist beyond the wanted number while some are
            replaced, in percent of that number, rounded up. 0 stops old ones first, as Ray Serve
            does unless asked.
        rolling_update_percentage: With `max_surge_percent=0`, the share of the replicas that may
            be missing meanwhile; at least one.
        routing_policy: Name of the policy that picks a replica for each call; or, for a policy
            with parameters, `{"name": ..., <parameter>: ...}`.
        ray_actor_options: Resources of each replica's process.
        autoscaling_config: Bounds of autoscaling; excludes a fixed `num_replicas`.
        max_replicas_per_node: Replicas of this deployment on one node.
        placement: "spread" puts replicas on different nodes where it can; "pack" leaves it to
            Ray, which fills a node to the half before it takes the next.
        placement_group_bundles: Resources set aside together for each replica, in bundles. The
            replica lives in the first; tasks and actors that it starts find room in all.
        placement_group_strategy: Where the bundles lie: "PACK" on few nodes, "STRICT_PACK" on
            one, "SPREAD" on many, "STRICT_SPREAD" on one each. "PACK" when None.
        placement_group_bundle_label_selector: Labels of the nodes the bundles lie on: one
            selector for each bundle, or one for all.
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
    start_timeout_s: Positive | None = None
    max_surge_percent: Annotated[float, Field(ge=0, le=100)] = 100.0
    rolling_update_percentage: Annotated[float, Field(gt=0, le=1)] = 0.2
    routing_policy: str | dict[str, Any] = "power_of_two"
    ray_actor_options: RayActorOptions = Field(default_factory=RayActorOptions)
    autoscaling_config: AutoscalingConfig | None = None
    max_replicas_per_node: int | None = Field(None, ge=1, le=100)
    placement: Literal["spread", "pack"] = "spread"
    placement_group_bundles: list[Bundle] | None = Field(None, min_length=1)
    placement_group_strategy: Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] | None = (
        None
    )
    placement_group_bundle_label_selector: list[dict[str, str]] | None = Field(None, min_length=1)

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

    @field_validator("routing_policy")
    @classmethod
    def _named_policy(cls, value: str | dict[str, Any]) -> str | dict[str, Any]:
        if isinstance(value, dict) and not isinstance(value.get("name"), str):
            raise ValueError('must be a name, or a dict with the policy\'s "name"')
        return cls._json_able(value)  # type: ignore[no-any-return]

    @field_validator("placement_group_bundles")
    @classmethod
    def _no_empty_bundle(cls, value: list[Bundle] | None) -> list[Bundle] | None:
        for index, bundle in enumerate(value or ()):
            if not any(bundle.values()):
                raise ValueError(f"must ask for something in every bundle; bundle {index} does not")
        return value

    @property
    def policy_name(self) -> str:
        """The name of the routing policy."""
        policy = self.routing_policy
        return policy if isinstance(policy, str) else str(policy["name"])

    @property
    def policy_parameters(self) -> dict[str, Any]:
        """The parameters of the routing policy, as the user wrote them."""
        policy = self.routing_policy
        if isinstance(policy, str):
            return {}
        return {name: value for name, value in policy.items() if name != "name"}

    @model_validator(mode="after")
    def _placeable(self) -> DeploymentConfig:
        bundles = self.placement_group_bundles
        selectors = self.placement_group_bundle_label_selector
        if bundles is None:
            for option in ("placement_group_strategy", "placement_group_bundle_label_selector"):
                if getattr(self, option) is not None:
                    raise ValueError(f"{option} has no meaning without placement_group_bundles")
            return self
        if self.max_replicas_per_node is not None:
            raise ValueError(
                "max_replicas_per_node and placement_group_bundles exclude each other; a custom "
                "resource in the first bundle bounds the replicas of a node as well"
            )
        if selectors is not None and len(selectors) not in (1, len(bundles)):
            raise ValueError(
                f"placement_group_bundle_label_selector holds {len(selectors)} selectors for "
                f"{len(bundles)} bundles; give one for all, or one for each"
            )
        for name, amount in self.ray_actor_options.needs.items():
            if amount > bundles[0].get(name, 0.0):
                raise ValueError(
                    f"ray_actor_options ask for {name}={amount:g}, and the first of "
                    f"placement_group_bundles, where the replica lives, has "
                    f"{bundles[0].get(name, 0.0):g}; ask for less (num_cpus is 1 by default), or "
                    "put more into that bundle"
                )
        return self

    @property
    def bundle_labels(self) -> tuple[dict[str, str], ...]:
        """The label selector of each bundle; () where nobody asked for labels."""
        selectors = self.placement_group_bundle_label_selector or []
        bundles = self.placement_group_bundles or []
        return tuple(selectors * len(bundles) if len(selectors) == 1 else selectors)

    @property
    def target_replicas(self) -> int:
        """How many replicas a new deployment begins with."""
        scaling = self.autoscaling_config
        return self.num_replicas if scaling is None else scaling.start_replicas

    def start_failures_allowed(self, replicas: int) -> int:
        """Failed starts after which a version of which so many are wanted is given up."""
        return min(self.max_constructor_retry_count, 3 * max(replicas, 1))


class ClusterOptions(_Model):
    """How an instance's processes find and trust each other.

    Attributes:
        transport: `auto` takes a Unix socket on the same host and TCP across hosts; `tcp`
            and `unix` insist.
        max_message_bytes: The largest single request or reply.
        actor_start_timeout_s: How long a replica's process may take to come up where the cluster
            has room for it, user code aside; then another is tried. Waiting for room has no limit.
        blocked_loop_warning_s: A replica's event loop that is blocked for longer is warned of in
            its log, with the line of code that blocks it. `inf` for never.
        max_bound_bytes: The most that a deployment's code and the arguments of `bind` may take
            together. They are stored in the cluster's control store, and in the controller.
    """

    transport: Literal["auto", "unix", "tcp"] = "auto"
    max_message_bytes: int = Field(2 * 1024**3, ge=1024)
    actor_start_timeout_s: Positive = 180.0
    blocked_loop_warning_s: Positive = 1.0
    max_bound_bytes: int = Field(100 * 1024**2, ge=1024)
