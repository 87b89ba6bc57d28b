"""Names, and how errors list them."""

from __future__ import annotations

from collections.abc import Iterable

from alacarte.errors import ConfigError
from alacarte.instance import check_deployment_name

__all__ = ["check_name", "listed"]


def check_name(what: str, name: object) -> str:
    """Return the name of a backend or an endpoint.

    Raises:
        TypeError: The name is not a string.
        ConfigError: No deployment can have the name, or the name reads like a path.
    """
    checked = check_deployment_name(what, name)
    if checked.startswith("/"):
        raise ConfigError(f'{what} {checked!r} must not begin with "/", as paths do.')
    return checked


def listed(names: Iterable[str]) -> str:
    """Return names as an error tells them."""
    return ", ".join(map(repr, names)) or "none"
