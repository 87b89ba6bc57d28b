"""How a handle calls, and which of Ray Serve's words for it mean something here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from alacarte.errors import ConfigError

__all__ = ["DEFAULTS", "Options", "changed"]


@dataclass(frozen=True)
class Options:
    """How a handle calls; see `DeploymentHandle.options`."""

    method_name: str = "__call__"
    stream: bool = False
    multiplexed_model_id: str = ""
    session_id: str = ""
    timeout_s: float | None = None
    idempotent: bool = False


DEFAULTS = Options()
_NAMES = tuple(field.name for field in fields(Options))
_TEXTS = ("method_name", "multiplexed_model_id", "session_id")
_SWITCHES = ("stream", "idempotent")
_FOR_RAY_SERVE = (
    "_prefer_local_routing",
    "_by_reference",
    "request_serialization",
    "response_serialization",
)
_PICKLES = ("cloudpickle", "pickle")


def changed(handle: str, options: Options, wanted: Mapping[str, Any]) -> Options:
    """Return `options` with those that are wanted.

    Args:
        handle: Whose they are, for errors.

    Raises:
        ConfigError: One is unknown, or has a value that is not allowed.
    """
    ours = {}
    for name, value in wanted.items():
        if name in _FOR_RAY_SERVE:
            _check_theirs(handle, name, value)
        elif name in _NAMES:
            _check_ours(handle, name, value)
            ours[name] = value
        else:
            raise ConfigError(
                f"{handle}: handles have no option {name!r}; there are {', '.join(_NAMES)}."
            )
    return replace(options, **ours)


def _check_ours(handle: str, name: str, value: Any) -> None:
    if name in _TEXTS:
        right, kind = isinstance(value, str), "a text"
    elif name in _SWITCHES:
        right, kind = isinstance(value, bool), "True or False"
    else:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        right = value is None or (number and not math.isnan(value))
        kind = "a number of seconds, or None for no limit"
    if not right:
        raise ConfigError(f"{handle}: the option {name}={value!r} of a handle must be {kind}.")


def _check_theirs(handle: str, name: str, value: Any) -> None:
    if name.endswith("_serialization"):
        if value not in _PICKLES:
            raise ConfigError(
                f"{handle}: {name}={value!r}: values are pickled, arrays without being copied; "
                f"allowed are {', '.join(map(repr, _PICKLES))}."
            )
    elif not isinstance(value, bool):
        raise ConfigError(f"{handle}: the option {name}={value!r} must be True or False.")
    elif name == "_prefer_local_routing" and value:
        raise ConfigError(
            f"{handle}: _prefer_local_routing is not an option of a handle here; which replica "
            "is called is decided by the deployment's routing_policy, which sees the nodes."
        )
