"""Option `autoscaling_config` of deployments. Names and defaults follow Ray Serve."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from alacarte.types import UserCode

__all__ = ["AutoscalingConfig", "AutoscalingPolicy"]

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


class AutoscalingPolicy(BaseModel):
    """The policy that decides on the number of replicas of a deployment.

    Attributes:
        policy_function: Name of an installed plugin's policy, such as `"default"`; or a function
            of an `AutoscalingContext`, a class whose instances are such functions, or the import
            path of either, `"package.module:name"`.
        policy_kwargs: Arguments for the class's constructor, or for the plugin's policy. JSON-able.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    policy_function: str | UserCode | Callable[..., object] = "default"
    policy_kwargs: dict[str, Any] = Field(default_factory=dict)

    @property
    def is_named(self) -> bool:
        """Whether the option is the name of a plugin's policy."""
        name = self.policy_function
        return isinstance(name, str) and not set(".:") & set(name)

    @field_validator("policy_kwargs")
    @classmethod
    def _json_able(cls, value: dict[str, object]) -> dict[str, object]:
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"must be JSON-able: {error}") from None
        return value


class AutoscalingConfig(BaseModel):
    """Limits, delays and policy of autoscaling.

    Attributes:
        min_replicas: Minimum number of replicas; 0 lets an idle deployment scale to zero.
        initial_replicas: Number of replicas of a new deployment; `min_replicas` when None.
        max_replicas: Maximum number of replicas.
        target_ongoing_requests: Target number of requests per replica.
        look_back_period_s: Length of the window over which the load is aggregated.
        upscaling_factor: Factor on the growth of each decision; 1 when None.
        downscaling_factor: Factor on the shrinkage of each decision; 1 when None.
        upscale_delay_s: Time for which decisions must exceed the target before it grows.
        downscale_delay_s: Time for which decisions must stay below the target before it shrinks.
        downscale_to_zero_delay_s: Delay for the last replica; `downscale_delay_s` when None.
        aggregation_function: Function that aggregates the load over the window.
        policy: Decides on the number of replicas; by default the load divided by
            `target_ongoing_requests`.
        metrics_interval_s: Accepted and ignored, for programs of Ray Serve, where it is deprecated;
            processes report load when it changes.
        smoothing_factor: Deprecated, as in Ray Serve: the default of the two factors.
        upscale_smoothing_factor: Deprecated, as in Ray Serve: the default of `upscaling_factor`.
        downscale_smoothing_factor: Deprecated, as in Ray Serve: the default of
            `downscaling_factor`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

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
        """Return the configuration for `num_replicas="auto"`."""
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
        """Number of replicas of a new deployment."""
        return self.min_replicas if self.initial_replicas is None else self.initial_replicas

    def get_upscaling_factor(self) -> float:
        """Return the factor on growth. (Ray Serve's name.)"""
        return self.upscaling_factor or self.upscale_smoothing_factor or self.smoothing_factor

    def get_downscaling_factor(self) -> float:
        """Return the factor on shrinkage. (Ray Serve's name.)"""
        return self.downscaling_factor or self.downscale_smoothing_factor or self.smoothing_factor


_RENAMED = {
    "metrics_interval_s": "remove it: load is reported when it changes.",
    "smoothing_factor": "set upscaling_factor and downscaling_factor.",
    "upscale_smoothing_factor": "set upscaling_factor.",
    "downscale_smoothing_factor": "set downscaling_factor.",
}
