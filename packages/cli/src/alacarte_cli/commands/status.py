"""`serve status`: what runs, as YAML or JSON."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from alacarte.status import (
    ApplicationStatusOverview,
    DeploymentStatusOverview,
    ServeStatus,
    ServiceStatusOverview,
)
from alacarte_cli.facade import GetFacade, facade
from alacarte_cli.render import as_yaml

__all__ = ["StatusCommand", "command", "document"]


class StatusCommand:
    """Prints the status of the running instance. It starts nothing, Ray included.

    Args:
        get_facade: Gives `alacarte.serve`.
    """

    def __init__(self, get_facade: GetFacade = facade) -> None:
        self._get_facade = get_facade

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare where to look and how to print."""
        parser.add_argument("-a", "--address", help="the Ray cluster (default: RAY_ADDRESS)")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def run(self, options: argparse.Namespace) -> int:
        """Print, and return 0; 1 when nothing is running."""
        serve = self._get_facade()
        if not serve.attach(options.address):
            at = f" at {options.address}" if options.address else ""
            print(f"nothing is running{at}; start with `serve run module:app`.", file=sys.stderr)
            return 1
        shown = document(serve.status())
        print(json.dumps(shown, indent=2) if options.json else as_yaml(shown))
        return 0


def document(status: ServeStatus) -> dict[str, Any]:
    """Return a status as plain values, under the names Ray Serve uses.

    Processes of node services are told apart where a node has more than the one of its proxy.
    """
    shown = {
        "proxies": {node: _proxy(proxy) for node, proxy in status.proxies.items()},
        "applications": {name: _application(app) for name, app in status.applications.items()},
    }
    if len(status.services) > len(status.proxies):
        shown["services"] = {name: _proxy(each) for name, each in status.services.items()}
    return shown


def _proxy(proxy: ServiceStatusOverview) -> dict[str, Any]:
    return {
        "status": str(proxy.status),
        "service": proxy.service,
        "url": proxy.url,
        "message": proxy.message,
    }


def _application(app: ApplicationStatusOverview) -> dict[str, Any]:
    return {
        "status": str(app.status),
        "message": app.message,
        "route_prefix": app.route_prefix,
        "last_deployed_time_s": app.last_deployed_time_s,
        "deployments": {name: _deployment(one) for name, one in app.deployments.items()},
    }


def _deployment(deployment: DeploymentStatusOverview) -> dict[str, Any]:
    return {
        "status": str(deployment.status),
        "status_trigger": str(deployment.status_trigger),
        "replica_states": {str(state): n for state, n in deployment.replica_states.items()},
        "message": deployment.message,
    }


command = StatusCommand()
