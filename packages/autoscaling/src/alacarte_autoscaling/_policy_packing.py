"""Checks and packing of users' autoscaling policies."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

from alacarte.errors import ConfigError
from alacarte.types import UserCode

from .config import AutoscalingConfig, AutoscalingPolicy

__all__ = ["prepare", "split_policy"]


def prepare(subject: str, config: AutoscalingConfig) -> AutoscalingConfig:
    """Return the config with the policy object instead of its import path. Driver.

    Args:
        subject: The deployment's name, for errors.

    Raises:
        ConfigError: The policy cannot be imported, or is neither a function nor a class.
    """
    policy = config.policy
    if policy.is_named or isinstance(policy.policy_function, UserCode):
        return config
    target = _import_policy(subject, policy.policy_function)
    _check(subject, target, policy)
    policy = policy.model_copy(update={"policy_function": target})
    return config.model_copy(update={"policy": policy})


def split_policy(config: AutoscalingConfig) -> tuple[AutoscalingConfig, UserCode | None]:
    """Return the config with the policy's name only, and the code of a user's policy or None."""
    code = config.policy.policy_function
    if not isinstance(code, UserCode):
        return config, None
    policy = config.policy.model_copy(update={"policy_function": code.name})
    return config.model_copy(update={"policy": policy}), code


def _import_policy(subject: str, given: str | Callable[..., object]) -> object:
    if not isinstance(given, str):
        return given
    module, colon, path = given.partition(":")
    if not colon:
        module, _, path = given.rpartition(".")
    try:
        found: object = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except Exception as error:  # the module's code is the user's
        raise ConfigError(
            f"{subject}: policy_function={given!r} cannot be imported "
            f"({type(error).__name__}: {error}); set 'package.module:name'."
        ) from error
    return found


def _check(subject: str, target: Any, policy: AutoscalingPolicy) -> None:
    if not callable(target):
        raise ConfigError(f"{subject}: policy_function={target!r} must be a function or a class.")
    if policy.policy_kwargs and not inspect.isclass(target):
        named = target if hasattr(target, "__qualname__") else type(target)
        raise ConfigError(
            f"{subject}: policy_kwargs are arguments of a class, but policy_function "
            f"{named.__module__}:{named.__qualname__} is not a class; use functools.partial or a "
            "class."
        )
