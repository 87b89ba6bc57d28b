from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from alacarte.errors import NotFoundError
from alacarte.status import (
    CallCounts,
    Failure,
    PluginFailure,
    ProxyStatus,
    RouteStatusOverview,
    ServeStatus,
    ServiceStatusOverview,
    TargetStatusOverview,
)
from alacarte_cli.status_table import age, status_tables

NODE = "248f1e800f8000d3fc4acff145c64b8446fb6dbb607cb14210a1f9fb"
NOW = 132.5


def test_what_runs(serve: Any) -> None:
    """Applications, deployments and proxies: short ids, ages, no column that is empty."""
    proxy = ServiceStatusOverview(ProxyStatus.HEALTHY, "http", NODE, "http://127.0.0.1:8000/")
    serve.proxies = {NODE: proxy}
    assert status_tables(serve.status(), now=NOW).splitlines() == [
        "APPLICATION  STATUS   ROUTE  DEPLOYED",
        "default      RUNNING  /      2 min ago",
        "",
        "DEPLOYMENT     STATUS   READY   SINCE",
        "default#Model  HEALTHY  2 of 2  2 min ago",
        "",
        "PROXY          STATUS   URL",
        "http/248f1e80  HEALTHY  http://127.0.0.1:8000/",
    ]


def test_replicas(serve: Any) -> None:
    """Each replica on request, with its process and node."""
    lines = status_tables(serve.status(), now=NOW, replicas=True).splitlines()
    at = lines.index("REPLICA          STATE    SINCE      VERSION  NODE  PID")
    assert lines[at + 1] == "default#Model#1  RUNNING  2 min ago  v1       n1    77"


def test_failures(serve: Any) -> None:
    """Recent failures are shown, with their tracebacks on request."""
    serve.failures = (Failure(120.0, "default#Model#0", "start", "no model", "line 1\nline 2"),)
    last = "default#Model#0: start failed 12 s ago: no model"
    assert status_tables(serve.status(), now=NOW).splitlines()[-1] == last
    lines = status_tables(serve.status(), now=NOW, tracebacks=True).splitlines()
    assert lines[-3:] == [last, "    line 1", "    line 2"]


def test_failures_of_plugins(serve: Any) -> None:
    """Failures of plugins have one row for each kind, summed over processes."""
    failures = tuple(
        PluginFailure("keys", "wrap_caller", "deployment a#D", "KeyError: 'x'", 2, at, process)
        for at, process in ((30.0, "p1"), (120.0, "p2"))
    )
    status = replace(serve.status(), plugin_failures=failures)
    assert status_tables(status, now=NOW).splitlines()[-2:] == [
        "PLUGIN  FAILED IN    FOR             TIMES  LAST      MESSAGE",
        "keys    wrap_caller  deployment a#D  4      12 s ago  KeyError: 'x'",
    ]


def test_splits(serve: Any) -> None:
    """A route that is split shows its targets' weights, counts and times; others do not."""
    counts = CallCounts(900, 1, 0, 0.0021449, 0.002, 0.004, 0.01)
    fresh = TargetStatusOverview(0.1, CallCounts())
    split = RouteStatusOverview(
        "default", None, {"default": TargetStatusOverview(0.9, counts)}, {"copy": fresh}, 1.0
    )
    plain = RouteStatusOverview("default", None, {"default": TargetStatusOverview(1.0)})
    serve.routes = {"/split": split, "/plain": plain}
    lines = status_tables(serve.status(), now=NOW).splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("ROUTE"))
    assert [line.split() for line in lines[at : at + 4]] == [
        ["ROUTE", "TARGET", "WEIGHT", "REQUESTS", "ERRORS", "P50", "P95", "P99"],
        ["/split", "default", "0.9", "900", "1", *["2", "ms", "4", "ms", "10", "ms"]],
        ["/split", "copy", "(copies)", "0.1", "0", "0"],
        [],
    ]


def test_one_application(serve: Any) -> None:
    """One application alone, without proxies; an unknown one is an error."""
    told = status_tables(serve.status(), now=NOW, name="default")
    assert "default#Model" in told
    assert "PROXY" not in told
    with pytest.raises(NotFoundError, match="no application 'other' is running; there are: 'def"):
        status_tables(serve.status(), now=NOW, name="other")


def test_nothing_is_deployed(serve: Any) -> None:
    """An instance without applications says so, and shows its proxies."""
    told = status_tables(ServeStatus(serve.proxies, {}), now=NOW)
    assert told.startswith("no application is deployed.\n\nPROXY")


def test_several_processes_of_a_node(serve: Any) -> None:
    """Each has a line of its own."""
    first = serve.proxies["n1"]
    second = replace(first, status=ProxyStatus.DRAINING, index=1)
    serve.services = {f"http/{NODE}/0": first, f"http/{NODE}/1": second}
    told = status_tables(serve.status(), now=NOW)
    assert "http/248f1e80/0  HEALTHY " in told
    assert "http/248f1e80/1  DRAINING" in told


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (59, "59 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (200_000, "2 d")],
)
def test_ages(seconds: float, text: str) -> None:
    """In the unit that people would use."""
    assert age(seconds) == f"{text} ago"
