"""Stand-ins for what lies beyond the command line: the facade, the plugins, a user's code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from alacarte.plugins import PluginRecord
from alacarte.status import (
    ApplicationStatus,
    ApplicationStatusOverview,
    DeploymentStatus,
    DeploymentStatusOverview,
    DeploymentStatusTrigger,
    Failure,
    ProxyStatus,
    ReplicaOverview,
    ReplicaState,
    RouteStatusOverview,
    ServeStatus,
    ServiceStatusOverview,
)
from alacarte.types import Command


class FakeServe:
    """An `alacarte.serve` that notes what is asked of it and starts nothing."""

    class Application:
        pass

    class Deployment:
        pass

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.fails: dict[str, BaseException] = {}
        self.running = True
        self.route_prefix: str | None = "/"
        self.services: dict[str, ServiceStatusOverview] = {}
        self.routes: dict[str, RouteStatusOverview] = {}
        self.failures: tuple[Failure, ...] = ()
        self.proxies = {
            "n1": ServiceStatusOverview(ProxyStatus.HEALTHY, "http", "n1", "http://127.0.0.1:8000")
        }

    def _note(self, name: str, /, **given: Any) -> None:
        self.calls.append((name, given))
        if name in self.fails:
            raise self.fails[name]

    @property
    def called(self) -> list[str]:
        return [name for name, _ in self.calls]

    def start(self, **given: Any) -> None:
        self._note("start", **given)

    def attach(self, address: str | None = None) -> bool:
        self._note("attach", address=address)
        return self.running

    def run(self, target: Any, **given: Any) -> None:
        self._note("run", target=target, **given)

    def delete(self, name: str) -> None:
        self._note("delete", name=name)

    def status(self) -> ServeStatus:
        deployment = DeploymentStatusOverview(
            DeploymentStatus.HEALTHY,
            DeploymentStatusTrigger.CONFIG_UPDATE_COMPLETED,
            {ReplicaState.RUNNING: 2},
            since=12.0,
            target_replicas=2,
            replicas=(
                ReplicaOverview("default#Model#1", ReplicaState.RUNNING, 11.0, "v1", "n1", 77),
            ),
            recent_failures=self.failures,
        )
        app = ApplicationStatusOverview(
            ApplicationStatus.RUNNING, "", 12.5, {"Model": deployment}, self.route_prefix
        )
        return ServeStatus(self.proxies, {"default": app}, self.services, self.routes)

    def shutdown(self, **given: Any) -> None:
        self._note("shutdown", **given)


@pytest.fixture
def serve() -> FakeServe:
    return FakeServe()


@pytest.fixture
def plugins() -> Any:
    """Two plugins, one of them broken, and a stranger's command beside ours."""
    from alacarte_cli.hooks import register_commands

    commands = [*register_commands(), Command("greet", "Say hello.", "stranger:greet")]
    records = (
        PluginRecord("cli", "alacarte_cli.hooks", "alacarte-cli", "0.1.0", "loaded"),
        PluginRecord("odd", "odd.hooks", "alacarte-odd", "2.0", "failed", "ImportError: x\ny"),
    )
    return SimpleNamespace(
        records=records,
        examine=lambda: records,
        specifications={"wrap_http": SimpleNamespace(plugin="http")},
        implementers=lambda hook: ["cors", "keys"],
        commands={command.name: command for command in commands},
    )


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Write a user's module; `sys.path` and `sys.modules` are as before afterwards."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def write(name: str, text: str = "") -> Path:
        file = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return tmp_path

    yield write
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]
