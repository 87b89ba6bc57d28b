from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import replace
from typing import Any

import pytest

from alacarte.status import ProxyStatus
from alacarte_cli.commands.status import StatusCommand, document


def options(**given: Any) -> Namespace:
    return Namespace(**{"address": None, "json": False, **given})


def test_nothing_running_is_an_error(serve: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, one line on stderr, and nothing is started."""
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
        "        replica_states:",
        "          RUNNING: 2",
        '        message: ""',
    ]


def test_each_process_is_shown(serve: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Where a node has several processes, each has its status."""
    first = serve.proxies["n1"]
    second = replace(first, status=ProxyStatus.DRAINING, index=1)
    serve.services = {"http/n1/0": first, "http/n1/1": second}
    assert StatusCommand(lambda: serve).run(options()) == 0
    told = capsys.readouterr().out
    assert "services:\n  http/n1/0:\n    status: HEALTHY\n" in told
    assert "  http/n1/1:\n    status: DRAINING\n" in told


def test_json_says_the_same(serve: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` prints the same document as JSON."""
    StatusCommand(lambda: serve).run(options(json=True))
    assert json.loads(capsys.readouterr().out) == document(serve.status())
