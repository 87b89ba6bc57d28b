"""The option `autoscaling_config` of a deployment. Names and defaults follow Ray Serve."""

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
    """The policy that decides how many replicas a deployment should have.

    Attributes:
        policy_function: Name of a policy that an installed plugin gives, such as `"default"`; or
            one of your own: a function of an `AutoscalingContext`, a class whose instances are
            called with one, or either as an import path, `"package.module:name"`.
        policy_kwargs: For the constructor of such a class, or the policy of that name. JSON-able.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    policy_function: str | UserCode | Callable[..., Any] = "default"
    policy_kwargs: dict[str, Any] = Field(default_factory=dict)

    @property
    def is_named(self) -> bool:
        """Whether a plugin gives the policy, by name."""
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


class AutoscalingConfig(BaseModel):
    """When and how far the number of replicas follows the load.

    Attributes:
        min_replicas: Never fewer; 0 lets a deployment without load stop altogether.
        initial_replicas: How many at first; `min_replicas` when None.
        max_replicas: Never more.
        target_ongoing_requests: Requests per replica to aim at.
        look_back_period_s: Length of the window over which the load is aggregated.
        upscaling_factor: What the wanted growth is multiplied by; 1 when None.
        downscaling_factor: What the wanted shrinkage is multiplied by; 1 when None.
        upscale_delay_s: How long more must be wanted before more are started.
        downscale_delay_s: How long fewer must be wanted before some are stopped.
        downscale_to_zero_delay_s: The same for the last one; `downscale_delay_s` when None.
        aggregation_function: How the load over that time becomes one number.
        policy: Decides how many are wanted; by default the load divided by
            `target_ongoing_requests`.
        metrics_interval_s: Accepted for Ray Serve's sake, where it is deprecated; load is reported
            when it changes.
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
    "metrics_interval_s": "load is reported when it changes, so leave it out.",
    "smoothing_factor": "set upscaling_factor and downscaling_factor.",
    "upscale_smoothing_factor": "set upscaling_factor.",
    "downscale_smoothing_factor": "set downscaling_factor.",
}
