"""Split the requests of an application's path: a canary is one call, and its end another.

serve.set_traffic("/", {"stable": 0.9, "canary": 0.1})
serve.delete_traffic("/")
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace

from alacarte.errors import ConfigError
from alacarte.instance import get_instance
from alacarte.types import Instance, Resource

from ._paths import check_path
from ._weights import check_share, check_weights
from .kinds import APPLICATION, TRAFFIC, TrafficSpec

__all__ = ["delete_traffic", "set_traffic", "shadow_traffic"]

_changing = threading.RLock()
"""Threads of this process change splits in turn; of two processes, the last one wins."""


def set_traffic(route: str, weights: Mapping[str, float]) -> None:
    """Split a path's requests between applications, in place of all weights set before.

    Requests with the same shard key (`X-SERVE-SHARD-KEY`) go to the same application. The new
    weights hold when this returns.

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
    with _changing:
        _check_applications(whose, checked, instance)
        spec = _split(route, instance)
        instance.apply(Resource(TRAFFIC, route, replace(spec, weights=checked)))


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
    with _changing:
        _check_applications(whose, [app], instance)
        spec = _split(route, instance)
        shadows = {name: each for name, each in spec.shadows.items() if name != app}
        if share:
            shadows[app] = share
        if shadows != spec.shadows:
            instance.apply(Resource(TRAFFIC, route, replace(spec, shadows=shadows)))


def delete_traffic(route: str) -> None:
    """Give a path back to the application that has it, without shadows; an unknown one is fine.

    Raises:
        ServeError: No instance is running.
    """
    with _changing:
        get_instance().delete(TRAFFIC, route)


def _split(route: str, instance: Instance) -> TrafficSpec:
    """Return the split of a path as it is, all to the path's own application where none is set."""
    for resource in instance.resources(TRAFFIC):
        if resource.name == route:
            spec: TrafficSpec = resource.spec
            return spec
    paths = {
        overview.route_prefix: app
        for app, overview in instance.status().applications.items()
        if overview.route_prefix is not None
    }
    if route not in paths:
        raise ConfigError(f"no application has the path {route!r}; there are {_listed(paths)}.")
    return TrafficSpec({paths[route]: 1.0})


def _check_applications(whose: str, wanted: Iterable[str], instance: Instance) -> None:
    there = [resource.name for resource in instance.resources(APPLICATION)]
    unknown = [name for name in wanted if name not in there]
    if unknown:
        raise ConfigError(
            f"{whose}: there is no application {_listed(unknown)}; there are {_listed(there)}."
        )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names)) or "none"
