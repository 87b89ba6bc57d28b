"""A user's own autoscaling policy on its way to the process that runs it: bytes, like all code."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

from ..config import AutoscalingPolicy, DeploymentConfig
from ..errors import ConfigError
from .pickling import Identify, dump

__all__ = ["pack_policy"]


def pack_policy(
    subject: str, config: DeploymentConfig, identify: Identify
) -> tuple[DeploymentConfig, bytes | None]:
    """Return the config with the policy's name alone, and the policy itself as bytes.

    The controller stores both and unpickles neither's code. A policy that a plugin gives needs no
    bytes.

    Args:
        subject: The deployment's name, for errors.
        identify: As for the deployment's own code.

    Raises:
        ConfigError: It cannot be imported or pickled, or is no policy.
    """
    scaling = config.autoscaling_config
    if scaling is None or scaling.policy.is_named:
        return config, None
    policy = scaling.policy
    target = _target(subject, policy.policy_function)
    _check(subject, target, policy)
    try:
        code = dump(target, identify)
    except Exception as error:  # pickling runs the user's own methods, which raise anything
        raise ConfigError(
            f"{subject}: its autoscaling policy {_name(target)} cannot be sent to the process that "
            f"runs it ({type(error).__name__}: {error}). Create what does not pickle inside of it."
        ) from error
    named = policy.model_copy(update={"policy_function": _name(target)})
    scaling = scaling.model_copy(update={"policy": named})
    return config.model_copy(update={"autoscaling_config": scaling}), code


def _target(subject: str, given: str | Callable[..., Any]) -> Any:
    if not isinstance(given, str):
        return given
    module, colon, path = given.partition(":")
    if not colon:
        module, _, path = given.rpartition(".")
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except Exception as error:  # the module's code is the user's
        raise ConfigError(
            f"{subject}: policy_function={given!r} cannot be imported "
            f"({type(error).__name__}: {error}); say 'package.module:name'."
        ) from error
    return found


def _check(subject: str, target: Any, policy: AutoscalingPolicy) -> None:
    if not callable(target):
        raise ConfigError(f"{subject}: policy_function={target!r} is neither function nor class.")
    if policy.policy_kwargs and not inspect.isclass(target):
        raise ConfigError(
            f"{subject}: policy_kwargs are for a class's constructor, and {_name(target)} is no "
            "class; use functools.partial, or make it one."
        )


def _name(target: Any) -> str:
    """Return what to call it; with a colon, like any import path."""
    named = target if hasattr(target, "__qualname__") else type(target)
    return f"{named.__module__}:{named.__qualname__}"
