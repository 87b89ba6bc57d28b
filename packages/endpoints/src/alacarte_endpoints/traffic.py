"""Split the requests of an application's path: a canary is one call, and its end another.

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
from ._names import listed
from ._paths import check_path
from ._weights import check_share, check_weights
from .kinds import APPLICATION, TRAFFIC, TrafficSpec

__all__ = ["check_applications", "delete_traffic", "set_traffic", "shadow_traffic"]


def set_traffic(route: str, weights: Mapping[str, float]) -> None:
    """Split a path's requests between applications, in place of all weights set before.

    Requests with the same shard key (`X-SERVE-SHARD-KEY`) go to the same application. The new
    weights hold for HTTP when this returns.

    Args:
        route: The path of an application: its `route_prefix`.
        weights: By application; they sum to 1. The one whose path it is need not be among them.

    Raises:
        TypeError: The weights are no dict from names to numbers.
        ConfigError: There is no such path or application, or the weights do not sum to 1.
        ServeError: No instance is running.
    """
    whose = f"the traffic of {check_path('set_traffic', route)}"
    checked = check_weights(whose, weights)
    instance = get_instance()

    def changed(spec: TrafficSpec | None) -> TrafficSpec:
        check_applications(whose, checked, instance)
        return replace(spec or _unsplit(route, instance), weights=checked)

    change(instance, TRAFFIC, route, lambda: _split(route, instance), changed)


def shadow_traffic(route: str, app: str, proportion: float) -> None:
    """Send copies of a share of a path's requests to another application.

    What becomes of them, callers do not learn, and they do not wait for it.

    Args:
        route: The path of an application: its `route_prefix`.
        app: The application that gets the copies.
        proportion: From 0 to 1; 0 ends it.

    Raises:
        TypeError: The proportion is no number from 0 to 1.
        ConfigError: There is no such path or application.
        ServeError: No instance is running.
    """
    whose = f"the traffic of {check_path('shadow_traffic', route)}"
    share = check_share(whose, proportion)
    instance = get_instance()

    def changed(spec: TrafficSpec | None) -> TrafficSpec | None:
        check_applications(whose, [app], instance)
        now = spec or _unsplit(route, instance)
        shadows = with_share(now.shadows, app, share)
        return None if shadows == now.shadows else replace(now, shadows=shadows)

    change(instance, TRAFFIC, route, lambda: _split(route, instance), changed)
    if not share and _is_unsplit(route, instance):
        instance.delete(TRAFFIC, route)


def delete_traffic(route: str) -> None:
    """Give a path back to the application that has it, without shadows; an unknown one is fine.

    Raises:
        ServeError: No instance is running.
    """
    get_instance().delete(TRAFFIC, route)


def _split(route: str, instance: Instance) -> TrafficSpec | None:
    """Return the split of a path, None where none is set."""
    specs: list[TrafficSpec] = [
        each.spec for each in instance.resources(TRAFFIC) if each.name == route
    ]
    return specs[0] if specs else None


def _unsplit(route: str, instance: Instance) -> TrafficSpec:
    """Return how a path is without a split: all to its own application.

    Raises:
        ConfigError: No application has the path.
    """
    paths = {
        overview.route_prefix: app
        for app, overview in instance.status().applications.items()
        if overview.route_prefix is not None
    }
    if route not in paths:
        raise ConfigError(f"no application has the path {route!r}; there are {listed(paths)}.")
    return TrafficSpec({paths[route]: 1.0})


def _is_unsplit(route: str, instance: Instance) -> bool:
    """Whether a path's split says only what would hold without it."""
    try:
        return _split(route, instance) == _unsplit(route, instance)
    except ConfigError:
        return False  # nobody else has the path


def check_applications(whose: str, wanted: Iterable[str], instance: Instance) -> None:
    """Raise ConfigError for names of which there is no application."""
    there = [resource.name for resource in instance.resources(APPLICATION)]
    unknown = [name for name in wanted if name not in there]
    if unknown:
        raise ConfigError(
            f"{whose}: there is no application {listed(unknown)}; there are {listed(there)}."
        )
