from __future__ import annotations

import json
import time
from argparse import Namespace
from dataclasses import replace
from typing import Any

import pytest

from alacarte.errors import NotFoundError
from alacarte.status import (
    CallCounts,
    Failure,
    ProxyStatus,
    RouteStatusOverview,
    TargetStatusOverview,
)
from alacarte_cli.commands.status import StatusCommand, document
from alacarte_cli.status_table import status_tables


def options(**given: Any) -> Namespace:
    plain = {"address": None, "json": False, "yaml": True, "name": None}
    plain |= {"replicas": False, "traceback": False}
    return Namespace(**{**plain, **given})


def test_tables_by_default(serve: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Without `--json` or `--yaml`, tables for people; in colour on terminals only."""
    assert StatusCommand(lambda: serve).run(options(yaml=False)) == 0
    told = capsys.readouterr().out
    assert told == status_tables(serve.status(), now=time.time()) + "\n"
    assert "APPLICATION" in told
    assert "\x1b" not in told


def test_nothing_running_is_an_error(serve: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Without an instance, the command prints a line on stderr and exits with 1."""
    serve.running = False
    assert StatusCommand(lambda: serve).run(options(address="host:1")) == 1
    assert capsys.readouterr().err.startswith("nothing is running at host:1; start with ")
    assert serve.calls == [("attach", {"address": "host:1"})]


def test_status_is_readable(serve: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Applications, deployments and proxies, nested, under Ray Serve's names."""
    assert StatusCommand(lambda: serve).run(options()) == 0
    assert capsys.readouterr().out.splitlines() == [
        "proxies:",
        "  n1:",
        "    status: HEALTHY",
        "    service: http",
        "    url: http://127.0.0.1:8000",
        '    message: ""',
        "applications:",
        "  default:",
        "    status: RUNNING",
        '    message: ""',
        "    route_prefix: /",
        "    last_deployed_time_s: 12.5",
        "    deployments:",
        "      Model:",
        "        status: HEALTHY",
        "        status_trigger: CONFIG_UPDATE_COMPLETED",
        '        since: "1970-01-01T00:00:12+00:00"',
        "        target_replicas: 2",
        "        replica_states:",
        "          RUNNING: 2",
        '        message: ""',
        '        waiting_for: ""',
        "        recent_failures: []",
    ]


def test_failures_are_shown(serve: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Recent failures are shown with their times, and with `--traceback` their tracebacks."""
    serve.failures = (Failure(13.0, "default#Model#0", "start", "no model", "line 1\nline 2"),)
    assert StatusCommand(lambda: serve).run(options()) == 0
    shown = [
        "        recent_failures:",
        '          - at: "1970-01-01T00:00:13+00:00"',
        '            replica_id: "default#Model#0"',
        "            kind: start",
        "            message: no model",
    ]
    assert capsys.readouterr().out.splitlines()[-5:] == shown
    assert StatusCommand(lambda: serve).run(options(traceback=True)) == 0
    more = ["            traceback: |-", "              line 1", "              line 2"]
    assert capsys.readouterr().out.splitlines()[-8:] == [*shown, *more]


def test_replicas_are_shown_on_request(serve: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """`--replicas` shows the state, start, version, node and process of each replica."""
    assert StatusCommand(lambda: serve).run(options(replicas=True)) == 0
    assert capsys.readouterr().out.splitlines()[-8:] == [
        "        replicas:",
        '          "default#Model#1":',
        "            state: RUNNING",
        '            since: "1970-01-01T00:00:11+00:00"',
        "            version: v1",
        "            node_id: n1",
        "            pid: 77",
        '            message: ""',
    ]


def test_one_application(serve: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """`--name` shows one application and nothing else; an unknown one is an error."""
    assert StatusCommand(lambda: serve).run(options(name="default", json=True)) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == {"applications": document(serve.status())["applications"]}
    with pytest.raises(NotFoundError, match="no application 'other' is running; there are: 'def"):
        StatusCommand(lambda: serve).run(options(name="other"))


def test_each_process_is_shown(serve: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Where a node has several processes, each has its status."""
    first = serve.proxies["n1"]
    second = replace(first, status=ProxyStatus.DRAINING, index=1)
    serve.services = {"http/n1/0": first, "http/n1/1": second}
    assert StatusCommand(lambda: serve).run(options()) == 0
    told = capsys.readouterr().out
    assert "services:\n  http/n1/0:\n    status: HEALTHY\n" in told
    assert "  http/n1/1:\n    status: DRAINING\n" in told


SPLIT = RouteStatusOverview(
    "default",
    ("GET", "POST"),
    {
        "default": TargetStatusOverview(0.9, CallCounts(900, 1, 0, 0.0021449, 0.002, 0.004, 0.01)),
        "canary": TargetStatusOverview(0.1, CallCounts(100, 7, 0, 0.5, 0.5, 0.75, 1.5)),
    },
    {"shadow": TargetStatusOverview(0.5, CallCounts(490, 490, 3, 0.001, 0.001, 0.001, 0.001))},
    14.0,
)
PLAIN = RouteStatusOverview("default", None, {"default": TargetStatusOverview(1.0)})


def test_splits_are_shown(serve: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Split routes are shown with weights, counts and latencies; other routes are not."""
    serve.routes = {"/model": SPLIT, "/plain": PLAIN}
    assert StatusCommand(lambda: serve).run(options()) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[told.index("routes:") :] == [
        "routes:",
        "  /model:",
        "    app: default",
        "    methods:",
        "      - GET",
        "      - POST",
        '    since: "1970-01-01T00:00:14+00:00"',
        "    targets:",
        "      default:",
        "        weight: 0.9",
        "        requests: 900",
        "        errors: 1",
        "        mean_s: 0.00214",
        "        p50_s: 0.002",
        "        p95_s: 0.004",
        "        p99_s: 0.01",
        "      canary:",
        "        weight: 0.1",
        "        requests: 100",
        "        errors: 7",
        "        mean_s: 0.5",
        "        p50_s: 0.5",
        "        p95_s: 0.75",
        "        p99_s: 1.5",
        "    shadows:",
        "      shadow:",
        "        weight: 0.5",
        "        requests: 490",
        "        errors: 490",
        "        mean_s: 0.001",
        "        p50_s: 0.001",
        "        p95_s: 0.001",
        "        p99_s: 0.001",
        "        dropped: 3",
    ]


def test_a_split_without_requests_is_shown(serve: Any) -> None:
    """Before the first request, all counts are zero, and there is no start of counting."""
    fresh = TargetStatusOverview(1.0, CallCounts())
    serve.routes = {"quiet": RouteStatusOverview("quiet", ("GET",), {"default": fresh})}
    shown = document(serve.status())["routes"]["quiet"]
    assert shown["since"] is None
    assert shown["targets"]["default"]["requests"] == 0


def test_an_application_is_shown_with_its_splits(
    serve: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--name` shows the routes that the application owns, answers or is a shadow of, too."""
    other = RouteStatusOverview("x", None, {"x": TargetStatusOverview(1.0, CallCounts())})
    serve.routes = {"/model": SPLIT, "/other": other}
    assert StatusCommand(lambda: serve).run(options(name="default", json=True)) == 0
    shown = json.loads(capsys.readouterr().out)
    whole = document(serve.status())
    assert list(whole["routes"]) == ["/model", "/other"]
    assert shown["routes"] == {"/model": whole["routes"]["/model"]}


def test_json_says_the_same(serve: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` prints the same document as JSON."""
    StatusCommand(lambda: serve).run(options(json=True))
    assert json.loads(capsys.readouterr().out) == document(serve.status())
