"""Splits of the requests of an application's path, for canaries and shadows.

serve.set_traffic("/", {"stable": 0.9, "canary": 0.1})
serve.delete_traffic("/")
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from alacarte.errors import ConfigError
from alacarte.instance import get_instance
from alacarte.types import Instance

from ._changes import change, with_share
from ._names import quoted
from ._paths import check_path
from ._weights import check_share, check_weights
from .kinds import APPLICATION, TRAFFIC, TrafficSpec

__all__ = ["check_applications", "delete_traffic", "set_traffic", "shadow_traffic"]


def set_traffic(route: str, weights: Mapping[str, float]) -> None:
    """Split the requests of a path between applications; replace all previous weights.

    Requests with the same shard key (`X-SERVE-SHARD-KEY`) go to the same application. All proxies
    use the new weights on return.

    Args:
        route: The `route_prefix` of an application.
        weights: Weights by application, which sum to 1. The application of the path may be absent.

    Raises:
        TypeError: The weights are not a dict from names to numbers.
        ConfigError: The path or an application does not exist, or the weights do not sum to 1.
        ServeError: No instance is running.
    """
    subject = f"the traffic of {check_path('set_traffic', route)}"
    checked = check_weights(subject, weights)
    instance = get_instance()

    def changed(spec: TrafficSpec | None) -> TrafficSpec:
        check_applications(subject, checked, instance)
        return replace(spec or _unsplit(route, instance), weights=checked)

    change(instance, TRAFFIC, route, lambda: _split(route, instance), changed)


def shadow_traffic(route: str, app: str, proportion: float) -> None:
    """Send copies of a share of a path's requests to another application.

    Callers neither wait for the copies nor see their outcome.

    Args:
        route: The `route_prefix` of an application.
        app: The application that gets the copies.
        proportion: Share of the requests, from 0 to 1; 0 stops the copies.

    Raises:
        TypeError: The proportion is not a number from 0 to 1.
        ConfigError: The path or the application does not exist.
        ServeError: No instance is running.
    """
    subject = f"the traffic of {check_path('shadow_traffic', route)}"
    share = check_share(subject, proportion)
    instance = get_instance()

    def changed(spec: TrafficSpec | None) -> TrafficSpec | None:
        check_applications(subject, [app], instance)
        current = spec or _unsplit(route, instance)
        shadows = with_share(current.shadows, app, share)
        return None if shadows == current.shadows else replace(current, shadows=shadows)

    change(instance, TRAFFIC, route, lambda: _split(route, instance), changed)
    if not share and _is_unsplit(route, instance):
        instance.delete(TRAFFIC, route)


def delete_traffic(route: str) -> None:
    """Delete the split and the shadows of a path. Paths without a split are ignored.

    Raises:
        ServeError: No instance is running.
    """
    get_instance().delete(TRAFFIC, route)


def _split(route: str, instance: Instance) -> TrafficSpec | None:
    """Return the split of a path, None for a path without a split."""
    specs: list[TrafficSpec] = [
        each.spec for each in instance.resources(TRAFFIC) if each.name == route
    ]
    return specs[0] if specs else None


def _unsplit(route: str, instance: Instance) -> TrafficSpec:
    """Return a split that sends all requests of a path to its own application.

    Raises:
        ConfigError: No application has the path.
    """
    paths = {
        overview.route_prefix: app
        for app, overview in instance.status().applications.items()
        if overview.route_prefix is not None
    }
    if route not in paths:
        raise ConfigError(
            f"no application has the path {route!r}; existing paths: {quoted(paths)}."
        )
    return TrafficSpec({paths[route]: 1.0})


def _is_unsplit(route: str, instance: Instance) -> bool:
    """Return whether a path's split sends all requests to the path's own application."""
    try:
        return _split(route, instance) == _unsplit(route, instance)
    except ConfigError:
        return False  # only the split has the path


def check_applications(subject: str, names: Iterable[str], instance: Instance) -> None:
    """Raise ConfigError for names of applications that do not exist."""
    existing = [resource.name for resource in instance.resources(APPLICATION)]
    unknown = [name for name in names if name not in existing]
    if unknown:
        raise ConfigError(
            f"{subject}: no application is named {quoted(unknown)}; existing: {quoted(existing)}."
        )
