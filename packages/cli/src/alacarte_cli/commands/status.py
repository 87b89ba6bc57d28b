"""`alacarte status`: print the status as tables, YAML or JSON."""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from typing import Any

from alacarte.errors import NotFoundError
from alacarte.status import (
    ApplicationStatusOverview,
    CallCounts,
    DeploymentStatusOverview,
    Failure,
    PluginFailure,
    ReplicaOverview,
    RouteStatusOverview,
    ServeStatus,
    ServiceStatusOverview,
    TargetStatusOverview,
)
from alacarte_cli.facade import GetFacade, facade
from alacarte_cli.render import as_yaml, print_coloured
from alacarte_cli.status_table import status_tables

__all__ = ["StatusCommand", "command", "document"]

Document = dict[str, Any]
"""JSON-able values by name."""


class StatusCommand:
    """The command that prints the status of the running instance. Starts nothing.

    Args:
        get_facade: Returns `alacarte.serve`.
    """

    def __init__(self, get_facade: GetFacade = facade) -> None:
        self._get_facade = get_facade

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the cluster, the parts to print, and the format."""
        parser.add_argument("-a", "--address", help="the Ray cluster (default: RAY_ADDRESS)")
        parser.add_argument("-n", "--name", help="show only this application and its routes")
        parser.add_argument("-r", "--replicas", action="store_true", help="show each replica")
        style = parser.add_mutually_exclusive_group()
        style.add_argument("--json", action="store_true", help="print everything as JSON")
        style.add_argument("--yaml", action="store_true", help="print everything as YAML")

    def run(self, options: argparse.Namespace) -> int:
        """Print the status and return 0; return 1 when no instance is running.

        Raises:
            NotFoundError: No application has the name in `--name`.
        """
        serve = self._get_facade()
        if not serve.attach(options.address):
            at = f" at {options.address}" if options.address else ""
            print(f"nothing is running{at}; start with `alacarte run module:app`.", file=sys.stderr)
            return 1
        status = serve.status()
        more = {"replicas": options.replicas, "tracebacks": options.traceback}
        if not (options.json or options.yaml):
            print_coloured(status_tables(status, now=time.time(), name=options.name, **more))
            return 0
        shown = document(status, **more)
        if options.name is not None:
            shown = _only(shown, options.name)
        print(json.dumps(shown, indent=2) if options.json else as_yaml(shown))
        return 0


def document(status: ServeStatus, *, replicas: bool = False, tracebacks: bool = False) -> Document:
    """Return a status as plain values, with Ray Serve's names.

    Shows routes whose requests are counted, which are the split routes. Shows each process of a
    node service where a node has more processes than its proxy.

    Args:
        replicas: Show each replica.
        tracebacks: Show the tracebacks of failures.
    """
    shown: Document = {
        "proxies": {node: _proxy(proxy) for node, proxy in status.proxies.items()},
        "applications": {
            name: _application(app, replicas, tracebacks)
            for name, app in status.applications.items()
        },
    }
    counted = {path: each for path, each in status.routes.items() if _is_counted(each)}
    if counted:
        shown["routes"] = {path: _route(each) for path, each in counted.items()}
    if len(status.services) > len(status.proxies):
        shown["services"] = {name: _proxy(each) for name, each in status.services.items()}
    if status.plugin_failures:
        shown["plugin_failures"] = [_plugin_failure(each) for each in status.plugin_failures]
    return shown


def _only(shown: Document, name: str) -> Document:
    applications = shown["applications"]
    if name not in applications:
        there = ", ".join(map(repr, applications)) or "none"
        raise NotFoundError(f"no application {name!r} is running; there are: {there}.")
    only: Document = {"applications": {name: applications[name]}}
    routes = {
        path: route
        for path, route in shown.get("routes", {}).items()
        if name in (route["app"], *route["targets"], *route["shadows"])
    }
    return {**only, "routes": routes} if routes else only


def _is_counted(route: RouteStatusOverview) -> bool:
    return any(target.counts is not None for target in route.targets.values())


def _route(route: RouteStatusOverview) -> Document:
    return {
        "app": route.app,
        "methods": None if route.methods is None else list(route.methods),
        "since": _moment(route.since) if route.since else None,
        "targets": {name: _target(each) for name, each in route.targets.items()},
        "shadows": {
            name: {**_target(each), "dropped": each.counts.dropped if each.counts else 0}
            for name, each in route.shadows.items()
        },
    }


def _target(target: TargetStatusOverview) -> Document:
    counts = target.counts or CallCounts()
    return {
        "weight": target.weight,
        "requests": counts.requests,
        "errors": counts.errors,
        "mean_s": _rounded(counts.mean_s),
        "p50_s": _rounded(counts.p50_s),
        "p95_s": _rounded(counts.p95_s),
        "p99_s": _rounded(counts.p99_s),
    }


def _rounded(seconds: float) -> float:
    """Return a time with three significant digits, the precision of the quantiles."""
    return float(f"{seconds:.3g}")


def _proxy(proxy: ServiceStatusOverview) -> Document:
    return {
        "status": str(proxy.status),
        "service": proxy.service,
        "url": proxy.url,
        "message": proxy.message,
    }


def _application(app: ApplicationStatusOverview, replicas: bool, tracebacks: bool) -> Document:
    return {
        "status": str(app.status),
        "message": app.message,
        "route_prefix": app.route_prefix,
        "last_deployed_time_s": app.last_deployed_time_s,
        "deployments": {
            name: _deployment(each, replicas, tracebacks) for name, each in app.deployments.items()
        },
    }


def _deployment(deployment: DeploymentStatusOverview, replicas: bool, tracebacks: bool) -> Document:
    shown: Document = {
        "status": str(deployment.status),
        "status_trigger": str(deployment.status_trigger),
        "since": _moment(deployment.since),
        "target_replicas": deployment.target_replicas,
        "replica_states": {str(state): n for state, n in deployment.replica_states.items()},
        "message": deployment.message,
        "waiting_for": deployment.waiting_for,
        "recent_failures": [_failure(each, tracebacks) for each in deployment.recent_failures],
    }
    if replicas:
        shown["replicas"] = {each.replica_id: _replica(each) for each in deployment.replicas}
    return shown


def _plugin_failure(failure: PluginFailure) -> Document:
    return {
        "plugin": failure.plugin,
        "hook": failure.hook,
        "subject": failure.subject,
        "message": failure.message,
        "count": failure.count,
        "at": _moment(failure.at),
        "process": failure.process,
    }


def _replica(replica: ReplicaOverview) -> Document:
    return {
        "state": str(replica.state),
        "since": _moment(replica.since),
        "version": replica.version,
        "node_id": replica.node_id,
        "pid": replica.pid,
        "message": replica.message,
    }


def _failure(failure: Failure, tracebacks: bool) -> Document:
    shown = {
        "at": _moment(failure.at),
        "replica_id": failure.replica_id,
        "kind": failure.kind,
        "message": failure.message,
    }
    return {**shown, "traceback": failure.traceback} if tracebacks else shown


def _moment(seconds: float) -> str:
    """Return a time in ISO 8601, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


command = StatusCommand()
