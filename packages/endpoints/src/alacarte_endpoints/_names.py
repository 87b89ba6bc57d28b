"""Names of backends and endpoints, and lists of names in errors."""

from __future__ import annotations

from collections.abc import Iterable

from alacarte.errors import ConfigError
from alacarte.instance import check_deployment_name

__all__ = ["check_name", "quoted"]


def check_name(subject: str, name: object) -> str:
    """Return `name` where it is a valid name of a backend or an endpoint.

    Raises:
        TypeError: The name is not a string.
        ConfigError: The name is not valid for a deployment, or begins with "/".
    """
    checked = check_deployment_name(subject, name)
    if checked.startswith("/"):
        raise ConfigError(f'{subject} {checked!r} must not begin with "/", as paths do.')
    return checked


def quoted(names: Iterable[str]) -> str:
    """Return quoted names for an error, or "none"."""
    return ", ".join(map(repr, names)) or "none"
