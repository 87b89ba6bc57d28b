"""Plugins' options of deployments, in the form that calling processes get. Pure.

Each change of a deployment sends these options to all proxies and callers, so the options are
small and contain none of the user's code.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from ..types import ConfigSection, UserCode

if TYPE_CHECKING:
    from .deployment_spec import DeploymentSpec, PlainOptions

__all__ = ["MAX_CALLER_OPTIONS_BYTES", "caller_options", "check_caller_options", "codes_in"]

MAX_CALLER_OPTIONS_BYTES = 64 * 1024
"""Limit for all options of a deployment together, pickled."""


def caller_options(spec: DeploymentSpec, sections: Mapping[str, ConfigSection]) -> PlainOptions:
    """Return the options that callers get, without the bytes of code in them.

    Args:
        sections: Sections of deployments, by name.
    """
    return {
        name: _map_code(value, UserCode.without_code)
        for name, value in spec.options.items()
        if name not in sections or sections[name].visible_to == "all"
    }


def check_caller_options(spec: DeploymentSpec, sections: Mapping[str, ConfigSection]) -> None:
    """Raise ConfigError for a deployment whose options are too large for callers.

    Args:
        sections: Sections of deployments, by name.
    """
    options = caller_options(spec, sections)
    sizes = {name: len(pickle.dumps(value)) for name, value in options.items()}
    if sum(sizes.values()) > MAX_CALLER_OPTIONS_BYTES:
        largest = max(sizes, key=lambda name: sizes[name])
        raise ConfigError(
            f"{spec.id}: its plugins' options take {_kib(sum(sizes.values()))}, "
            f"{_kib(sizes[largest])} of them in the section {largest!r}; the limit is "
            f"{_kib(MAX_CALLER_OPTIONS_BYTES)}, because all callers get these options. Set the "
            "path of a file in place of its contents."
        )


def codes_in(value: object) -> list[UserCode]:
    """Return the functions and classes in an option's plain value."""
    found: list[UserCode] = []

    def note(code: UserCode) -> UserCode:
        found.append(code)
        return code

    _map_code(value, note)
    return found


def _map_code(value: Any, change: Callable[[UserCode], UserCode]) -> Any:
    if isinstance(value, UserCode):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _map_code(each, change) for key, each in value.items()}
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(_map_code(each, change) for each in value)
    return value


def _kib(size_bytes: int) -> str:
    return f"{size_bytes / 1024:,.1f} KiB"
