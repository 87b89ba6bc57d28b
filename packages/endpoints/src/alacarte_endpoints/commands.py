"""`alacarte traffic`: split a path's requests between applications, look at it, end it."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from types import ModuleType

from alacarte.errors import ConfigError, NotFoundError, ServeError
from alacarte.status import RouteStatusOverview, ServeStatus

from ._weights import check_share

__all__ = ["TrafficCommand", "command"]


class TrafficCommand:
    """Changes the split of a path in the running instance, and prints it. It starts nothing."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the path, the weights and where to look."""
        parser.add_argument("route", metavar="ROUTE", help="the path of an application")
        parser.add_argument(
            "weights",
            metavar="APP=WEIGHT",
            nargs="*",
            help="an application's share of the requests; all shares sum to 1",
        )
        parser.add_argument(
            "--shadow",
            metavar="APP=SHARE",
            action="append",
            default=[],
            help="send copies of this share of the requests to an application; 0 ends it",
        )
        parser.add_argument(
            "--delete", action="store_true", help="give the path back to its own application"
        )
        parser.add_argument("-a", "--address", help="the Ray cluster (default: RAY_ADDRESS)")

    def run(self, options: argparse.Namespace) -> int:
        """Change what is asked for, and print what holds then. Return 0.

        Raises:
            ConfigError: A share is no number, or not allowed.
            ServeError: Nothing is running.
        """
        weights, shadows = _shares(options.weights), _shares(options.shadow)
        for app, share in shadows.items():
            check_share(app, share)  # before anything is changed
        if options.delete and (weights or shadows):
            raise ConfigError("--delete ends the split: give no shares with it.")
        serve = _facade()
        if not serve.attach(options.address):
            raise ServeError("nothing is running; start with `alacarte run module:app`.")
        if options.delete:
            serve.delete_traffic(options.route)
        if shadows:
            _check_there(options.route, shadows)
        if weights:
            serve.set_traffic(options.route, weights)
        for app, share in shadows.items():
            serve.shadow_traffic(options.route, app, share)
        print(_told(options.route, serve.status()))  # noqa: T201  a command's output
        return 0


def _facade() -> ModuleType:
    from alacarte import serve  # which `alacarte --help` need not wait for

    return serve


def _check_there(route: str, apps: Iterable[str]) -> None:
    from alacarte.instance import get_instance  # which `alacarte --help` need not wait for

    from .traffic import check_applications

    check_applications(f"the traffic of {route}", apps, get_instance())


def _shares(words: Sequence[str]) -> dict[str, float]:
    """Return shares by application from words like "canary=0.1"."""
    shares = {}
    for word in words:
        app, _, number = word.rpartition("=")
        if app in shares:
            raise ConfigError(f"{app!r} is given two shares.")
        try:
            shares[app] = float(number)
        except ValueError:
            app = ""
        if not app:
            raise ConfigError(f"{word!r} is not like APP=0.1, an application and its share.")
    return shares


def _told(route: str, status: ServeStatus) -> str:
    found = status.routes.get(route)
    if found is None:
        there = ", ".join(status.routes) or "none"
        raise NotFoundError(f"there is no route {route!r}; there are: {there}.")
    return "\n".join([f"{route}:", *_lines(found)])


def _lines(route: RouteStatusOverview) -> list[str]:
    lines = [f"  {app}: {each.weight:g}" for app, each in route.targets.items()]
    return lines + [f"  copies to {app}: {each.weight:g}" for app, each in route.shadows.items()]


command = TrafficCommand()
