"""Options of deployments and of the cluster, as validated models.

Names and defaults follow Ray Serve, so that programs migrate without changes. These models live in
the user's process and the controller; a replica gets plain values (`ReplicaSettings`).
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = [
    "ClusterOptions",
    "DeploymentConfig",
    "RayActorOptions",
]

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
_FINEST = 0.0001
"""Ray's smallest unit of a resource."""


def _fine(value: float) -> float:
    if 0 < value < _FINEST:
        raise ValueError(f"must be 0 or at least {_FINEST}")
    return value


Quantity = Annotated[float, Field(ge=0), AfterValidator(_fine)]
Bundle = dict[str, Quantity]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RayActorOptions(_Model):
    """Resources and environment of each replica's process, with Ray's names.

    The local cluster runs replicas in this process and ignores these options.

    Attributes:
        num_cpus: CPUs to reserve, whole or fractional.
        num_gpus: GPUs to reserve; replicas with fractions share a GPU.
        memory: Memory to reserve, in bytes.
        resources: Custom resources of the cluster to reserve.
        accelerator_type: The required type of GPU.
        runtime_env: Packages, files and environment variables of the process.
        label_selector: Required labels of the node.
        fallback_strategy: Other selectors, for when no node matches.
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
        """The resources that a replica's process reserves on its node, with Ray's names."""
        plain = {"CPU": self.num_cpus, "GPU": self.num_gpus, "memory": self.memory or 0.0}
        return {name: amount for name, amount in {**plain, **self.resources}.items() if amount}


class DeploymentConfig(_Model):
    """One deployment's options.

    Attributes:
        num_replicas: Number of replicas. "auto" leaves the number to alacarte-autoscaling, 1 to
            100.
        max_ongoing_requests: Maximum number of requests that a replica works on at the same time.
        max_queued_requests: Maximum number of requests that wait in each calling process for a
            free replica; -1 for no limit, Ray Serve's default.
        user_config: A JSON-able value that is passed to the `reconfigure` method.
        graceful_shutdown_timeout_s: Time for a stopping replica to finish its requests.
        graceful_shutdown_wait_loop_s: Accepted for Ray Serve programs; ignored.
        health_check_period_s: Time between the starts of two health checks of a replica.
        health_check_timeout_s: Maximum duration of a health check, and of a blocked event loop.
        max_constructor_retry_count: Number of failed starts after which a version has failed; at
            most three for each replica.
        start_timeout_s: Maximum duration of a constructor; None for no limit.
        max_surge_percent: Replicas that may exist beyond `num_replicas` during an update, in
            percent of `num_replicas`, rounded up. 0 stops old replicas first, Ray Serve's default.
        rolling_update_percentage: With `max_surge_percent=0`, the share of the replicas that may
            be missing during an update; at least one.
        routing_policy: Name of the policy that chooses a replica for each call; or, for a policy
            with parameters, `{"name": ..., <parameter>: ...}`.
        ray_actor_options: Resources of each replica's process.
        max_replicas_per_node: Maximum number of replicas of this deployment on one node.
        placement: "spread" prefers different nodes for the replicas; "pack" leaves the choice to
            Ray, which fills half of a node before it uses the next node.
        placement_group_bundles: Resources that are reserved together for each replica, in bundles.
            The replica runs in the first bundle; its tasks and actors may use all bundles.
        placement_group_strategy: Distribution of the bundles over nodes: "PACK" on few nodes,
            "STRICT_PACK" on one, "SPREAD" on many, "STRICT_SPREAD" on one each. "PACK" when None.
        placement_group_bundle_label_selector: Required labels of the nodes of the bundles: one
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
    def _json_able(cls, value: object) -> object:
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
        cls._json_able(value)
        return value

    @field_validator("placement_group_bundles")
    @classmethod
    def _no_empty_bundle(cls, value: list[Bundle] | None) -> list[Bundle] | None:
        for index, bundle in enumerate(value or ()):
            if not any(bundle.values()):
                raise ValueError(f"must reserve resources in every bundle; bundle {index} is empty")
        return value

    @property
    def policy_name(self) -> str:
        """The name of the routing policy."""
        policy = self.routing_policy
        return policy if isinstance(policy, str) else str(policy["name"])

    @property
    def policy_parameters(self) -> dict[str, Any]:
        """The user's parameters of the routing policy."""
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
                    raise ValueError(f"{option} requires placement_group_bundles")
            return self
        if self.max_replicas_per_node is not None:
            raise ValueError(
                "max_replicas_per_node and placement_group_bundles exclude each other; limit the "
                "replicas per node with a custom resource in the first bundle"
            )
        if selectors is not None and len(selectors) not in (1, len(bundles)):
            raise ValueError(
                f"placement_group_bundle_label_selector holds {len(selectors)} selectors for "
                f"{len(bundles)} bundles; give one for all, or one for each"
            )
        for name, amount in self.ray_actor_options.needs.items():
            if amount > bundles[0].get(name, 0.0):
                raise ValueError(
                    f"ray_actor_options reserves {name}={amount:g}, but the replica runs in the "
                    f"first of placement_group_bundles, which has "
                    f"{bundles[0].get(name, 0.0):g}; lower the option (num_cpus is 1 by default), "
                    "or enlarge the bundle"
                )
        return self

    @property
    def bundle_labels(self) -> tuple[dict[str, str], ...]:
        """The label selector of each bundle; () for bundles without selectors."""
        selectors = self.placement_group_bundle_label_selector or []
        bundles = self.placement_group_bundles or []
        return tuple(selectors * len(bundles) if len(selectors) == 1 else selectors)

    def start_failures_allowed(self, replicas: int) -> int:
        """Return the number of failed starts after which a version of `replicas` replicas fails."""
        return min(self.max_constructor_retry_count, 3 * max(replicas, 1))


class ClusterOptions(_Model):
    """Options of the connections and processes of an instance.

    Attributes:
        transport: `auto` uses Unix sockets on the same host and TCP across hosts; `tcp` and `unix`
            use one of them only.
        max_message_bytes: Maximum size of a request or reply.
        actor_start_timeout_s: Time limit for the start of a replica's process on a node, user code
            excluded; after it, another process is started. Waiting for resources has no limit.
        blocked_loop_warning_s: Time after which a replica warns in its log that its event loop is
            blocked, with the blocking line of code. `inf` for no warning.
        max_bound_bytes: Maximum size of a deployment's code and the arguments of `bind` together.
            Both are stored in the cluster's control store and in the controller.
    """

    transport: Literal["auto", "unix", "tcp"] = "auto"
    max_message_bytes: int = Field(2 * 1024**3, ge=1024)
    actor_start_timeout_s: Positive = 180.0
    blocked_loop_warning_s: Positive = 1.0
    max_bound_bytes: int = Field(100 * 1024**2, ge=1024)
