from __future__ import annotations

import io
import time
from dataclasses import replace
from typing import Any

import pytest

from alacarte.errors import ServeError
from alacarte.status import ApplicationStatus, DeploymentStatus, ReplicaState, ServeStatus
from alacarte.testing import wait_until
from alacarte_cli import progress
from alacarte_cli.progress import open_progress, summary, waiting_lines


def starting(serve: Any, ready: int, waits_for: str = "") -> ServeStatus:
    """The status of a starting application of two replicas."""
    status: ServeStatus = serve.status()
    app = status.applications["default"]
    states = {ReplicaState.RUNNING: ready, ReplicaState.STARTING: 2 - ready}
    deployment = replace(
        app.deployments["Model"],
        status=DeploymentStatus.UPDATING,
        replica_states=states,
        waiting_for=waits_for,
    )
    status.applications["default"] = replace(
        app, status=ApplicationStatus.DEPLOYING, deployments={"Model": deployment}
    )
    return status


def test_how_far_it_is(serve: Any) -> None:
    """The summary has the number of ready replicas, the lines what deployments wait for."""
    status = starting(serve, 1)
    assert summary(status, "default") == "1 of 2 replicas ready"
    assert list(waiting_lines(status, "default")) == ["Model: 1 of 2 ready, 1 starting"]
    waits = starting(serve, 0, "1 GPU; the cluster has none")
    assert list(waiting_lines(waits, "default")) == ["Model: 0 of 2 ready, waits for 1 GPU"]
    assert list(waiting_lines(serve.status(), "default")) == []
    assert summary(status, "other") == ""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_REFRESH_INTERVAL_S", 0.001)


def test_plain_lines(serve: Any) -> None:
    """Without a terminal, each step and each change prints a line."""
    out = io.StringIO()
    found = iter([starting(serve, 0), starting(serve, 0), ServeError("away"), starting(serve, 1)])
    last = starting(serve, 1)

    def status() -> ServeStatus:
        each = next(found, last)
        if isinstance(each, ServeError):
            raise each
        return each

    with open_progress("default", out) as shown:
        shown.step("starting Ray")
        shown.step("starting default", status)
        wait_until(lambda: "1 of 2" in out.getvalue(), 10, "the second line")
    assert out.getvalue().splitlines() == [
        "starting Ray",
        "starting default",
        "default: 0 of 2 replicas ready",
        "default: 1 of 2 replicas ready",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("colour", [True, False])
def test_a_display(serve: Any, monkeypatch: pytest.MonkeyPatch, colour: bool) -> None:
    """On a terminal, the progress is shown in place, and removed at the end."""
    out = Terminal()
    monkeypatch.setattr("sys.stderr", out)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if not colour:
        monkeypatch.setenv("NO_COLOR", "1")
    with open_progress("default") as shown:
        shown.step("starting default", lambda: starting(serve, 1, "the constructor"))
        wait_until(lambda: "waits for the constructor" in out.getvalue(), 10, "the display")
    shows = out.getvalue()
    assert "starting default: 1 of 2 replicas ready" in shows
    assert ("\x1b[3" in shows) == colour  # a colour of the spinner, as in ESC [ 3 2 m
    assert shows.endswith("\x1b[1A\x1b[2K")  # a line up, and away with it


def test_a_terminal_that_cannot_move_its_cursor(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal that cannot move its cursor gets lines."""
    monkeypatch.setenv("TERM", "dumb")
    out = Terminal()
    with open_progress("default", out) as shown:
        shown.step("starting Ray")
    assert out.getvalue() == "starting Ray\n"


def test_an_answer_that_is_late_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of the progress does not wait for a late status."""
    monkeypatch.setattr(progress, "_JOIN_TIMEOUT_S", 0.01)
    asked: list[float] = []
    done: list[bool] = []

    def never() -> ServeStatus:
        asked.append(time.monotonic())
        wait_until(lambda: bool(done), 10, "the end of the test")
        return ServeStatus()

    with open_progress("default", io.StringIO()) as shown:
        shown.step("starting default", never)
        wait_until(lambda: bool(asked), 10, "the question")
    assert len(asked) == 1, "the answer has not come"
    done.append(True)
