"""`alacarte traffic`: show, change and delete the split of a path's requests."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from types import ModuleType

from alacarte.errors import ConfigError, NotFoundError, ServeError
from alacarte.status import RouteStatusOverview, ServeStatus

from ._weights import check_share

__all__ = ["TrafficCommand", "command"]


class TrafficCommand:
    """Changes the split of a path in the running instance, and prints the result."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the route, weights, shadows and the cluster's address."""
        parser.add_argument("route", metavar="ROUTE", help="the path of an application")
        parser.add_argument(
            "weights",
            metavar="APP=WEIGHT",
            nargs="*",
            help="an application and its share of the requests; all shares sum to 1",
        )
        parser.add_argument(
            "--shadow",
            metavar="APP=SHARE",
            action="append",
            default=[],
            help="send copies of this share of the requests to an application; 0 to stop",
        )
        parser.add_argument(
            "--delete",
            action="store_true",
            help="delete the split: all requests go to the path's own application",
        )
        parser.add_argument("-a", "--address", help="the Ray cluster (default: RAY_ADDRESS)")

    def run(self, options: argparse.Namespace) -> int:
        """Apply the changes, print the resulting split, and return 0.

        Raises:
            ConfigError: A share is invalid.
            ServeError: No instance is running.
        """
        weights, shadows = _shares(options.weights), _shares(options.shadow)
        for app, share in shadows.items():
            check_share(app, share)  # before any change
        if options.delete and (weights or shadows):
            raise ConfigError("--delete takes no shares; remove the shares or --delete.")
        serve = _facade()
        if not serve.attach(options.address):
            raise ServeError("nothing is running; start with `alacarte run module:app`.")
        if options.delete:
            serve.delete_traffic(options.route)
        if shadows:
            _check_exist(options.route, shadows)
        if weights:
            serve.set_traffic(options.route, weights)
        for app, share in shadows.items():
            serve.shadow_traffic(options.route, app, share)
        print(_format_route(options.route, serve.status()))  # noqa: T201  a command's output
        return 0


def _facade() -> ModuleType:
    from alacarte import serve  # lazy, for a fast `alacarte --help`

    return serve


def _check_exist(route: str, apps: Iterable[str]) -> None:
    from alacarte.instance import get_instance  # lazy, for a fast `alacarte --help`

    from .traffic import check_applications

    check_applications(f"the traffic of {route}", apps, get_instance())


def _shares(words: Sequence[str]) -> dict[str, float]:
    """Return shares by application from arguments such as "canary=0.1"."""
    shares = {}
    for word in words:
        app, _, number = word.rpartition("=")
        if app in shares:
            raise ConfigError(f"application {app!r} has two shares; set one.")
        try:
            shares[app] = float(number)
        except ValueError:
            app = ""
        if not app:
            raise ConfigError(f"{word!r} must be an application and its share, such as app=0.1.")
    return shares


def _format_route(route: str, status: ServeStatus) -> str:
    found = status.routes.get(route)
    if found is None:
        existing = ", ".join(status.routes) or "none"
        raise NotFoundError(f"route {route!r} does not exist; existing routes: {existing}.")
    return "\n".join([f"{route}:", *_lines(found)])


def _lines(route: RouteStatusOverview) -> list[str]:
    lines = [f"  {app}: {each.weight:g}" for app, each in route.targets.items()]
    return lines + [f"  copies to {app}: {each.weight:g}" for app, each in route.shadows.items()]


command = TrafficCommand()
