from __future__ import annotations

import warnings
from typing import Any

import pytest
from pydantic import ValidationError

from alacarte_autoscaling.config import AutoscalingConfig, AutoscalingPolicy


def test_defaults_are_ray_serves():
    """Fields and defaults equal Ray Serve's."""
    config = AutoscalingConfig()
    assert (config.min_replicas, config.initial_replicas, config.max_replicas) == (1, None, 1)
    assert (config.target_ongoing_requests, config.look_back_period_s) == (2, 30)
    assert (config.upscale_delay_s, config.downscale_delay_s) == (30, 600)
    assert config.downscale_to_zero_delay_s is None
    assert config.aggregation_function == "mean"
    assert (config.get_upscaling_factor(), config.get_downscaling_factor()) == (1, 1)
    assert (AutoscalingConfig.default().min_replicas, config.default().max_replicas) == (1, 100)
    assert config.policy == AutoscalingPolicy(policy_function="default", policy_kwargs={})


def test_old_names_still_count():
    """Deprecated options still work, with warnings that name their successors."""
    with pytest.warns(DeprecationWarning, match="smoothing_factor is deprecated; set upscaling"):
        config = AutoscalingConfig(smoothing_factor=0.5, downscaling_factor=0.1)
    assert (config.get_upscaling_factor(), config.get_downscaling_factor()) == (0.5, 0.1)
    with pytest.warns(DeprecationWarning, match="upscale_smoothing_factor"):
        assert AutoscalingConfig(upscale_smoothing_factor=3).get_upscaling_factor() == 3
    with pytest.warns(DeprecationWarning, match="metrics_interval_s"):
        AutoscalingConfig(metrics_interval_s=5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        AutoscalingConfig(max_replicas=5, upscaling_factor=2)


@pytest.mark.parametrize(
    ("given", "named"),
    [("default", True), ("queue", True), ("a.b:c", False), ("a.b", False), (len, False)],
)
def test_names_and_paths(given: Any, named: bool):
    """A string without colon and dot is a plugin's policy; all else is the user's."""
    assert AutoscalingPolicy(policy_function=given).is_named is named


@pytest.mark.parametrize(
    "values",
    [
        {"min_replicas": -1},
        {"max_replicas": 0},
        {"initial_replicas": 5, "max_replicas": 3},
        {"target_ongoing_requests": 0},
        {"upscaling_factor": 0},
        {"upscale_delay_s": -1},
        {"aggregation_function": "median"},
        {"policy": {"policy_function": 3}},
        {"policy": {"policy_kwargs": {"a": {1}}}},
        {"policy": "default"},
    ],
)
def test_values_are_checked(values: dict[str, Any]):
    """Invalid values are refused."""
    with pytest.raises(ValidationError):
        AutoscalingConfig(**values)
