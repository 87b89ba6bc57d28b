from __future__ import annotations

import pytest

import alacarte_autoscaling
from alacarte.testing import check_plugin
from alacarte_autoscaling import hooks


def test_the_plugin_is_sound() -> None:
    """The plugin passes `check_plugin`."""
    check_plugin("autoscaling")


def test_names_are_ray_serves() -> None:
    """The default policy has Ray Serve's import path."""
    from alacarte.serve.autoscaling_policy import default_autoscaling_policy

    assert default_autoscaling_policy is alacarte_autoscaling.default_autoscaling_policy


def test_register_autoscaling_policies() -> None:
    """The default of `AutoscalingConfig` is registered, and takes no arguments."""
    [default] = hooks.register_autoscaling_policies()
    assert default.name == "default"
    assert default.period_s is None
    with pytest.raises(TypeError, match="takes no arguments"):
        default.create({"speed": 3})
