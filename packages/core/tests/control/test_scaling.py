"""A plugin's scaler sets numbers of replicas, and its failures affect nothing else."""

from __future__ import annotations

import logging
import sys
import types
from typing import Any

import pytest

from alacarte import _plugins
from alacarte._cluster.cluster_protocol import ActorContext, Node
from alacarte._cluster.local import LocalCluster
from alacarte._control.report_topics import ReportTopics
from alacarte._control.scaling import SCALER_KEY, Scaling
from alacarte._model.deployment_spec import DeploymentSpec
from alacarte._plugins import PluginRecord
from alacarte.config import DeploymentConfig
from alacarte.errors import ConfigError, PluginError
from alacarte.hookspecs import hookimpl
from alacarte.types import ConfigSection, DeploymentId, DeploymentInfo, Scaler, ScalerContext

WHO = DeploymentId("app", "D")


class Obedient:
    """A scaler that returns or raises the values that the test sets."""

    def __init__(self, context: ScalerContext) -> None:
        self.context = context
        self.count: Any = 2
        self.error: BaseException | None = None
        self.heard: list[Any] = []

    def _hear(self, *what: Any) -> None:
        self.heard.append(what)
        if self.error is not None:
            raise self.error

    def check(self, deployment: DeploymentInfo) -> None:
        self._hear("check", deployment.id)

    def start(self) -> None:
        self._hear("start")

    def want(self, deployment: DeploymentInfo, current: int | None) -> Any:
        self._hear("want", deployment.id, current)
        return self.count

    def forget(self, deployment: DeploymentId) -> None:
        self._hear("forget", deployment)

    def running(self, deployment: DeploymentId, running: int) -> None:
        self._hear("running", deployment, running)

    def problem(self, deployment: DeploymentId) -> str:
        self._hear("problem", deployment)
        return "it rains"

    def stop(self) -> None:
        self._hear("stop")

    async def close(self) -> None:
        self._hear("close")


@hookimpl
def register_config() -> list[ConfigSection]:
    target = "alacarte.config:ClusterOptions"  # any model will do
    return [ConfigSection("scale", target, scope="deployment", auto={})]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A plugin that gives a scaler."""
    module = types.ModuleType("alacarte_scaler_of_tests")

    @hookimpl
    def make_scaler(context: ScalerContext) -> Scaler:
        scaler = module.scaler = Obedient(context)  # type: ignore[attr-defined]
        return scaler

    module.make_scaler = make_scaler  # type: ignore[attr-defined]
    module.register_config = register_config  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def scaling(*modules: types.ModuleType, recovered: bytes | None = None, act: Any = None) -> Scaling:
    core = [record for record in _plugins.discover() if record.name == "core"]
    plugins = _plugins.load([*core, *(PluginRecord("mine", each.__name__) for each in modules)])
    node = Node("n", "127.0.0.1")
    context = ActorContext(LocalCluster(), "c", node, "host", "/tmp", plugins)
    topics = ReportTopics.of(plugins)
    return Scaling(context, "alacarte:x:", topics, act or (lambda *_: None), recovered)


def spec(*, scales: bool = True) -> DeploymentSpec:
    option: dict[str, Any] = {"scale": {}} if scales else {}
    return DeploymentSpec(WHO, "v", b"", b"", False, DeploymentConfig(), scaling=option)


def test_without_a_scaler(module: Any):
    """Counts are fixed; a deployment that is to scale is refused."""
    del module.make_scaler
    without = scaling(module)
    without.check(spec(scales=False))
    with pytest.raises(
        PluginError, match="scale has no effect: no installed plugin provides a scaler"
    ):
        without.check(spec())
    assert without.want(spec(scales=False), 3) is None
    without.running(WHO, 1)
    assert without.problem(WHO) == ""


async def test_the_scaler_is_asked(module: Any):
    """The scaler gets all events, stores a value, and its numbers are applied."""
    acted: list[Any] = []
    with_one = scaling(module, recovered=b"five", act=lambda *what: acted.append(what))
    scaler = module.scaler
    with_one.check(spec())
    with_one.start()
    assert with_one.want(spec(), 4) == 2
    with_one.running(WHO, 1)
    assert with_one.problem(WHO) == "it rains"
    with_one.forget(WHO)
    with_one.stop()
    await with_one.close()
    asked = ["check", "start", "want", "running", "problem", "forget", "stop", "close"]
    assert [what for what, *_ in scaler.heard] == asked
    assert scaler.context.recovered == b"five"
    await scaler.context.store(b"six")
    scaler.context.scale(WHO, 6)
    assert acted == [(WHO, 6)]
    await scaler.context.clear()
    assert await scaler.context._cluster.get(SCALER_KEY) is None


async def test_the_scaler_s_processes_are_helpers(module: Any):
    """Helper processes have the instance's prefix; those of other instances are not listed."""
    module.Helper = lambda context: object()
    scaling(module)
    processes = module.scaler.context.processes
    assert await processes.running() == []
    made = await processes.start(f"{module.__name__}:Helper")
    try:
        assert made.name.startswith("alacarte:x:helpers:")
        assert [each.name for each in await processes.running()] == [made.name]
    finally:
        made.kill()


@pytest.mark.parametrize("nonsense", [-1, 2.5, "three", True])
def test_nonsense_leaves_the_count(module: Any, nonsense: Any, caplog: pytest.LogCaptureFixture):
    """A count that is none is logged once with the plugin's name, and shown as the problem."""
    with_one = scaling(module)
    module.scaler.count = nonsense
    with caplog.at_level(logging.WARNING, "alacarte.plugins"):
        assert with_one.want(spec(), 4) == 4
        assert with_one.want(spec(), None) is None
    assert [record.message for record in caplog.records if "plugin mine" in record.message][
        1:
    ] == []
    assert "plugin mine failed in Scaler.want" in with_one.problem(WHO)
    module.scaler.count = 3
    assert with_one.want(spec(), 4) == 3
    assert with_one.problem(WHO) == "it rains"


async def test_whatever_it_raises_stays_inside(module: Any, caplog: pytest.LogCaptureFixture):
    """Any exception of a method is logged once per method."""
    with_one = scaling(module)
    module.scaler.error = SystemExit(3)
    with caplog.at_level(logging.WARNING, "alacarte.plugins"):
        for _ in range(2):
            with_one.start()
            assert with_one.want(spec(), 4) == 4
            with_one.running(WHO, 1)
            assert "Scaler.want: SystemExit: 3" in with_one.problem(WHO)
            with_one.forget(WHO)
            assert with_one.problem(WHO) == ""
            with_one.stop()
    told = [record.message for record in caplog.records]
    assert len(told) == len(set(told)) == 6
    with pytest.raises(PluginError, match="plugin mine failed in Scaler.check: SystemExit"):
        with_one.check(spec())
    module.scaler.error = ConfigError("too many")
    with pytest.raises(ConfigError, match="too many"):
        with_one.check(spec())
    await with_one.close()


def test_a_scaler_that_cannot_be_made(module: Any):
    """The instance runs with fixed numbers; scaling options are refused with the plugin's name."""

    @hookimpl
    def make_scaler(context: ScalerContext) -> Scaler:
        raise OSError("no scale")

    module.make_scaler = make_scaler
    broken = scaling(module)
    assert broken.want(spec(), 4) == 4
    broken.check(spec(scales=False))
    with pytest.raises(PluginError, match="plugin mine failed in make_scaler: OSError: no scale"):
        broken.check(spec())
