"""`autoscaling_config` and `num_replicas="auto"` as options of a deployment."""

from __future__ import annotations

from typing import Any

import pytest

from alacarte.errors import ConfigError
from alacarte.serve import Deployment, deployment
from alacarte_autoscaling.config import AutoscalingConfig


class Resize:
    pass


def make(**options: Any) -> Deployment:
    return deployment(name="resize", **options)(Resize)


def scaling_of(made: Deployment) -> AutoscalingConfig:
    config = made.plugin_options["autoscaling"]
    assert isinstance(config, AutoscalingConfig)
    return config


def refusal(**options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        make(**options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"autoscaling_config": {"min_replicas": 5, "max_replicas": 2}},
            (
                "resize: autoscaling_config: min_replicas=5, initial_replicas=5 and max_replicas=2 "
                "must be in this order"
            ),
        ),
        (
            {"autoscaling_config": 5},
            (
                "resize: autoscaling_config=5 must be a valid dictionary or instance of "
                "AutoscalingConfig"
            ),
        ),
        (
            {"num_replicas": "auto", "autoscaling_config": 5},
            (
                "resize: autoscaling_config=5 must be a valid dictionary or instance of "
                "AutoscalingConfig"
            ),
        ),
        (
            {"num_replicas": 2, "autoscaling_config": {"max_replicas": 3}},
            (
                "resize: num_replicas=2 and autoscaling_config exclude each other; leave one "
                'out, or set num_replicas="auto"'
            ),
        ),
    ],
)
def test_refusals_say_what_is_allowed(options: dict[str, Any], message: str):
    """The error is one line with the deployment, the option, its value and the rule."""
    assert refusal(**options) == message


def test_numbers_as_text():
    """Numbers may be strings, as in other options; the command line passes strings."""
    scaling = scaling_of(
        make(
            num_replicas="auto",
            autoscaling_config={"min_replicas": "2", "target_ongoing_requests": "1.5"},
        )
    )
    assert (scaling.min_replicas, scaling.target_ongoing_requests) == (2, 1.5)


def test_num_replicas_none_is_unset():
    """None leaves the number to autoscaling."""
    made = make(num_replicas=None, autoscaling_config={"max_replicas": 3})
    assert (made.num_replicas, scaling_of(made).max_replicas) == (1, 3)


def test_replicas_as_text_exclude_autoscaling():
    """A number as a string excludes autoscaling, as the number does."""
    message = refusal(num_replicas="2", autoscaling_config={"max_replicas": 3})
    assert "num_replicas='2' and autoscaling_config exclude each other" in message


def test_auto():
    """`auto` means 1 to 100 replicas with 2 requests each."""
    scaling = scaling_of(make(num_replicas="auto"))
    assert (scaling.min_replicas, scaling.max_replicas) == (1, 100)
    assert scaling.target_ongoing_requests == 2


@pytest.mark.parametrize("kind", [dict, AutoscalingConfig])
def test_auto_is_overridden_by_given_fields(kind):
    """Only fields that the user sets replace the values of `auto`."""
    made = make(num_replicas="auto", autoscaling_config=kind(max_replicas=7, upscale_delay_s=1))
    scaling = scaling_of(made)
    assert (scaling.min_replicas, scaling.max_replicas) == (1, 7)
    assert (scaling.target_ongoing_requests, scaling.upscale_delay_s) == (2, 1)


def test_autoscaling_without_auto_keeps_its_own_defaults():
    """An `autoscaling_config` allows one replica by default, as in Ray Serve."""
    assert scaling_of(make(autoscaling_config={})).max_replicas == 1


def test_a_fixed_number_replaces_autoscaling():
    """In `options`, a later number replaces autoscaling."""
    made = make(autoscaling_config={"max_replicas": 3}).options(num_replicas=2)
    assert (dict(made.plugin_options), made.num_replicas) == ({}, 2)
    assert make(num_replicas="auto").options(num_replicas=2).plugin_options == {}


def test_autoscaling_replaces_a_fixed_number():
    """In `options`, later autoscaling replaces a number."""
    made = make(num_replicas=2).options(autoscaling_config={"max_replicas": 3})
    assert scaling_of(made).max_replicas == 3


def test_autoscaling_config_refines_auto():
    """An `autoscaling_config` given to an `auto` deployment keeps `auto`'s bounds."""
    made = make(num_replicas="auto").options(autoscaling_config={"min_replicas": 2})
    scaling = scaling_of(made)
    assert (scaling.min_replicas, scaling.max_replicas) == (2, 100)


def test_autoscaling_can_be_turned_off():
    """`autoscaling_config=None` ends autoscaling, that of `auto` included."""
    made = make(num_replicas="auto").options(autoscaling_config=None)
    assert (dict(made.plugin_options), made.num_replicas) == ({}, 1)
