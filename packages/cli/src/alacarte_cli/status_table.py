"""The status as tables for people: short ids, ages, no empty columns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from alacarte.errors import NotFoundError
from alacarte.status import (
    ApplicationStatusOverview,
    CallCounts,
    DeploymentStatusOverview,
    PluginFailure,
    ReplicaState,
    RouteStatusOverview,
    ServeStatus,
    TargetStatusOverview,
)

from .render import table

__all__ = ["age", "status_tables"]

_ID = re.compile(r"\b[0-9a-f]{12,}\b")
_ID_LENGTH = 8
Row = tuple[str, ...]


def status_tables(
    status: ServeStatus,
    *,
    now: float,
    name: str | None = None,
    replicas: bool = False,
    tracebacks: bool = False,
) -> str:
    """Return a status as tables, with an empty line between two of them.

    Args:
        now: The time, in seconds since 1970.
        name: Show only this application and its routes.
        replicas: Show each replica.
        tracebacks: Show the tracebacks of failures.

    Raises:
        NotFoundError: No application has that name.
    """
    if name is not None and name not in status.applications:
        there = ", ".join(map(repr, status.applications)) or "none"
        raise NotFoundError(f"no application {name!r} is running; there are: {there}.")
    apps = {each: app for each, app in status.applications.items() if name in (None, each)}
    deployments = {
        f"{app}#{deployment}": each
        for app, overview in apps.items()
        for deployment, each in overview.deployments.items()
    }
    parts = [
        _section(
            ("APPLICATION", "STATUS", "ROUTE", "DEPLOYED", "MESSAGE"),
            [_application(each, app, now) for each, app in apps.items()],
        )
        or "no application is deployed.",
        _section(
            ("DEPLOYMENT", "STATUS", "READY", "SINCE", "WAITS FOR", "MESSAGE"),
            [_deployment(each, deployment, now) for each, deployment in deployments.items()],
        ),
        _section(
            ("REPLICA", "STATE", "SINCE", "VERSION", "NODE", "PID", "MESSAGE"),
            [row for each in deployments.values() for row in _replicas(each, now)]
            if replicas
            else [],
        ),
        _section(
            ("ROUTE", "TARGET", "WEIGHT", "REQUESTS", "ERRORS", "P50", "P95", "P99"),
            [row for path, route in status.routes.items() for row in _route(path, route, name)],
        ),
        _section(("PROXY", "STATUS", "URL", "MESSAGE"), [] if name else list(_services(status))),
        _section(
            ("PLUGIN", "FAILED IN", "FOR", "TIMES", "LAST", "MESSAGE"),
            [] if name else list(_plugin_failures(status, now)),
        ),
        "\n".join(_failures(deployments, now, tracebacks)),
    ]
    return "\n\n".join(filter(None, parts))


def age(seconds: float) -> str:
    """Return an age in a readable unit: "3 min ago"."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{max(seconds, 0):.0f} s ago"


def _section(head: Row, rows: Sequence[Row]) -> str:
    """Return a table without its empty columns, "" without rows."""
    used = [column for column in range(len(head)) if any(row[column] for row in rows)]
    return table([[row[column] for column in used] for row in (head, *rows)]) if rows else ""


def _short(text: str) -> str:
    """Return the first line of a text, with shortened ids."""
    line = text.strip().partition("\n")[0]
    return _ID.sub(lambda found: found[0][:_ID_LENGTH], line)


def _plugin_failures(status: ServeStatus, now: float) -> Iterator[Row]:
    """Yield a row for each kind of failure, summed over processes."""
    kinds: dict[Row, list[PluginFailure]] = {}
    for each in status.plugin_failures:
        kinds.setdefault((each.plugin, each.hook, each.subject, each.message), []).append(each)
    for (plugin, hook, subject, message), alike in kinds.items():
        times = str(sum(each.count for each in alike))
        last = age(now - max(each.at for each in alike))
        yield (plugin, hook, _short(subject), times, last, _short(message))


def _application(name: str, app: ApplicationStatusOverview, now: float) -> Row:
    deployed = age(now - app.last_deployed_time_s) if app.last_deployed_time_s else ""
    return (name, str(app.status), app.route_prefix or "-", deployed, _short(app.message))


def _deployment(name: str, each: DeploymentStatusOverview, now: float) -> Row:
    ready = each.replica_states.get(ReplicaState.RUNNING, 0)
    return (
        name,
        str(each.status),
        f"{ready} of {each.target_replicas}",
        age(now - each.since) if each.since else "",
        _short(each.waiting_for),
        _short(each.message),
    )


def _replicas(deployment: DeploymentStatusOverview, now: float) -> Iterator[Row]:
    for each in deployment.replicas:
        yield (
            _short(each.replica_id),
            str(each.state),
            age(now - each.since) if each.since else "",
            _short(each.version),
            _short(each.node_id),
            str(each.pid or ""),
            _short(each.message),
        )


def _route(path: str, route: RouteStatusOverview, name: str | None) -> Iterator[Row]:
    """Yield the targets of a route whose requests are counted, which is a split route."""
    if all(target.counts is None for target in route.targets.values()):
        return
    if name is not None and name not in (route.app, *route.targets, *route.shadows):
        return
    for target, each in route.targets.items():
        yield _target(path, target, each)
    for shadow, each in route.shadows.items():
        yield _target(path, f"{shadow} (copies)", each)


def _target(path: str, name: str, target: TargetStatusOverview) -> Row:
    counts = target.counts or CallCounts()
    times = (counts.p50_s, counts.p95_s, counts.p99_s) if counts.requests else ()
    shown = [f"{seconds * 1000:.3g} ms" for seconds in times] or ["", "", ""]
    return (path, name, f"{target.weight:g}", str(counts.requests), str(counts.errors), *shown)


def _services(status: ServeStatus) -> Iterator[Row]:
    """Yield the processes of node services: the proxies, or all where a node has several."""
    several = len(status.services) > len(status.proxies)
    found = status.services if several else status.proxies
    for name, each in found.items():
        shown = name if several else f"{each.service}/{name}"
        yield (_short(shown), str(each.status), each.url, _short(each.message))


def _failures(
    deployments: dict[str, DeploymentStatusOverview], now: float, tracebacks: bool
) -> Iterator[str]:
    for each in deployments.values():
        for failure in each.recent_failures:
            when = age(now - failure.at)
            yield f"{_short(failure.replica_id)}: {failure.kind} failed {when}: {failure.message}"
            if tracebacks and failure.traceback:
                yield from (f"    {line}" for line in failure.traceback.splitlines())
