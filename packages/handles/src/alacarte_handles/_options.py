"""The options of a handle, and the options of Ray Serve that are accepted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from alacarte.errors import ConfigError

__all__ = ["DEFAULTS", "Options", "replace_options"]


@dataclass(frozen=True)
class Options:
    """The options of a handle; see `DeploymentHandle.options`."""

    method_name: str = "__call__"
    stream: bool = False
    multiplexed_model_id: str = ""
    session_id: str = ""
    timeout_s: float | None = None
    idempotent: bool = False


DEFAULTS = Options()
_NAMES = tuple(field.name for field in fields(Options))
_STRINGS = ("method_name", "multiplexed_model_id", "session_id")
_BOOLEANS = ("stream", "idempotent")
_RAY_SERVE_OPTIONS = (
    "_prefer_local_routing",
    "_by_reference",
    "request_serialization",
    "response_serialization",
)
_SERIALIZATIONS = ("cloudpickle", "pickle")


def replace_options(deployment: str, options: Options, given: Mapping[str, object]) -> Options:
    """Return `options` with the given ones replaced.

    Args:
        deployment: The handle's deployment, for errors.

    Raises:
        ConfigError: An option is unknown or invalid.
    """
    changes: dict[str, Any] = {}
    for name, value in given.items():
        if name in _RAY_SERVE_OPTIONS:
            _check_ray_serve_option(deployment, name, value)
        elif name in _NAMES:
            _check_option(deployment, name, value)
            changes[name] = value
        else:
            raise ConfigError(
                f"{deployment}: a handle has no option {name!r}; its options are "
                f"{', '.join(_NAMES)}."
            )
    return replace(options, **changes)


def _check_option(deployment: str, name: str, value: object) -> None:
    if name in _STRINGS:
        is_valid, kind = isinstance(value, str), "a string"
    elif name in _BOOLEANS:
        is_valid, kind = isinstance(value, bool), "True or False"
    else:
        is_valid = value is None or (
            isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
        )
        kind = "a number of seconds, or None for no limit"
    if not is_valid:
        raise ConfigError(f"{deployment}: the option {name}={value!r} of a handle must be {kind}.")


def _check_ray_serve_option(deployment: str, name: str, value: object) -> None:
    if name.endswith("_serialization"):
        if value not in _SERIALIZATIONS:
            raise ConfigError(
                f"{deployment}: {name}={value!r} is not supported; values are pickled, arrays "
                f"without a copy. Pass {' or '.join(map(repr, _SERIALIZATIONS))}, or remove the "
                "option."
            )
    elif not isinstance(value, bool):
        raise ConfigError(f"{deployment}: the option {name}={value!r} must be True or False.")
    elif name == "_prefer_local_routing" and value:
        raise ConfigError(
            f"{deployment}: _prefer_local_routing=True is not supported; the deployment's "
            "routing_policy chooses the replica and knows the nodes. Remove the option, or set a "
            "routing_policy that prefers local replicas."
        )
